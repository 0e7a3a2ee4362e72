"""Draws from a real space: within the limits, depending on seed and number alone, found even where limits are tight."""

import pytest

from archsearch.cost import count
from archsearch.errors import SpaceError
from archsearch.search.encoding import DRAWS, SpaceDomain, draw
from archsearch.space import load_space


@pytest.fixture(scope="module")
def space():
    return load_space("demo")


def test_draws_meet_the_limits_and_do_not_depend_on_what_was_drawn_before(space):
    limits = {"params": 700_000, "macs": 150_000_000, "peak_activation_bytes": 1_000_000}
    first, second = SpaceDomain(space, limits), SpaceDomain(space, limits)
    late = second.draws(5, 70)
    found = [first.draws(5, number) for number in (0, 1, 31, 32, 70)]
    assert found[-1] == late
    assert len({tuple(draws) for draws in found}) == 5
    for draws in found:
        assert len(draws) == DRAWS
        for encoding in draws:
            assert space.canonical(encoding) == encoding
            total = count(space.decode(encoding), space.conditions)
            assert total.params <= 700_000
            assert total.macs <= 150_000_000
            assert total.peak_activation_bytes <= 1_000_000
    assert SpaceDomain(space, limits).draws(6, 70) != late


@pytest.mark.parametrize(("needed", "used"), [(100, 100), (104, 105), (190, 200), (399, 400), (10_000, None)])
def test_limits_that_starve_are_widened(space, needed, used):
    class Starving:
        """A space whose draws find nothing below ``needed``."""

        decisions, canonical, defaults = space.decisions, space.canonical, space.defaults
        asked: list = []  # noqa: RUF012

        def sample(self, n, seed, limits, tables):
            self.asked.append(limits)
            if limits and limits["params"] < needed:
                raise SpaceError("too few")
            return space.sample(n, seed)

    starving = Starving()
    assert len(SpaceDomain(starving, {"params": 100}).draws(0, 0)) == DRAWS
    assert (starving.asked[-1] and starving.asked[-1]["params"]) == (used and pytest.approx(used))


def test_a_draw_is_new_where_it_can_be(space):
    domain = SpaceDomain(space)
    draws = domain.draws(0, 0)
    known = dict.fromkeys(draws[:3], 0)
    assert draw(domain, 0, 0, known) == next(e for e in draws if e not in known)
    assert draw(domain, 0, 0, dict.fromkeys(draws, 0)) == draws[0]


def test_what_a_rule_forbids_has_no_canonical_form(space):
    domain = SpaceDomain(space)
    names = list(domain.names)
    none = list(domain.baseline)
    for name in ("attention_16", "attention_8_down", "attention_8_up", "middle_depth"):
        none[names.index(name)] = 0
    assert domain.canonical(tuple(none)) is None
    assert domain.canonical(domain.baseline) == domain.baseline
