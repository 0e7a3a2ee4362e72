"""Exact ranges of costs over a whole space, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from archsearch.space.chain import Ints
from archsearch.space.costs import MOST, BatchScorer, Costs
from archsearch.space.paths import Paths


class Column(NamedTuple):
    """One cost as values of edges, to be summed (or maximised, for a peak) and multiplied by ``factor``."""

    values: tuple[Any, ...]
    factor: float
    is_peak: bool


class Extent(NamedTuple):
    """The exact least and largest value of a cost over a space, and encodings that have them."""

    low: float
    high: float
    low_encoding: tuple[int, ...]
    high_encoding: tuple[int, ...]


class Statistics(NamedTuple):
    """Exact least and largest value of a cost; the median is that of ``samples`` uniform draws."""

    low: float
    median: float
    high: float
    samples: int


def columns(costs: Costs, names: Sequence[str]) -> dict[str, Column]:
    """Every cost of a space by name; ``names`` are the tables', their costs are called ``latency:NAME``."""
    passes, size = costs.conditions.passes, costs.conditions.bytes_per_value
    steps = costs.steps
    found = {
        "params": Column(tuple(s.params for s in steps), 1, False),
        "macs": Column(tuple(s.macs for s in steps), passes, False),
        "macs_without_attention": Column(tuple(s.macs - s.attention_macs for s in steps), passes, False),
        "weight_bytes": Column(tuple(s.params for s in steps), size, False),
        "peak_activation_bytes": Column(tuple(s.peak for s in steps), size, True),
    }
    for i, name in enumerate(names):
        found[f"latency:{name}"] = Column(tuple(s.latency_ms[i] for s in steps), passes, False)
    return found


def extents(paths: Paths, costs: Costs, names: Sequence[str]) -> dict[str, Extent]:
    """The exact range of every cost."""
    masks = [paths.alive(t) for t in range(len(paths.chain.steps))]
    result = {}
    for name, column in columns(costs, names).items():
        low, low_path = extreme(paths, column, masks, -1)
        high, high_path = extreme(paths, column, masks, 1)
        result[name] = Extent(
            low * column.factor,
            high * column.factor,
            tuple(paths.encodings(low_path)[0].tolist()),
            tuple(paths.encodings(high_path)[0].tolist()),
        )
    return result


def statistics(paths: Paths, costs: Costs, names: Sequence[str], samples: int, seed: int) -> dict[str, Statistics]:
    """Least, median and largest value of every cost."""
    drawn = paths.sample(samples, np.random.default_rng(seed))
    scores = BatchScorer(paths, costs).score_paths(drawn, np.ones(len(drawn), dtype=bool))
    values = [scores.params, scores.macs, scores.macs_without_attention, scores.weight_bytes,
              scores.peak_activation_bytes, *scores.latency_ms]  # fmt: skip
    return {
        name: Statistics(extent.low, float(np.median(value)), extent.high, samples)
        for (name, extent), value in zip(extents(paths, costs, names).items(), values, strict=True)
    }


def extreme(paths: Paths, column: Column, masks: Sequence[Any], sign: int) -> tuple[Any, Ints]:
    """The least (sign -1) or largest (sign 1) value over the paths along masked edges, and a path [1, steps].

    The value is infinite where there is no such path.
    """
    steps = paths.chain.steps
    exact = column.values[0].dtype != np.float64
    worst: Any = -sign * (2 * MOST if exact else np.inf)
    best_of = np.maximum if sign > 0 else np.minimum
    after = np.zeros(1, dtype=column.values[0].dtype)
    through: list[Any] = []
    for step, values, mask in zip(reversed(steps), reversed(column.values), reversed(masks), strict=True):
        onward = after[step.edge_next]
        total = np.maximum(values, onward) if column.is_peak else values + onward
        total = np.where(mask & (onward != worst), total, worst)
        after = best_of.reduceat(np.append(total, worst).astype(total.dtype), step.edge_start[:-1])
        after = np.where(np.diff(step.edge_start) == 0, worst, after).astype(total.dtype)
        through.append(total)
    group = 0
    path = np.zeros((1, len(steps)), dtype=np.int64)
    for t, (step, total) in enumerate(zip(steps, reversed(through), strict=True)):
        start = step.edge_start[group]
        path[0, t] = start + int(np.argmax(sign * total[start : step.edge_start[group + 1]]))
        group = int(step.edge_next[path[0, t]])
    found = after[0].item()
    return (-sign * np.inf if found == worst else found), path
