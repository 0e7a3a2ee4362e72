"""Invariant 1 over the shipped spaces: random candidates run what is counted, at their full size."""

from __future__ import annotations

import pytest

from archsearch.arch import UNet
from archsearch.space import load_space, space_names
from tests.models.test_record import check_invariant


def candidates(name: str, number: int, seed: int) -> list[UNet]:
    space = load_space(name)
    return [space.decode(tuple(int(i) for i in encoding)) for encoding in space.sample(number, seed)]


@pytest.mark.parametrize("name", space_names())
def test_candidates_of_every_space_run_what_is_counted(name: str) -> None:
    space = load_space(name)
    for unet in candidates(name, 4 if name == "demo" else 1, seed=0):
        check_invariant(unet, space.conditions)


@pytest.mark.slow
@pytest.mark.parametrize("name", space_names())
def test_many_candidates_of_every_space_run_what_is_counted(name: str) -> None:
    space = load_space(name)
    for unet in candidates(name, 15, seed=1):
        check_invariant(unet, space.conditions)
