"""How well a table predicts whole networks that it has never seen, beside simpler predictors.

    python benchmarks/latency_accuracy/run.py draw --seed-file benchmarks/latency_accuracy/seed.txt
    python benchmarks/latency_accuracy/run.py convert --part 0 --parts 2       (any number at once, resumable)
    python benchmarks/latency_accuracy/run.py measure --repeats 2              (resumable)
    python benchmarks/latency_accuracy/run.py report -o benchmarks/latency_accuracy/DATE.md

Twelve candidates of each large space, at full width, 64x64 latents and 77 text tokens, drawn by a seed that was
committed after the table and its calibration were: one from each of twelve strata of MACs.  Each is converted whole,
loaded by LiteRT and run beside the table's reference operator.  Needs about 3 GB of disk a network, 12 GB of memory a
conversion; two to three hours in all.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from archsearch.cost import lower, totals
from archsearch.latency.calibrate import measure_for, quiet_ms
from archsearch.latency.candidates import draw, whole_of
from archsearch.latency.conversion import cache_folder
from archsearch.latency.models_csv import ModelRow, read_models
from archsearch.latency.predict import predict
from archsearch.latency.rows import quiet_level
from archsearch.latency.table import LatencyTable, load_table, table_folder
from archsearch.latency.whole import Whole, convert_whole
from archsearch.space import load_space

HERE = Path(__file__).parent
TABLE = "host-xnnpack-fp32"
SPACES = ("snapfusion", "mobilediffusion")
EACH = 12
CLOSE = 0.10  # of MACs, and of latency


@dataclass(frozen=True)
class Case:
    """One network: what was measured of it, and what is predicted by name of predictor (ms)."""

    name: str
    macs: int
    params: int
    measured_ms: float
    cpu_ms: float
    repeat: float | None
    timings: str
    measured_share: float
    predicted_ms: Mapping[str, float]
    interval_80: tuple[float, float]
    interval_95: tuple[float, float]

    def error(self, predictor: str) -> float:
        """Relative error of a prediction."""
        return self.predicted_ms[predictor] / self.measured_ms - 1


def candidates(seed_file: Path) -> list[Whole]:
    """The networks that a seed draws."""
    seed = int(seed_file.read_text(encoding="utf-8").split()[0])
    return [whole for name in SPACES for whole in draw(load_space(name), EACH, seed)]


def linear(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Least squares in relative error of y = a + b x."""
    weights = 1 / np.asarray(ys)
    a = np.stack([weights, np.asarray(xs) * weights], axis=1)
    found, *_ = np.linalg.lstsq(a, np.ones(len(ys)), rcond=None)
    return float(found[0]), float(found[1])


def measured(rows: Sequence[ModelRow]) -> dict[str, list[ModelRow]]:
    """Rows by name."""
    found: dict[str, list[ModelRow]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return found


def cases(table: LatencyTable, folder: Path, seed_file: Path) -> list[Case]:
    """Everything that is known of the drawn networks that were measured."""
    plain = replace(table, calibration=None)
    only_ops = replace(plain, rows=dict(table.op_rows))
    known = measured(read_models(table_folder(table.folder or "")))
    fit_ms = {name: statistics.median(quiet_ms(row, table) for row in rows) for name, rows in known.items()}
    counted = {name: totals(lower(whole_of(name).arch, whole_of(name).conditions)) for name in fit_ms}
    by_macs = linear([counted[name].macs for name in fit_ms], list(fit_ms.values()))
    by_params = linear([counted[name].params for name in fit_ms], list(fit_ms.values()))
    held_out = measured(read_models(folder))
    found = []
    for whole in candidates(seed_file):
        rows = held_out.get(whole.name)
        if not rows:
            continue
        assert whole.name not in fit_ms, "a network of the calibration is no test"
        lowering = lower(whole.arch, whole.conditions)
        count = totals(lowering)
        calibrated = predict(lowering, table)
        values = [quiet_ms(row, table) for row in rows]
        found.append(
            Case(
                whole.name,
                count.macs,
                count.params,
                statistics.median(values),
                statistics.median(row.cpu_ms for row in rows),
                (max(values) - min(values)) / statistics.mean(values) if len(values) > 1 else None,
                ", ".join(row.timing for row in rows),
                calibrated.measured_share,
                {
                    "calibrated": calibrated.total_ms,
                    "sum of operators": predict(lowering, only_ops).total_ms,
                    "sum of blocks": predict(lowering, plain).total_ms,
                    "MACs only": by_macs[0] + by_macs[1] * count.macs,
                    "parameters only": by_params[0] + by_params[1] * count.params,
                },
                (calibrated.low_ms, calibrated.high_ms),
                calibrated.interval_95 or (math.nan, math.nan),
            )
        )
    return found


def tau(found: Sequence[Case], predictor: str) -> float:
    """Kendall's tau-b between predicted and measured latency."""
    return float(kendalltau([c.predicted_ms[predictor] for c in found], [c.measured_ms for c in found]).statistic)


def banded(found: Sequence[Case], predictor: str) -> tuple[float, int]:
    """(concordant - discordant) / pairs among pairs whose MACs are within ``CLOSE`` of each other; and the pairs."""
    pairs = [(a, b) for a, b in combinations(found, 2) if abs(a.macs / b.macs - 1) <= CLOSE]
    score = sum(
        np.sign((a.predicted_ms[predictor] - b.predicted_ms[predictor]) * (a.measured_ms - b.measured_ms))
        for a, b in pairs
    )
    return float(score / len(pairs)) if pairs else math.nan, len(pairs)


def disagreements(found: Sequence[Case], noise: float) -> list[tuple[Case, Case]]:
    """Pairs that MACs rank one way and measured latency the other, by more than the measurements scatter."""
    pairs = []
    for a, b in combinations(sorted(found, key=lambda c: c.macs), 2):
        if b.macs > 1.02 * a.macs and b.measured_ms < a.measured_ms * (1 - 2 * noise):
            pairs.append((a, b))
    return sorted(pairs, key=lambda pair: pair[0].measured_ms / pair[1].measured_ms, reverse=True)


def table_of(found: Sequence[Case]) -> list[str]:
    """One line a predictor."""
    lines = [
        "| predictor | mean error | mean, bias removed | worst | within 10 % | within 10 %, of those repeating within "
        "5 % | Kendall tau | within 10 % MACs bands |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    steady = [c for c in found if c.repeat is not None and c.repeat <= 0.05]
    for name in found[0].predicted_ms:
        errors = [c.error(name) for c in found]
        centre = math.exp(statistics.mean(math.log1p(e) for e in errors))
        unbiased = [abs((1 + e) / centre - 1) for e in errors]
        within = [abs(e) <= CLOSE for e in errors]
        sure = [abs(c.error(name)) <= CLOSE for c in steady]
        band, pairs = banded(found, name)
        lines.append(
            f"| {name} | {statistics.mean(map(abs, errors)):.1%} | {statistics.mean(unbiased):.1%} | "
            f"{max(map(abs, errors)):.1%} | {sum(within)} of {len(within)} | {sum(sure)} of {len(sure)} | "
            f"{tau(found, name):.3f} | {band:.2f} ({pairs} pairs) |"
        )
    return lines


def repeated(repeats: Sequence[float]) -> str:
    """How well measurements repeat, in words."""
    if not repeats:
        return "No network was measured twice yet."
    return (
        f"Two measurements of one network differ by {statistics.median(repeats):.1%} in the median ({max(repeats):.1%} "
        f"at most, {sum(r <= 0.05 for r in repeats)} of {len(repeats)} within 5 %)."
    )


def report(table: LatencyTable, folder: Path, seed_file: Path) -> str:
    """The result file."""
    found = sorted(cases(table, folder, seed_file), key=lambda c: c.measured_ms)
    repeats = [c.repeat for c in found if c.repeat is not None]
    noise = statistics.median(repeats) if repeats else math.nan
    inside = {
        "80 %": statistics.mean(c.interval_80[0] <= c.measured_ms <= c.interval_80[1] for c in found),
        "95 %": statistics.mean(c.interval_95[0] <= c.measured_ms <= c.interval_95[1] for c in found),
    }
    calibration = table.calibration
    assert calibration is not None
    level = quiet_level(table.rows.values()) or math.nan
    lines = [
        f"# Accuracy of predicted latencies, {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        "",
        f"Table `{table.name}`: {table.configuration}. Seed {seed_file.read_text(encoding='utf-8').split()[0]}, "
        f"{len(found)} of {EACH * len(SPACES)} drawn networks measured, {found[0].measured_ms:,.0f} to "
        f"{found[-1].measured_ms:,.0f} ms ({found[-1].measured_ms / found[0].measured_ms:.1f}x). Calibrated on "
        f"{len(calibration.models)} other networks (factor {calibration.factor:.4f}). measured_share at least "
        f"{min(c.measured_share for c in found):.1%}.",
        "",
        f"{repeated(repeats)} Every network ran with the reference operator amid its runs (quiet level {level:.3f} ms; "
        "`scaled` latencies have divided out how much longer it took meanwhile).",
        "",
        *table_of(found),
        "",
        "MACs only and parameters only are straight lines fitted on the same calibration networks.",
        "",
        "Intervals of the calibrated prediction hold "
        + ", ".join(f"{share:.0%} of the networks ({name} claimed)" for name, share in inside.items())
        + ".",
        "",
        "| network | GMACs | M parameters | measured ms | processor ms | repeats within | predicted ms | error | "
        "blocks | operators | timing |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for c in found:
        space = c.name.partition(":")[0]
        lines.append(
            f"| {space} {short(c.name)} | {c.macs / 1e9:.1f} | {c.params / 1e6:.0f} | {c.measured_ms:,.0f} | "
            f"{c.cpu_ms:,.0f} | {'' if c.repeat is None else f'{c.repeat:.1%}'} | "
            f"{c.predicted_ms['calibrated']:,.0f} | {c.error('calibrated'):+.1%} | {c.error('sum of blocks'):+.1%} | "
            f"{c.error('sum of operators'):+.1%} | {c.timings} |"
        )
    pairs = disagreements(found, noise if math.isfinite(noise) else 0.02)
    right = sum(a.predicted_ms["calibrated"] > b.predicted_ms["calibrated"] for a, b in pairs)
    lines += [
        "",
        f"## {len(pairs)} pairs that MACs rank one way and measured latency the other",
        "",
        f"By more than twice the repeatability; the table ranks {right} of them as measured. The widest:",
        "",
        "| fewer MACs, slower | GMACs | ms | more MACs, faster | GMACs | ms |",
        "|---|---:|---:|---|---:|---:|",
        *(
            f"| {label(a)} | {a.macs / 1e9:.1f} | {a.measured_ms:,.0f} | {label(b)} | {b.macs / 1e9:.1f} | "
            f"{b.measured_ms:,.0f} |"
            for a, b in pairs[:12]
        ),
    ]
    return "\n".join(lines) + "\n"


def label(case: Case) -> str:
    """A short name for tables."""
    return f"{case.name.partition(':')[0]} {short(case.name)}"


def short(name: str) -> str:
    """The architecture's id of a candidate."""
    return f"`{whole_of(name).id}`"


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("draw", "convert", "measure", "report"))
    parser.add_argument("--table", default=TABLE)
    parser.add_argument("--seed-file", type=Path, default=HERE / "seed.txt")
    parser.add_argument("--folder", type=Path, default=HERE / "measured", help="where models.csv is kept")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--converted", action="store_true", help="measure only what is converted already")
    parser.add_argument("--keep", action="store_true", help="keep the converted networks")
    parser.add_argument("--core", type=int, help="pin this process to a core")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    table = load_table(args.table)
    wholes = candidates(args.seed_file)
    if args.step != "draw":
        random.Random(0).shuffle(wholes)
    if args.step == "draw":
        for whole in wholes:
            count = totals(lower(whole.arch, whole.conditions))
            print(json.dumps({"name": whole.name, "id": whole.id, "macs": count.macs, "params": count.params}))
    elif args.step == "convert":
        for whole in wholes[args.part :: args.parts]:
            print(whole.name, convert_whole(whole, cache_folder()).path.name, flush=True)
    elif args.step == "measure":
        args.folder.mkdir(parents=True, exist_ok=True)
        if args.converted:
            wholes = [whole for whole in wholes if list(cache_folder().glob(f"whole-{whole.id}-*.json"))]
        measure_for(table, args.folder, wholes, repeats=args.repeats, seconds=args.seconds, keep=args.keep, told=print)
    else:
        text = report(table, args.folder, args.seed_file)
        if args.output:
            args.output.write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
