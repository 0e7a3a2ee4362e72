"""Alignment of two sequences by least total cost of edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def align(
    a: Sequence[_T], b: Sequence[_T], cost: Callable[[_T, _T], float], alone: Callable[[_T], float]
) -> list[tuple[_T | None, _T | None]]:
    """Pairs of least total cost in order; among equals, the earlier items are paired."""
    table = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            options = []
            if i and j:
                options.append(table[i - 1][j - 1] + cost(a[i - 1], b[j - 1]))
            if i:
                options.append(table[i - 1][j] + alone(a[i - 1]))
            if j:
                options.append(table[i][j - 1] + alone(b[j - 1]))
            table[i][j] = min(options, default=0.0)
    pairs: list[tuple[_T | None, _T | None]] = []
    i, j = len(a), len(b)
    while i or j:  # backwards: leave out late items first, so that early ones stay paired
        if i and table[i][j] == table[i - 1][j] + alone(a[i - 1]):
            i -= 1
            pairs.append((a[i], None))
        elif j and table[i][j] == table[i][j - 1] + alone(b[j - 1]):
            j -= 1
            pairs.append((None, b[j]))
        else:
            i, j = i - 1, j - 1
            pairs.append((a[i], b[j]))
    return pairs[::-1]
