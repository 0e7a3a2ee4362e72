"""How many candidates a second are scored, on one core, and what other counters take for the same candidates.

    python benchmarks/scoring/run.py [--peers 6] [-o benchmarks/scoring/DATE.md]

Scored are parameters, MACs, peak activation memory and the latency of a table.  Needs ``pip install calflops`` for
that peer (it is left out when missing).  Everything runs in this process, pinned to one core; peers take turns
candidate by candidate, so that drift of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archsearch.arch import UNet, from_json, to_json
from archsearch.cost import Conditions, Scorer, count, lower
from archsearch.latency.predict import predict
from archsearch.latency.table import LatencyTable, load_table
from archsearch.space import Space, load_space

TABLE = "host-xnnpack-fp32"


class Spread(NamedTuple):
    """Median, least and largest of repeats."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        return f"{self.median:,.{digits}f} | {self.low:,.{digits}f} | {self.high:,.{digits}f}"


def spread(values: Iterable[float]) -> Spread:
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found))


class Seconds(NamedTuple):
    """Wall time and processor time; they differ by what else runs on the core."""

    wall: float
    cpu: float

    def __add__(self, other: object) -> Seconds:  # type: ignore[override]
        assert isinstance(other, Seconds)
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)


def timed(function: Callable[[], Any]) -> tuple[Seconds, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), result


class Rate(NamedTuple):
    """``n`` candidates in each of several repeats."""

    n: int
    repeats: list[Seconds]

    def text(self) -> str:
        wall = spread(self.n / one.wall for one in self.repeats)
        cpu = spread(self.n / one.cpu for one in self.repeats)
        return f"{wall.text()} | {cpu.text()}"

    @property
    def seconds(self) -> float:
        """Median processor seconds of one candidate."""
        return statistics.median(one.cpu for one in self.repeats) / self.n


def unseen(space: Space, n: int, seed: int) -> list[UNet]:
    """Candidates that share no object with anything: written as JSON and read back."""
    values = [from_json(to_json(space.decode(row))) for row in space.sample(n, seed).tolist()]
    assert all(isinstance(value, UNet) for value in values)
    return values  # type: ignore[return-value]


def batches(space: Space, table: LatencyTable, n: int, repeats: int) -> dict[str, Rate]:
    """Candidates a second: sampled and scored, and scored alone (validity included in both)."""
    scorer = space.batch_scorer(tables=[table])
    both: list[Seconds] = []
    alone: list[Seconds] = []
    for seed in range(repeats):
        seconds, encodings = timed(lambda seed=seed: space.sample(n, seed))
        scoring, scores = timed(lambda encodings=encodings: scorer.score(encodings))
        assert scores.valid.all()
        both.append(seconds + scoring)
        alone.append(scoring)
    return {"batch: sampled and scored": Rate(n, both), "batch: scored, encodings given": Rate(n, alone)}


def singles(space: Space, table: LatencyTable, n: int, repeats: int) -> dict[str, Rate]:
    """Values a second, each scored once: with a scorer that starts empty, and with one that has scored others."""
    cold: list[Seconds] = []
    warm: list[Seconds] = []
    scorer = Scorer(space.conditions, [table])
    for value in unseen(space, 3 * n, 10_000):
        scorer.score(value)
    for repeat in range(repeats):
        values = unseen(space, n, 20_000 + repeat)
        empty = Scorer(space.conditions, [table])
        cold.append(timed(lambda values=values, empty=empty: [empty.score(value) for value in values])[0])
        values = unseen(space, n, 30_000 + repeat)
        warm.append(timed(lambda values=values: [scorer.score(value) for value in values])[0])
    return {
        f"single: first {n:,} of an empty scorer": Rate(n, cold),
        f"single: unseen values after {3 * n:,} others": Rate(n, warm),
    }


def exactness(space: Space, table: LatencyTable, n: int) -> int:
    """How many of ``n`` candidates have the same scores three ways: batched, single, by full lowering."""
    encodings = space.sample(n, seed=77)
    batch = space.batch_scorer(tables=[table]).score(encodings)
    scorer = Scorer(space.conditions, [table])
    equal = 0
    for i, row in enumerate(encodings.tolist()):
        unet = space.decode(row)
        totals = count(unet, space.conditions)
        total_ms = predict(lower(unet, space.conditions), table).total_ms
        exact = (totals.params, totals.macs, totals.macs_without_attention, totals.weight_bytes,
                 totals.peak_activation_bytes, (total_ms,))  # fmt: skip
        batched = (batch.params[i], batch.macs[i], batch.macs_without_attention[i], batch.weight_bytes[i],
                   batch.peak_activation_bytes[i], (batch.latency_ms[0, i],))  # fmt: skip
        equal += exact == batched == scorer.score(unet)
    return equal


class Peer(NamedTuple):
    """One counter on the same candidates: seconds each (building the module apart), and how its MACs compare.

    ``same`` equal ours; ``same_without`` equal ours without the attention products, which some counters leave out.
    """

    name: str
    seconds: list[float]
    same: int
    same_without: int
    remark: str

    def agreement(self) -> str:
        n = len(self.seconds)
        if self.same_without > self.same:
            return f"{self.same_without} of {n}, without attention products"
        return f"{self.same} of {n}"


def peers(space: Space, table: LatencyTable, n: int) -> tuple[list[Peer], list[float]]:
    """Peers, and seconds of building the modules on the meta device."""
    import torch

    from archsearch.models import build, example_inputs

    torch.set_num_threads(1)
    counters: dict[str, tuple[Callable[[Any, dict[str, Any]], int], str]] = {
        "FlopCounterMode": (torch_counter, "meta device"),
        "fvcore": (fvcore_counter, "jit trace; our shape-only driver, with the attention handles that fvcore lacks"),
    }
    if importlib.util.find_spec("calflops") is not None:
        counters["calflops"] = (calflops_counter, "meta device")
    values = unseen(space, n, 99)
    scorer = Scorer(space.conditions, [table])
    seconds: dict[str, list[float]] = {name: [] for name in counters}
    same = dict.fromkeys(counters, 0)
    same_without = dict.fromkeys(counters, 0)
    building: list[float] = []
    for value in values:
        score = scorer.score(value)
        took, module = timed(lambda value=value: build(value, device="meta").eval())
        building.append(took.cpu)
        for name, (counter, _) in counters.items():
            inputs = example_inputs(value, space.conditions, device="meta")
            took, macs = timed(lambda counter=counter, inputs=inputs, module=module: counter(module, inputs))
            seconds[name].append(took.cpu)
            same[name] += macs == score.macs
            same_without[name] += macs == score.macs_without_attention
    found = [Peer(name, seconds[name], same[name], same_without[name], counters[name][1]) for name in counters]
    return found, building


def torch_counter(module: Any, inputs: dict[str, Any]) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(**inputs)
    return int(counter.get_total_flops()) // 2


def fvcore_counter(module: Any, inputs: dict[str, Any]) -> int:
    from archsearch.models.counters import fvcore_macs

    macs = fvcore_macs(module, inputs)[""]
    module.to("meta")
    return macs.weighted + macs.products


def calflops_counter(module: Any, inputs: dict[str, Any]) -> int:
    import torch
    from calflops import calculate_flops

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, sample: Any, timestep: Any, text: Any) -> Any:
            return self.module(sample, timestep, text, return_dict=False)

    arguments = [inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"]]
    with torch.no_grad():
        _, macs, _ = calculate_flops(
            Positional().eval(), args=arguments, print_results=False, output_as_string=False, output_unit=None
        )
    return int(macs)


def versions() -> str:
    names = ["archsearch", "numpy", "torch", "fvcore", "calflops"]
    found = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def machine() -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, one used"


def report(arguments: argparse.Namespace) -> str:
    loading, space = timed(lambda: load_space("mobilediffusion"))
    counting, size = timed(space.size)
    table = load_table(TABLE)
    pricing, _ = timed(lambda: space.batch_scorer(tables=[table]))
    speeds = {
        **batches(space, table, arguments.batch, arguments.repeats),
        **singles(space, table, arguments.singles, arguments.repeats),
    }
    equal = exactness(space, table, arguments.exact)
    conditions: Conditions = space.conditions
    lines = [
        f"# Scoring, {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        "",
        f"{machine()}. {versions()}. Load average when scored: "
        f"{os.getloadavg()[0]:.1f}; niceness of this process: {os.nice(0)}.",
        "",
        f"Space `mobilediffusion`: {size:,} candidates; latent {conditions.latent[0]}x{conditions.latent[1]}, "
        f"{conditions.text} text tokens. Scored: parameters, MACs (with and without attention products), weight bytes, "
        f"peak activation memory, latency of the table `{TABLE}`.",
        "",
        f"Once a process (processor seconds): loading and compiling the space {loading.cpu:.2f}, counting it "
        f"{counting.cpu:.2f}, pricing its pieces {pricing.cpu:.2f}.",
        "",
        f"| candidates a second, one core, {arguments.repeats} repeats | wall: median | least | most | "
        "processor: median | least | most |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(f"| {name} | {one.text()} |" for name, one in speeds.items()),
        "",
        f"Batches of {arguments.batch:,}; single values were read from JSON, share no object and are scored once.",
        "",
        f"Equal to the full lowering in every figure, batched and single: **{equal} of {arguments.exact}**.",
        "",
    ]
    if arguments.peers:
        found, building = peers(space, table, arguments.peers)
        single = next(rate.seconds for name, rate in speeds.items() if name.startswith("single: unseen"))
        lines += [
            f"The same {arguments.peers} random candidates in turns, in processor seconds. "
            "Peers count MACs only and need the module "
            f"(building it on the meta device takes {spread(building).text(2).replace(' | ', ', ')} s: median, least, "
            f"most). Ratios are to one unseen value of the single scorer ({single * 1e6:,.0f} us) and to one candidate "
            f"of the batch, sampled and scored.",
            "",
            "| peer | seconds: median | least | most | x single | x batch | x single with build | same MACs | how |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---|",
        ]
        batched = speeds["batch: sampled and scored"].seconds
        for peer in found:
            median = statistics.median(peer.seconds)
            whole = statistics.median([a + b for a, b in zip(peer.seconds, building, strict=True)])
            lines.append(
                f"| {peer.name} | {spread(peer.seconds).text(2)} | {median / single:,.0f} | {median / batched:,.0f} | "
                f"{whole / single:,.0f} | {peer.agreement()} | {peer.remark} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--singles", type=int, default=2_000)
    parser.add_argument("--exact", type=int, default=1_000)
    parser.add_argument("--peers", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    np.seterr(all="raise", under="ignore")
    text = report(arguments)
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
