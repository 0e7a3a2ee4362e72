"""The fit of one class: coefficients come back, nothing is negative, held-out errors are those of the noise."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.latency.phones.fit import fit, latency, quality
from archsearch.latency.phones.terms import Terms

TRUE = (0.02, 3e-9, 4e-8, 5e-8)


def rows(noise: float, count: int = 200) -> list[tuple[Terms, float]]:
    draw = random.Random(1)
    found = []
    for _ in range(count):
        terms = Terms(1.0, 10 ** draw.uniform(5, 10), 10 ** draw.uniform(3, 7), 10 ** draw.uniform(2, 7))
        found.append((terms, latency(TRUE, terms) * math.exp(draw.gauss(0, noise))))
    return found


def test_exact_rows_give_their_coefficients_back() -> None:
    assert fit(rows(0.0)) == pytest.approx(TRUE, rel=1e-6)


def test_held_out_errors_are_those_of_the_noise() -> None:
    found = quality(rows(0.1))
    assert found.rows == 200
    assert found.top_rows == 40
    assert 0.04 < found.cross_median < 0.10  # the median of |noise| is 0.067
    assert found.top_median is not None
    assert found.top_median < 0.15
    assert math.exp(0.1) < found.band < math.exp(0.2)  # 80 % of a normal lie within 1.28 sigma


def test_a_floor_holds() -> None:
    floor = 2 * TRUE[1]
    found = fit(rows(0.0), floor)
    assert found[1] >= floor
    assert min(found) >= 0.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(1, 1e9)] * 3, st.floats(1e-3, 1e3)), min_size=5, max_size=20))
def test_no_coefficient_is_negative(values: list[tuple[float, float, float, float]]) -> None:
    found = fit([(Terms(1.0, a, b, c), t) for a, b, c, t in values])
    assert min(found) >= 0.0
    assert max(found) > 0.0
