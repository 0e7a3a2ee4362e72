"""Fitting one class of operators on measured rows: non-negative, in relative error, and how far off held-out rows are.

``t = overhead + FLOPs / rate + activation bytes / bandwidth + weight bytes / bandwidth``.  Relative errors count, so
small operators weigh as much as large ones.  scipy is imported when called.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from archsearch.latency.phones.terms import Terms

FOLDS = 5
COVERAGE = 0.8  # of error bands, as in latency.fit
TOP = 0.2  # the largest part of the rows, by FLOPs, that extrapolation is tested on
Row: TypeAlias = tuple[Terms, float]
Coefficients: TypeAlias = tuple[float, float, float, float]


class Quality(NamedTuple):
    """How far held-out rows are off: |predicted / measured - 1| at the median and at p90, and the median ratio.

    ``cross_*`` are of five folds over distinct operators; ``top_*`` of the fifth with the most FLOPs, predicted by a
    fit on the others; None where there are too few rows.  ``band`` is the factor within which 80 % of held-out rows of
    both kinds lie.
    """

    rows: int
    cross_median: float
    cross_p90: float
    top_median: float | None
    top_bias: float | None
    top_rows: int
    band: float


def fit(rows: Sequence[Row], least_ms_per_flop: float = 0.0) -> Coefficients:
    """Milliseconds a call, a FLOP, an element of activations, an element of weights.

    ``least_ms_per_flop`` bounds the second from below: few rows with collinear terms must not promise what no kernel
    can reach.
    """
    import numpy as np
    from scipy.optimize import nnls

    y = np.array([[value / latency_ms for value in terms] for terms, latency_ms in rows])
    scale = np.maximum(y.max(axis=0), 1e-300)
    found, _ = nnls(y / scale, 1.0 - least_ms_per_flop * y[:, 1])
    a, b, c, d = (float(value) for value in found / scale)
    return a, b + least_ms_per_flop, c, d


def latency(coefficients: Coefficients, terms: Terms) -> float:
    """Milliseconds."""
    return sum(rate * value for rate, value in zip(coefficients, terms, strict=True))


def quality(rows: Sequence[Row], least_ms_per_flop: float = 0.0, seed: int = 0) -> Quality:
    """Cross-validated and extrapolation errors of :func:`fit` on distinct operators."""
    order = list(rows)
    random.Random(seed).shuffle(order)  # noqa: S311 - folds, no secret
    ratios: list[float] = []
    for number in range(FOLDS):
        found = fit([row for i, row in enumerate(order) if i % FOLDS != number], least_ms_per_flop)
        ratios += [latency(found, terms) / t for terms, t in order[number::FOLDS]]
    errors = sorted(abs(ratio - 1) for ratio in ratios)
    by_work = sorted(rows, key=lambda row: (row[0].flops, row[0].act_elements))
    cut = len(by_work) - math.floor(TOP * len(by_work))
    top: list[float] = []
    if len(by_work) - cut >= 5 and cut >= 10:
        found = fit(by_work[:cut], least_ms_per_flop)
        top = [latency(found, terms) / t for terms, t in by_work[cut:]]
    spread = sorted(abs(math.log(max(ratio, 1e-3))) for ratio in [*ratios, *top])
    return Quality(
        len(rows),
        statistics.median(errors),
        _quantile(errors, 0.9),
        statistics.median(abs(ratio - 1) for ratio in top) if top else None,
        statistics.median(top) if top else None,
        len(top),
        math.exp(_quantile(spread, COVERAGE)),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(math.ceil(share * len(ordered)) - 1, len(ordered) - 1)]
