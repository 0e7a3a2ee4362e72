"""GroupNorm in forms that LiteRT may run faster: nodes, delegate partitions, agreement with torch, time.

    python -m benchmarks.group_norm.run [--whole PRESET] [-o benchmarks/group_norm/DATE.md]

All forms of one case are timed in turn within each of many short rounds; what is reported is the median over rounds of
the ratio to ``nn.GroupNorm`` in the same round, with its quartiles, in processor time of the thread.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from archsearch.errors import ArchsearchError
from archsearch.latency.partitions import partitions
from archsearch.latency.runtimes import TFLITE, python_of
from archsearch.models.litert import Job, convert_job, convert_many
from benchmarks.group_norm.forms import FORMS, rewritten

NORMS = ((320, 64), (640, 32), (1280, 16), (1280, 8))
RESIDUAL = "block.residual[1x{c}x{s}x{s}|1x1280](act=silu,groups=32,hidden={c},out={c},sep=0,shift=0)@nhwc"
ROUND_SECONDS = 0.02
IN_NETWORKS = ["nn.GroupNorm", "moments", "matrix", "matrix, one pass"]


class Case(NamedTuple):
    """A module with inputs in torch's layout, and how many rounds it is timed."""

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    image_output: bool
    rounds: int


class Line(NamedTuple):
    """One form of one case."""

    graph: str
    nodes: int
    transposes: int
    new: str
    old: str
    error: float
    far_error: float | None
    num_bytes: int


def norms() -> Iterator[Case]:
    """Norms alone, of the sizes of SD 1.5; inputs whose channels have means of their own."""
    for channels, side in NORMS:
        generator = torch.Generator().manual_seed(channels + side)
        norm = nn.GroupNorm(32, channels).eval().requires_grad_(False)
        for parameter in norm.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
        x = torch.randn(1, channels, side, side, generator=generator)
        x = x + torch.randn(1, channels, 1, 1, generator=generator)
        yield Case(f"GroupNorm {channels} @ {side}x{side}", norm, (x,), True, 60)


def blocks() -> Iterator[Case]:
    """Residual blocks of SD 1.5, two norms each."""
    from archsearch.cost.block import BlockOp
    from archsearch.latency.modules import op_module

    for channels, side in (NORMS[0], NORMS[-1]):
        made = op_module(BlockOp.parse(RESIDUAL.format(c=channels, s=side)))
        yield Case(f"residual block {channels} @ {side}x{side}", made.module, made.inputs, True, 8)


def whole(name: str) -> Case:
    """A whole network."""
    from archsearch.cli.workloads import space_or_preset
    from archsearch.cost import Conditions
    from archsearch.models.whole import whole_job
    from archsearch.space import Space

    found = space_or_preset(name)
    if isinstance(found, Space):
        arch, conditions = found.decode(found.defaults()), found.conditions
    else:
        arch, conditions = found.architecture, Conditions(latent=found.latent, text=found.text)
    job = whole_job(arch, conditions, Path("unused"))
    return Case(f"{name}, whole", job.module, job.inputs, job.image_output, 40 if isinstance(found, Space) else 5)


def prepare(case: Case, folder: Path, forms: list[str]) -> tuple[dict[str, Line], dict[str, Any]]:
    """Convert each form; what each is made of, and an interpreter of each."""
    from ai_edge_litert.interpreter import Interpreter

    lines, models = {}, {}
    images = tuple(i for i, x in enumerate(case.inputs) if x.dim() == 4)
    far = (case.inputs[0] + 100.0, *case.inputs[1:]) if isinstance(case.module, nn.GroupNorm) else None
    with torch.no_grad():
        expected = layout(case.module(*case.inputs))
        far_expected = layout(case.module.double()(far[0].double())).astype(np.float64) if far else None
        case.module.float()
    jobs = []
    for name in forms:
        path = folder / f"{case.name}-{name}.tflite".replace(" ", "-").replace(",", "")
        module = rewritten(copy.deepcopy(case.module), FORMS[name])
        jobs.append(Job(module, case.inputs, path, images, case.image_output))
    converted = convert_many(jobs) if isinstance(case.module, nn.GroupNorm) else [convert_job(job) for job in jobs]
    for name, made in zip(forms, converted, strict=True):
        path = made.path
        model = Interpreter(model_path=str(path), num_threads=1)
        model.allocate_tensors()
        scale = float(np.abs(expected).max())
        error = float(np.abs(run(model, case.inputs) - expected).max()) / scale
        far_error = None
        if far is not None and far_expected is not None:
            far_error = float(np.abs(run(model, far) - far_expected).max() / np.abs(far_expected).max())
            run(model, case.inputs)
        found = partitions(path)
        lines[name] = Line(made.graph, found.delegated + found.num_outside, made.transposes, told(path, None),
                           told(path, TFLITE), error, far_error, path.stat().st_size)  # fmt: skip
        models[name] = model
        if case.name.endswith("whole"):
            path.unlink()
    return lines, models


def told(path: Path, runtime: str | None) -> str:
    """Partitions and what is left outside, in words."""
    try:
        found = partitions(path, python_of(runtime)) if runtime else partitions(path)
    except ArchsearchError as error:
        return f"not loaded ({error.got or error.what})"
    left = " + ".join(f"{n} {name}" for name, n in found.outside.items())
    return f"{found.partitions}" + (f", outside: {left}" if left else "")


def layout(y: Tensor) -> np.ndarray[Any, Any]:
    """As LiteRT gives it: images NHWC."""
    return (y.permute(0, 2, 3, 1) if y.dim() == 4 else y).contiguous().numpy()


def run(model: Any, inputs: tuple[Tensor, ...]) -> np.ndarray[Any, Any]:
    """The output of a model for inputs in torch's layout."""
    details = sorted(model.get_input_details(), key=lambda detail: int(detail["name"].split("_")[-1].split(":")[0]))
    for detail, x in zip(details, inputs, strict=True):
        model.set_tensor(detail["index"], layout(x).astype(detail["dtype"]))
    model.invoke()
    return np.array(model.get_tensor(model.get_output_details()[0]["index"]))


def timed(models: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time of each form in each round; the order turns from round to round."""
    runs = {}
    for name, model in models.items():
        start = time.thread_time()
        model.invoke()
        runs[name] = max(1, min(50, math.ceil(ROUND_SECONDS / max(time.thread_time() - start, 1e-6))))
    found: dict[str, list[float]] = {name: [] for name in models}
    names = list(models)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            models[name].invoke()  # its weights back into the caches
            start = time.thread_time_ns()
            for _ in range(runs[name]):
                models[name].invoke()
            found[name].append((time.thread_time_ns() - start) / runs[name] / 1e6)
    return found


def report(case: Case, lines: dict[str, Line], times: dict[str, list[float]]) -> str:
    """A Markdown table of one case."""
    base = times["nn.GroupNorm"]
    far = any(line.far_error is not None for line in lines.values())
    head = ["form", "ms, median", "x nn.GroupNorm (quartiles)", "nodes", "TRANSPOSE", "partitions",
            "partitions, tflite-runtime", "error", *(["error, mean 100"] if far else []), "bytes"]  # fmt: skip
    out = [f"### {case.name}", "", "| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, line in lines.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(times[name], base, strict=True)], n=4)
        cells = [name, f"{statistics.median(times[name]):.3f}", f"{middle:.3f} ({low:.3f} to {high:.3f})",
                 str(line.nodes), str(line.transposes), line.new, line.old, f"{line.error:.1e}",
                 *([f"{line.far_error:.1e}"] if line.far_error is not None else []), f"{line.num_bytes:,}"]  # fmt: skip
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def main() -> None:
    """Run all cases and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="append", default=[], metavar="SPACE|PRESET")
    parser.add_argument("--parts", default="norms,blocks", help="of norms,blocks; '' for neither")
    parser.add_argument("-o", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = []
    cases: list[tuple[Case, list[str]]] = []
    if "norms" in arguments.parts:
        cases += [(case, list(FORMS)) for case in norms()]
    if "blocks" in arguments.parts:
        cases += [(case, IN_NETWORKS) for case in blocks()]
    for name in arguments.whole:
        cases.append((whole(name), IN_NETWORKS))
    for case, forms in cases:
        with tempfile.TemporaryDirectory() as folder:
            lines, models = prepare(case, Path(folder), forms)
            parts.append(report(case, lines, timed(models, case.rounds)))
        print(parts[-1], flush=True)
        if arguments.o:
            arguments.o.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
