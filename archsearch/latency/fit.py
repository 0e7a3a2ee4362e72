"""Latency models of one table, fitted on its own rows: what an operator that the table lacks probably takes.

t = overhead + macs / speed + bytes / bandwidth, every coefficient non-negative, least squares in relative error.
Work and bytes only ever add time, so more of either is never predicted faster, and large operators extrapolate in
proportion (a random forest would not).  The error band comes from residuals of rows held out of the fit.  Plain
Python: three coefficients and a few hundred rows need no more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from math import prod
from typing import NamedTuple, TypeAlias

from archsearch.cost.op import Op

MIN_ROWS = 8  # fewer rows of a family say too little about its spread
FOLDS = 10
COVERAGE = 0.8  # of the held-out residuals, as between p10 and p90 of measured rows
WORST_FACTOR = 1000.0
FEW_ROWS_FACTOR = 2.0
FOREIGN_FACTOR = 4.0  # a family without any row: fitted on all other rows of the table

Features: TypeAlias = tuple[float, float, float]


class Fit(NamedTuple):
    """A fitted family: milliseconds per call, per MAC and per byte, and the factor of its error band.

    ``work`` are the smallest and largest work (macs + bytes) of the fitted rows; the band doubles beyond a factor
    of two outside them.
    """

    coefficients: Features
    factor: float
    work: tuple[float, float]
    rows: int

    def predict(self, op: Op, bytes_per_value: int) -> tuple[float, float]:
        """Milliseconds, and the factor by which the truth may be larger or smaller."""
        x = features(op, bytes_per_value)
        inside = self.work[0] / 2 <= x[1] + x[2] <= self.work[1] * 2
        return _dot(self.coefficients, x), self.factor if inside else max(self.factor, FEW_ROWS_FACTOR) * 1.5


def family(op: Op) -> str:
    """Operators that one model describes: the kind, convolutions apart by kernel and groups."""
    if op.kind != "conv2d":
        return f"{op.kind}:{dict(op.attrs)['scores']}" if op.kind == "attention" else op.kind
    if op.attr("g") > 1:
        return "conv2d:depthwise"
    return f"conv2d:{op.attr('k')}x{op.attr('k')}"


def features(op: Op, bytes_per_value: int) -> Features:
    """(1, MACs, bytes moved).  Scores of an attention are written and read three times when not fused."""
    moved = op.moved + op.params + 6 * op.workspace
    if op.kind == "embedding":
        moved = 2 * prod(op.out_shape)
    return 1.0, float(op.macs), float(moved * bytes_per_value)


def fit(rows: Sequence[tuple[Features, float]], at_least: float = 1.0) -> Fit:
    """Fit rows of (features, milliseconds); needs at least one.

    The error factor is what ``COVERAGE`` of the held-out residuals stay within (ten folds), never below ``at_least``,
    nor below ``FEW_ROWS_FACTOR`` where there are few rows.
    """
    folds = [_gram(rows[i::FOLDS]) for i in range(min(FOLDS, len(rows)))]
    coefficients = _solve(_sum(folds))
    factor = max(at_least, FEW_ROWS_FACTOR if len(rows) < MIN_ROWS else 1.0)
    if len(rows) >= MIN_ROWS:
        residuals = []
        for i in range(len(folds)):
            without = _solve(_sum(folds[:i] + folds[i + 1 :]))
            residuals += [abs(math.log(max(_dot(without, x) / t, 1 / WORST_FACTOR))) for x, t in rows[i::FOLDS]]
        residuals.sort()
        factor = max(factor, math.exp(residuals[math.ceil(COVERAGE * len(residuals)) - 1]))
    work = [x[1] + x[2] for x, _ in rows]
    return Fit(coefficients, factor, (min(work), max(work)), len(rows))


_Gram: TypeAlias = tuple[list[list[float]], list[float]]


def _gram(rows: Sequence[tuple[Features, float]]) -> _Gram:
    """Normal equations of sum over rows of (w.x / t - 1)^2."""
    a = [[0.0] * 3 for _ in range(3)]
    b = [0.0] * 3
    for x, t in rows:
        y = [value / t for value in x]
        for i in range(3):
            b[i] += y[i]
            for j in range(3):
                a[i][j] += y[i] * y[j]
    return a, b


def _sum(parts: Sequence[_Gram]) -> _Gram:
    return (
        [[sum(a[i][j] for a, _ in parts) for j in range(3)] for i in range(3)],
        [sum(b[i] for _, b in parts) for i in range(3)],
    )


def _solve(gram: _Gram) -> Features:
    """Non-negative least squares, exactly: the best of all subsets of coefficients whose solution is positive.

    The objective is a.w.w - 2 b.w; every single-coefficient subset with data is feasible, so one always exists.
    """
    a, b = gram
    best: tuple[float, list[float]] | None = None
    for size in (3, 2, 1):
        for chosen in combinations(range(3), size):
            part = _linear([[a[i][j] for j in chosen] for i in chosen], [b[i] for i in chosen])
            if part is None or min(part) < 0:
                continue
            w = [0.0] * 3
            for i, value in zip(chosen, part, strict=True):
                w[i] = value
            loss = -sum(b[i] * w[i] for i in chosen)  # a.w.w = b.w at a stationary point
            if best is None or loss < best[0] - 1e-12 * abs(best[0]):
                best = loss, w
    assert best is not None
    return best[1][0], best[1][1], best[1][2]


def _linear(a: list[list[float]], b: list[float]) -> list[float] | None:
    """Solve a symmetric positive system by Gaussian elimination after scaling; None where it is singular."""
    n = len(b)
    scale = [math.sqrt(a[i][i]) for i in range(n)]
    if min(scale) <= 0.0:
        return None
    m = [[a[i][j] / (scale[i] * scale[j]) for j in range(n)] + [b[i] / scale[i]] for i in range(n)]
    for i in range(n):
        if m[i][i] < 1e-9:
            return None
        for k in range(i + 1, n):
            ratio = m[k][i] / m[i][i]
            for j in range(i, n + 1):
                m[k][j] -= ratio * m[i][j]
    w = [0.0] * n
    for i in reversed(range(n)):
        w[i] = (m[i][n] - sum(m[i][j] * w[j] for j in range(i + 1, n))) / m[i][i]
    return [value / scale[i] for i, value in enumerate(w)]


def _dot(w: Features, x: Features) -> float:
    return w[0] * x[0] + w[1] * x[1] + w[2] * x[2]
