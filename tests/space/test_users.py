"""Counts of the candidates that use an operator, against lowering every candidate."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from archsearch.cost import lower
from archsearch.cost.conditions import Conditions
from archsearch.space import Space, load_space, paths
from archsearch.space.users import block_keys, candidates_using, op_keys
from tests.space.test_random_spaces import loaded, space_data


def counted(space: Space, conditions: Conditions, encodings: Iterable[tuple[int, ...]]) -> tuple[Counter[str], ...]:
    """Users of every operator and block, one candidate after the other."""
    ops: Counter[str] = Counter()
    blocks: Counter[str] = Counter()
    for encoding in encodings:
        pieces = lower(space.decode(encoding), conditions).pieces
        ops.update({key for piece in pieces for key in op_keys(piece.trace)})
        blocks.update({key for piece in pieces for key in block_keys(piece.trace)})
    return ops, blocks


def test_demo_one_by_one() -> None:
    space = load_space("demo")
    ops, blocks = counted(space, space.conditions, space.enumerate())
    found = candidates_using(space)
    assert found == ops
    assert list(found) == sorted(found)
    assert set(found) == set(space.distinct_ops())
    assert candidates_using(space, keys=block_keys) == blocks


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=space_data())
def test_random_spaces_one_by_one(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("space") / "tiny.json"
    path.write_text(json.dumps(data))
    space = loaded(path)
    if space is None:
        return
    conditions = replace(space.conditions, latent=(16, 8), text=6)
    ops, blocks = counted(space, conditions, space.enumerate())
    assert candidates_using(space, conditions) == ops
    assert candidates_using(space, conditions, block_keys) == blocks


def test_beyond_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with Python's integers, which spaces of 2^62 candidates and more are counted with."""
    plain = candidates_using(load_space("demo"))
    monkeypatch.setattr(paths, "EXACT", 1000)
    space = load_space("demo")
    assert space.paths.totals[0].dtype == object
    assert candidates_using(space) == plain


def test_snapfusion_by_hand() -> None:
    """An operator of a block that one decision alone switches: its candidates are those that choose it."""
    space = load_space("snapfusion")
    found = candidates_using(space)
    assert max(found.values()) == space.size() == 23 * 3**35
    for seed_encoding in space.sample(40, seed=3).tolist():
        used = {located.op.key for located in lower(space.decode(seed_encoding), space.conditions).ops()}
        assert used <= set(found)
        assert {key for key, users in found.items() if users == space.size()} <= used
