"""The demo space, enumerated: what is computed by dynamic programming is compared with all 15,360 candidates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import sqrt

import numpy as np
import pytest

from archsearch.arch import arch_id
from archsearch.cost import Scorer, lower
from archsearch.errors import SpaceError
from archsearch.files import load_yaml
from archsearch.space import Space, load_space
from tests.space import naive
from tests.space.tables import MadeUpTable


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("demo")


@pytest.fixture(scope="module")
def candidates(space: Space) -> np.ndarray:
    return np.array(list(space.enumerate()))


def test_size_is_the_number_of_different_networks(space: Space, candidates: np.ndarray) -> None:
    ids = {arch_id(space.decode(row)) for row in candidates.tolist()}
    assert len(ids) == len(candidates) == space.size()
    assert 2_000 <= space.size() <= 20_000


def test_size_by_hand(space: Space) -> None:
    """Every decision has an effect of its own here; the rule forbids one combination of four of them."""
    everything = int(np.prod([len(decision.choices) for decision in space.decisions]))
    free = {"bottom_channels", "separable", "middle_residual", "ff_expansion", "shared_kv", "up_residual_16",
            "up_residual_8"}  # fmt: skip
    forbidden = int(np.prod([len(d.choices) for d in space.decisions if d.name in free]))
    assert space.size() == everything - forbidden


def test_random_assignments_against_a_naive_reading_of_the_file(space: Space) -> None:
    data = load_yaml(space.path, SpaceError).data
    rng = np.random.default_rng(3)
    every = list(itertools.product(*(range(len(d.choices)) for d in space.decisions)))
    for i in rng.choice(len(every), 150, replace=False):
        chosen = {d.name: d.choices[c] for d, c in zip(space.decisions, every[i], strict=True)}
        if not naive.allowed(data, chosen):
            with pytest.raises(SpaceError, match="text has no way in"):
                space.canonical(every[i])
            continue
        unet = naive.build(data, chosen)
        assert arch_id(space.decode(every[i])) == arch_id(unet)
        assert space.encode(unet) == space.canonical(every[i])


def test_encodings_are_canonical_and_come_back(space: Space, candidates: np.ndarray) -> None:
    again, valid = space.canonical_batch(candidates)
    assert valid.all()
    assert (again == candidates).all()
    for row in candidates[::97].tolist():
        assert space.encode(space.decode(row)) == tuple(row)


def test_every_candidate_is_its_number(space: Space, candidates: np.ndarray) -> None:
    numbers = [0, 1, 5_000, space.size() - 1]
    assert (space.unrank(numbers) == candidates[numbers]).all()
    for number in (-1, space.size()):
        with pytest.raises(SpaceError, match="no such candidate"):
            space.unrank([number])


def test_sampling_is_uniform(space: Space, candidates: np.ndarray) -> None:
    """Chi-square over all candidates: within five standard deviations of its expectation."""
    n = 40 * space.size()
    drawn = _numbers(space, space.sample(n, seed=11))
    counts = np.bincount(np.searchsorted(np.sort(_numbers(space, candidates)), drawn), minlength=space.size())
    assert counts.sum() == n
    assert _deviations(counts) < 5


def test_the_chi_square_would_notice(space: Space, candidates: np.ndarray) -> None:
    """One draw in ten from the first half of the candidates only is found."""
    n = 40 * space.size()
    rng = np.random.default_rng(0)
    biased = rng.integers(0, space.size(), n)
    biased[: n // 10] //= 2
    assert _deviations(np.bincount(biased, minlength=space.size())) > 5


def _deviations(counts: np.ndarray) -> float:
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return abs(float(((counts - expected) ** 2 / expected).sum()) - freedom) / sqrt(2 * freedom)


def _numbers(space: Space, encodings: np.ndarray) -> np.ndarray:
    """One integer for each encoding."""
    result = np.zeros(len(encodings), dtype=np.int64)
    for d, decision in enumerate(space.decisions):
        result = result * len(decision.choices) + encodings[:, d]
    return result


def test_ranges_are_those_of_all_candidates(space: Space, candidates: np.ndarray) -> None:
    table = MadeUpTable()
    scores = space.batch_scorer(tables=[table]).score(candidates)
    assert scores.valid.all()
    every = {
        "params": scores.params,
        "macs": scores.macs,
        "macs_without_attention": scores.macs_without_attention,
        "weight_bytes": scores.weight_bytes,
        "peak_activation_bytes": scores.peak_activation_bytes,
        "latency:made-up": scores.latency_ms[0],
    }
    ranges = space.ranges(tables={"made-up": table})
    assert list(ranges) == list(every)
    for name, values in every.items():
        assert (ranges[name].low, ranges[name].high) == (values.min(), values.max()), name
    statistics = space.statistics(tables={"made-up": table}, samples=4_000)
    for name, values in every.items():
        assert (statistics[name].low, statistics[name].high) == (values.min(), values.max())
        below = (values < statistics[name].median).mean(), (values <= statistics[name].median).mean()
        assert below[0] - 0.05 < 0.5 < below[1] + 0.05, (name, below)


def test_batch_and_single_scores_equal_the_full_lowering(space: Space, candidates: np.ndarray) -> None:
    table = MadeUpTable()
    rows = candidates[::150]
    batch = space.batch_scorer(tables=[table]).score(rows)
    scorer = Scorer(space.conditions, [table])
    for i, row in enumerate(rows.tolist()):
        assert scorer.score(space.decode(row)) == (
            batch.params[i], batch.macs[i], batch.macs_without_attention[i], batch.weight_bytes[i],
            batch.peak_activation_bytes[i], (batch.latency_ms[0, i],),
        )  # fmt: skip


def test_operators_are_those_of_all_candidates(space: Space, candidates: np.ndarray) -> None:
    found = {
        located.op.key for row in _covering(candidates) for located in lower(space.decode(row), space.conditions).ops()
    }
    assert set(space.distinct_ops()) == found
    assert len(found) <= 120


def _covering(candidates: np.ndarray) -> Iterator[list[int]]:
    """Candidates that together show every operator: a few hundred uniform ones."""
    rng = np.random.default_rng(1)
    yield from candidates[rng.choice(len(candidates), 600, replace=False)].tolist()


def test_neighbours_differ_in_one_decision(space: Space) -> None:
    origin = space.defaults()
    found = space.neighbours(origin)
    assert len(set(found)) == len(found)
    assert origin not in found
    assert len(found) == sum(len(decision.choices) - 1 for decision in space.decisions)
    for encoding in found:
        assert space.canonical(encoding) == encoding
        assert sum(a != b for a, b in zip(origin, encoding, strict=True)) == 1


def test_the_baseline_is_the_defaults(space: Space) -> None:
    assert space.encode(space.decode(space.defaults())) == space.defaults()
    assert space.encoding({}) == space.defaults()
    named = space.choices(space.defaults())
    assert named == {decision.name: decision.choices[decision.default] for decision in space.decisions}
    assert space.encoding(named) == space.defaults()


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ((0,) * 10, "one number a decision"),
        ((9,) + (0,) * 10, "not the number of a choice"),
        ((-1,) + (0,) * 10, "bottom_channels"),
    ],
)
def test_what_is_no_encoding(space: Space, encoding: tuple[int, ...], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space.decode(encoding)


def test_names_that_are_wrong(space: Space) -> None:
    with pytest.raises(SpaceError, match="Did you mean 'shared_kv'"):
        space.encoding({"shared_vk": True})
    with pytest.raises(SpaceError, match="allowed: false, true"):
        space.encoding({"shared_kv": 1})
    with pytest.raises(SpaceError, match="text has no way in"):
        space.encoding(
            {"attention_16": "none", "attention_8_down": "none", "attention_8_up": "none", "middle_depth": 0}
        )


def test_equal_parts_of_candidates_are_shared_objects(space: Space) -> None:
    a, b = space.decode(space.defaults()), space.decode(space.neighbours(space.defaults())[0])
    assert a.stages[0].down[0][0] is b.stages[0].down[0][0]
