import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.search.front import front, hypervolume, hypervolume_history, knee, scale_of, scored, spread
from archsearch.search.objectives import Objective
from archsearch.search.trial import Trial

NAMES = ("params", "quality")


def trial(number, *values, feasible=True, duplicate_of=None, names=NAMES):
    return Trial(
        number=number, encoding=(number,), arch_id=str(number), values=dict(zip(names, values, strict=True)),
        violations={"c": -0.1 if feasible else 0.1}, duplicate_of=duplicate_of,
    )  # fmt: skip


points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3)), max_size=30)


@given(points, st.lists(st.booleans(), min_size=30, max_size=30))
def test_front_is_what_nothing_feasible_dominates(found, feasible):
    names = ("a", "b", "c")
    trials = [trial(i, *p, feasible=feasible[i], names=names) for i, p in enumerate(found)]
    allowed = [t for t in trials if t.feasible]

    def dominated(t):
        p = t.vector(names)
        return any(
            q != p and all(x <= y for x, y in zip(q, p, strict=True)) for u in allowed for q in [u.vector(names)]
        )

    members = front(trials, names)
    assert {t.number for t in members} == {t.number for t in allowed if not dominated(t)}
    assert [t.values["a"] for t in members] == sorted(t.values["a"] for t in members)


def test_duplicates_and_scores_without_number_are_left_out():
    trials = [trial(0, 1, 1), trial(1, 1, 1, duplicate_of=0), trial(2, 0, math.nan), trial(3, 0, None),
              trial(4, math.inf, 0)]  # fmt: skip
    assert [t.number for t in front(trials, NAMES)] == [0]
    assert len(scored(trials, NAMES)) == 1
    assert front([], NAMES) == []
    assert front([trial(0, 1, 1, feasible=False)], NAMES) == []


def test_knee_is_nearest_to_the_ideal_point():
    members = [trial(0, 0, 10), trial(1, 1, 2), trial(2, 10, 0)]
    assert knee(members, NAMES) is members[1]
    assert knee(members[:1], NAMES) is members[0]
    assert knee([], NAMES) is None
    line = [trial(i, i, 4 - i) for i in range(5)]
    assert knee(line, NAMES) is line[2]


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=1, max_size=12), st.floats(1e-3, 1e3))
def test_knee_does_not_depend_on_units(found, factor):
    members = [trial(i, *p) for i, p in enumerate(found)]
    rescaled = [trial(i, a * 2**20, b) for i, (a, b) in enumerate(found)]
    assert knee(members, NAMES).number == knee(rescaled, NAMES).number


def test_hypervolume_by_hand():
    scale = scale_of([(0, 10), (10, 0)])
    assert hypervolume([(0, 0)], scale) == pytest.approx(1.1**2)
    assert hypervolume([(0, 10), (10, 0)], scale) == pytest.approx(0.1 * 1.1 + 1.0 * 0.1)
    assert hypervolume([], scale) == 0
    assert hypervolume([(20, 20)], scale) == 0
    assert hypervolume([(3.0,)], scale_of([(3.0,), (5.0,)])) == pytest.approx(1.1)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=10))
def test_hypervolume_equals_a_staircase_sum(found):
    scale = scale_of([(0, 0), (1, 1)])
    best, total = 1.1, 0.0
    for x, y in sorted(found):
        if y < best:
            total += (1.1 - x) * (best - y)
            best = y
    assert hypervolume(found, scale) == pytest.approx(total)


@given(points.filter(bool), st.integers(1, 40))
def test_history_never_falls_and_ends_at_the_whole_front(found, steps):
    names = ("a", "b", "c")
    trials = [trial(i, *p, names=names) for i, p in enumerate(found)]
    history = hypervolume_history(trials, names, steps)
    volumes = [volume for _, volume in history]
    assert volumes == sorted(volumes)
    assert history[-1][0] == len(trials)
    assert len(history) <= max(steps, 1)
    members = [t.vector(names) for t in front(trials, names)]
    assert volumes[-1] == pytest.approx(hypervolume(members, scale_of(found)))
    assert hypervolume_history([], names) == []


def test_spread_names_the_best_of_each_objective():
    members = [trial(0, 0, 10), trial(1, 1, 2), trial(2, 10, 0)]
    best = spread(members, [Objective("params"), Objective("quality")])
    assert [(o.name, t.number) for o, t in best] == [("params", 0), ("quality", 2)]
    assert spread([], [Objective("params")]) == []


def test_scale_without_spread_is_zero():
    scale = scale_of([(2.0, 5.0), (2.0, 7.0)])
    assert np.array_equal(scale([(2.0, 7.0)]), [[0.0, 1.0]])
