"""Timings of places in whole models, merged into one row an operator."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from archsearch.cost.op import Op
from archsearch.errors import CostError
from archsearch.latency.rows import OpRow


class Timed(NamedTuple):
    """One place: the operator's key, its times, how many runs they stand for, where it is told, the nodes timed."""

    key: str
    times_ms: tuple[float, ...]
    runs: int
    where: str
    graph: str


def checked_key(op: Op, out_shape: tuple[int, ...]) -> str | None:
    """The key of an operator made from a node's shapes, if it is one and gives the node's output."""
    try:
        return op.key if Op.parse(op.key).out_shape == out_shape else None
    except CostError:
        return None


def merge(timed: Sequence[Timed]) -> tuple[dict[str, OpRow], dict[str, str]]:
    """Rows by key over all places of an operator, and where the first of each is told."""
    places: dict[str, list[Timed]] = defaultdict(list)
    for one in timed:
        places[one.key].append(one)
    rows = {}
    for key, ones in places.items():
        times = sorted(time for one in ones for time in one.times_ms)
        cuts = statistics.quantiles(times, n=10, method="inclusive") if len(times) > 1 else times
        middle = statistics.median(times)
        rows[key] = OpRow(
            key=key,
            kind=key.split("[", 1)[0],
            latency_ms=middle,
            p10_ms=min(cuts[0], middle),
            p90_ms=max(cuts[-1], middle),
            provenance="imported",
            runs=min(sum(one.runs for one in ones), 999_999_999),
            graph=ones[0].graph,
        )
    return rows, {key: ones[0].where for key, ones in places.items()}


def remark_of(timed: Sequence[Timed]) -> list[str]:
    """What to say about rows that have a single figure."""
    counts: dict[str, int] = defaultdict(int)
    for one in timed:
        counts[one.key] += len(one.times_ms)
    single = sum(count == 1 for count in counts.values())
    return [f"{single} rows rest on one figure: p10_ms and p90_ms repeat it."] if single else []
