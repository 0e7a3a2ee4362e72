"""Paths through a compiled space: counting them, numbering them, and going between paths and encodings.

An encoding is a row of choice numbers, one for each decision of the space.  All functions work on whole batches
(arrays [n, decisions]); a path is an array [n, steps] of edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from archsearch.space.chain import NONE, Chain, Ints, Step

EXACT = 1 << 62


class Paths:
    """Counts and walks the paths of a chain.  Every path is one candidate."""

    def __init__(self, chain: Chain, radices: Sequence[int]) -> None:
        self.chain = chain
        self.radices = tuple(radices)
        self._weights = [_weights(radices, step) for step in chain.steps]
        # Whether all counts fit 64-bit integers is first asked of floating-point ones.
        size = float(self._count(np.float64)[0][0])
        exact: Any = np.int64 if size < EXACT else object
        # For each step and at the end, from each group the number of ways to the end.
        self.totals = self._count(exact)
        self._before = [_before(step, self.totals[t + 1]) for t, step in enumerate(chain.steps)]

    @property
    def size(self) -> int:
        """The exact number of candidates."""
        return int(self.totals[0][0])

    def alive(self, t: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which edges of step ``t`` lie on a path to the end."""
        return np.asarray(self.totals[t + 1][self.chain.steps[t].edge_next] > 0)

    def _count(self, dtype: Any) -> list[Any]:
        totals = [np.ones(1, dtype=dtype)]
        for step in reversed(self.chain.steps):
            totals.append(sum_by_group(totals[-1][step.edge_next], step.edge_start))
        return totals[::-1]

    def sample(self, n: int, rng: np.random.Generator) -> Ints:
        """``n`` independent uniform paths."""
        if self.size < EXACT:
            return self.unrank(rng.integers(0, self.size, n))
        return self.unrank([_big_integer(rng, self.size) for _ in range(n)])

    def unrank(self, numbers: Any) -> Ints:
        """The paths of numbers 0 .. size - 1."""
        left = np.asarray(numbers, dtype=self.totals[0].dtype).copy()
        path = np.empty((len(left), len(self.chain.steps)), dtype=np.int64)
        group = np.zeros(len(left), dtype=np.int64)
        for t, step in enumerate(self.chain.steps):
            edge = find_edges(step, self._before[t], group, left)
            left = left - self._before[t][edge]
            path[:, t] = edge
            group = step.edge_next[edge]
        return path

    def encodings(self, path: Ints) -> Ints:
        """The canonical encodings of paths."""
        result = np.zeros((len(path), len(self.radices)), dtype=np.int64)
        position = np.zeros(len(path), dtype=np.int64)
        for t in range(len(self.chain.steps) - 1, -1, -1):
            step = self.chain.steps[t]
            edge = path[:, t]
            row, choice = np.divmod(step.way[step.way_start[edge] + position], len(step.choices))
            if step.decisions:
                result[:, step.decisions] = step.choices[choice]
            position = row - step.row_start[np.searchsorted(step.edge_start, edge, side="right") - 1]
        return result

    def follow(self, encodings: Ints) -> tuple[Ints, np.ndarray[Any, np.dtype[np.bool_]]]:
        """The paths of encodings, canonical or not, and which of them no rule forbids (others give arbitrary paths)."""
        path = np.empty((len(encodings), len(self.chain.steps)), dtype=np.int64)
        row = np.zeros(len(encodings), dtype=np.int64)
        valid = np.ones(len(encodings), dtype=bool)
        for t, step in enumerate(self.chain.steps):
            flat = row * len(step.choices) + self.choice(t, encodings)
            edge = step.edge.ravel()[flat]
            valid &= edge != NONE
            path[:, t] = np.maximum(edge, 0)
            row = np.maximum(step.next_row.ravel()[flat], 0)
        return path, valid

    def follow_one(self, encoding: Sequence[int]) -> list[int] | None:
        """The path of one encoding, None where a rule forbids it: :meth:`follow` without the cost of arrays."""
        path = []
        row = 0
        for step, weights in zip(self.chain.steps, self._weights, strict=True):
            choice = 0
            for d, weight in weights:
                choice += encoding[d] * weight
            edge = step.edge.item(row, choice)
            if edge == NONE:
                return None
            path.append(edge)
            row = step.next_row.item(row, choice)
        return path

    def encoding_of(self, path: Sequence[int]) -> tuple[int, ...]:
        """The canonical encoding of one path: :meth:`encodings` without the cost of arrays."""
        result = [0] * len(self.radices)
        groups = [0]
        for step, edge in zip(self.chain.steps, path, strict=True):
            groups.append(step.edge_next.item(edge))
        position = 0
        for t in range(len(path) - 1, -1, -1):
            step = self.chain.steps[t]
            row, choice = divmod(step.way.item(step.way_start.item(path[t]) + position), len(step.choices))
            for i, d in enumerate(step.decisions):
                result[d] = step.choices.item(choice, i)
            position = row - step.row_start.item(groups[t])
        return tuple(result)

    def choice(self, t: int, encodings: Ints) -> Ints:
        """The number of the joint choice that each encoding makes at step ``t``."""
        result = np.zeros(len(encodings), dtype=np.int64)
        for d, weight in self._weights[t]:
            result += encodings[:, d] * weight
        return result


def find_edges(step: Step, before: Any, group: Ints, target: Any) -> Ints:
    """The last edge of each group whose ``before`` is at most the target, by bisection."""
    low = step.edge_start[group]
    high = step.edge_start[group + 1]
    most = int((high - low).max()) if len(group) else 1
    for _ in range(max(most - 1, 0).bit_length()):
        middle = (low + high) >> 1
        open_ = high - low > 1
        right = open_ & np.asarray(before[middle % len(before)] <= target, dtype=bool)
        low = np.where(right, middle, low)
        high = np.where(open_ & ~right, middle, high)
    return low


def _before(step: Step, totals: Any) -> Any:
    """For each edge the number of candidates over the edges of its group before it."""
    weight = totals[step.edge_next]
    start = np.repeat(step.edge_start[:-1], np.diff(step.edge_start))
    if weight.dtype == object or weight.dtype == np.float64 or float(weight.astype(np.float64).sum()) >= EXACT:
        result = np.zeros(len(weight), dtype=weight.dtype)
        for g in range(len(step.edge_start) - 1):
            a, b = step.edge_start[g], step.edge_start[g + 1]
            result[a:b] = np.concatenate((np.zeros(1, dtype=weight.dtype), np.cumsum(weight[a:b])[:-1]))
        return result
    sums = np.concatenate((np.zeros(1, dtype=weight.dtype), np.cumsum(weight)[:-1]))
    return sums - sums[start]


def sum_by_group(weight: Any, start: Ints) -> Any:
    """Sums of the edges of each group; ``start`` [G + 1]."""
    # Every group has an edge: a step without any valid choice was refused, a row without one is possible.
    empty = np.diff(start) == 0
    padded = np.concatenate((weight, np.zeros(1, dtype=weight.dtype)))
    result = np.add.reduceat(padded, start[:-1])
    result[empty] = 0
    return result


def _big_integer(rng: np.random.Generator, size: int) -> int:
    """Uniform over 0 .. size - 1 for any size."""
    bits = size.bit_length()
    while True:
        words = rng.integers(0, 1 << 32, (bits + 31) // 32, dtype=np.uint64).tolist()
        number = sum(int(word) << (32 * i) for i, word in enumerate(words)) >> (-bits % 32)
        if number < size:
            return number


def _weights(radices: Sequence[int], step: Step) -> list[tuple[int, int]]:
    sizes = [radices[d] for d in step.decisions]
    return [(d, prod(sizes[i + 1 :])) for i, d in enumerate(step.decisions)]
