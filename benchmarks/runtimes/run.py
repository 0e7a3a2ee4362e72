"""LiteRT (``ai-edge-litert``) beside ``tflite-runtime`` 2.14: the demo space's operators and 60 large ones.

    python -m benchmarks.runtimes.run [-o benchmarks/runtimes/DATE.md]

Both run the same files through the same stand-alone runner, each in its own Python, in turns: one, the other, and the
other way round.  What is compared is processor time; what the old runtime cannot load is a row that says so.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from archsearch.cost.op import Op
from archsearch.latency.conversion import cache_folder, convert_ops
from archsearch.latency.host import HostRunner
from archsearch.latency.measure import REFERENCE
from archsearch.latency.runtimes import TFLITE, python_of
from archsearch.latency.table import load_table
from archsearch.latency.targets import OpFailedError
from archsearch.space import load_space

TABLE = "host-xnnpack-fp32"
LARGE = 60
LARGE_MS = (2.0, 60.0)
SECONDS = 0.06
TURNS = {False: 4, True: 2}  # of small operators, of large ones


class Pair(NamedTuple):
    """One operator on both runtimes: processor ms (the median of the quietest turn) and the nodes that XNNPACK left.

    ``failure`` says why one of them could not load or run it.
    """

    op: Op
    is_large: bool
    new_ms: float | None
    old_ms: float | None
    ratio: float | None  # old over new
    new_left: int | None
    old_left: int | None
    failure: str


def chosen() -> tuple[list[Op], list[Op]]:
    """The demo space's operators, and large ones of the shipped table: of each kind in turn the slowest."""
    demo = load_space("demo").distinct_ops()
    kinds: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in load_table(TABLE).op_rows.values():
        if LARGE_MS[0] <= row.latency_ms <= LARGE_MS[1] and row.key not in demo:
            kinds[row.kind].append((row.latency_ms, row.key))
    queues = [sorted(rows, reverse=True) for _, rows in sorted(kinds.items())]
    large: list[Op] = []
    while len(large) < LARGE and any(queues):
        large += [Op.parse(queue.pop(0)[1]) for queue in queues if queue]
    return list(demo.values()), large[:LARGE]


def compare(op: Op, path: Path, is_large: bool, new: HostRunner, old: HostRunner) -> Pair:
    """Time one model on both."""
    times: dict[str, list[float]] = {"new": [], "old": []}
    left: dict[str, int | None] = {"new": None, "old": None}
    runners = (("new", new), ("old", old))
    failure = ""
    for turn in range(TURNS[is_large]):
        for name, runner in runners if turn % 2 == 0 else runners[::-1]:
            try:
                found = runner.time(path, max_seconds=SECONDS, precision=0.02)
            except OpFailedError as error:
                failure = f"{'tflite-runtime' if name == 'old' else 'ai-edge-litert'}: {' '.join(str(error).split())}"
                continue
            times[name].append(statistics.median(found.cpu_ns) / 1e6)
            left[name] = found.undelegated
    new_ms, old_ms = (min(times[name], default=None) for name in ("new", "old"))
    ratio = old_ms / new_ms if new_ms and old_ms else None
    return Pair(op, is_large, new_ms, old_ms, ratio, left["new"], left["old"], failure)


def summary(pairs: Sequence[Pair]) -> list[str]:
    """Ratios by kind, as Markdown."""
    lines = ["| kind | operators | not loaded | tflite-runtime / ai-edge-litert, median (least to most) | "
             "nodes left by XNNPACK, new / old |", "|---|---:|---:|---:|---:|"]  # fmt: skip
    for is_large in (False, True):
        for kind in ["all", *sorted({p.op.kind for p in pairs})]:
            group = [p for p in pairs if p.is_large == is_large and kind in ("all", p.op.kind)]
            ratios = sorted(p.ratio for p in group if p.ratio is not None)
            if not group:
                continue
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if ratios else "-"
            left = " / ".join(
                "-" if not known else f"{statistics.mean(known):.1f}"
                for known in (
                    [p.new_left for p in group if p.new_left is not None],
                    [p.old_left for p in group if p.old_left is not None],
                )
            )
            bad = sum(bool(p.failure) for p in group)
            name = f"{'large' if is_large else 'demo'}: {kind}"
            lines.append(f"| {name} | {len(group)} | {bad} | {spread} | {left} |")
    return lines


def rows(pairs: Sequence[Pair]) -> list[str]:
    """Every operator, as Markdown."""
    lines = ["| operator | ai-edge-litert ms | tflite-runtime ms | ratio | |", "|---|---:|---:|---:|---|"]
    for p in sorted(pairs, key=lambda p: (p.is_large, p.op.kind, p.op.key)):
        cells = [f"{value:.4g}" if value is not None else "-" for value in (p.new_ms, p.old_ms, p.ratio)]
        lines.append(f"| `{p.op.key.replace('|', chr(92) + '|')}` | {' | '.join(cells)} | {p.failure} |")
    return lines


def scatter(pairs: Sequence[Pair], versions: tuple[str, str]) -> str:
    """A log-log scatter as SVG: each operator's two times, its name and ratio on hover."""
    both = [(p, p.new_ms, p.old_ms) for p in pairs if p.new_ms and p.old_ms]
    values = [ms for _, new, old in both for ms in (new, old)]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    size, edge = 560, 60

    def at(ms: float) -> float:
        return (math.log10(ms) - low) / (high - low) * size

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size + 2 * edge} {size + 2 * edge}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>',
        f'<line x1="{edge}" y1="{edge + size}" x2="{edge + size}" y2="{edge}" stroke="#888" stroke-dasharray="5 4"/>',
    ]
    for power in range(low, high + 1):
        p = at(10.0**power)
        parts.append(
            f'<path d="M{edge + p:.1f} {edge}V{edge + size}M{edge} {edge + size - p:.1f}H{edge + size}" '
            'stroke="#ddd" fill="none"/>'
            f'<text x="{edge + p:.1f}" y="{edge + size + 18}" text-anchor="middle">{10.0**power:g}</text>'
            f'<text x="{edge - 8}" y="{edge + size - p + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        )
    kinds = sorted({p.op.kind for p, _, _ in both})
    for p, new, old in both:
        hue = 360 * kinds.index(p.op.kind) / len(kinds)
        parts.append(
            f'<circle cx="{edge + at(new):.1f}" cy="{edge + size - at(old):.1f}" r="{5 if p.is_large else 3.5}" '
            f'fill="hsl({hue:.0f},65%,45%)" fill-opacity="0.7"><title>{p.op.key}: {p.ratio:.2f}</title></circle>'
        )
    for i, kind in enumerate(kinds):
        hue = 360 * i / len(kinds)
        parts.append(f'<circle cx="{edge + 14}" cy="{edge + 14 + 17 * i}" r="4" fill="hsl({hue:.0f},65%,45%)"/>'
                     f'<text x="{edge + 24}" y="{edge + 18 + 17 * i}">{kind}</text>')  # fmt: skip
    middle = edge + size / 2
    parts.append(f'<text x="{middle}" y="{2 * edge + size - 16}" text-anchor="middle">ai-edge-litert {versions[0]}, ms'
                 f'</text><text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">tflite-runtime '
                 f"{versions[1]}, ms</text></svg>")  # fmt: skip
    return "\n".join(parts) + "\n"


def main() -> None:
    """Compare, print, and write the report with its picture beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", type=Path, help="Markdown file; the picture gets its name and .svg")
    parser.add_argument("--first", type=int, help="only so many of each")
    arguments = parser.parse_args()
    demo, large = (ops[: arguments.first] for ops in chosen())
    cpus = sorted(os.sched_getaffinity(0))[:1]
    cache = cache_folder()
    models, failed = convert_ops([REFERENCE, *demo, *large], cache, workers=1)
    reference = models[REFERENCE.key].path
    pairs = []
    with (
        HostRunner(reference, cpus=cpus) as new,
        HostRunner(reference, python=python_of(TFLITE), runtime=TFLITE, cpus=cpus) as old,
    ):
        for is_large, ops in ((False, demo), (True, large)):
            for op in ops:
                if op.key in failed:
                    pairs.append(Pair(op, is_large, None, None, None, None, None, f"not converted: {failed[op.key]}"))
                    continue
                pairs.append(compare(op, models[op.key].path, is_large, new, old))
                print(f"\r{len(pairs)} of {len(demo) + len(large)}", end="", file=sys.stderr, flush=True)
        versions = (new.version, old.version)
    lines = ["## By kind", "", *summary(pairs), "", "## Every operator", "", *rows(pairs)]
    if arguments.o is None:
        print("\n".join(lines))
        return
    picture = arguments.o.with_suffix(".svg")
    picture.write_text(scatter(pairs, versions), encoding="utf-8")
    head = [f"# ai-edge-litert {versions[0]} and tflite-runtime {versions[1]}", "",
            f"![both times of every operator]({picture.name})", ""]  # fmt: skip
    arguments.o.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
