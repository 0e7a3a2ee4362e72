"""Random tiny spaces against brute force: every assignment decoded by a second, naive reading of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.arch import arch_id
from archsearch.cost import count
from archsearch.errors import SpaceError
from archsearch.space import Space, load_space
from tests.space import naive

WIDTHS = [8, 16, 24]


@st.composite
def space_data(draw: st.DrawFn) -> dict[str, Any]:
    """A small space with every feature of the language."""
    pools: dict[str, list[Any]] = {
        "width": WIDTHS,
        "flag": [False, True],
        "times": [0, 1, 2],
        "kind": ["none", "text", "full"],
        "free": ["a", "b"],
    }
    names = draw(st.lists(st.sampled_from(sorted(pools)), min_size=3, max_size=6))
    decisions: dict[str, Any] = {}
    by_pool: dict[str, list[str]] = {pool: [] for pool in pools}
    for i, pool in enumerate(names):
        options = draw(st.lists(st.sampled_from(pools[pool]), min_size=2, max_size=3, unique=True))
        decision: dict[str, Any] = {"choices": options, "default": draw(st.sampled_from(options))}
        if decisions and draw(st.integers(0, 3)) == 0:
            decision["when"] = draw(condition(decisions))
        decisions[f"d{i}_{pool}"] = decision
        by_pool[pool].append(f"d{i}_{pool}")

    def pick(pool: str) -> Any:
        constants = {"width": draw(st.sampled_from(WIDTHS)), "flag": draw(st.booleans()), "times": 1, "kind": "full"}
        return draw(st.sampled_from([*(f"${name}" for name in by_pool[pool]), constants[pool]]))

    def entry() -> Any:
        item: dict[str, Any] = {"use": draw(st.sampled_from(["residual", "transformer"]))}
        if draw(st.booleans()):
            item["repeat"] = pick("times")
        if draw(st.integers(0, 2)) == 0:
            item["when"] = draw(condition(decisions))
        return item

    def entries(least: int) -> list[Any]:
        found = [entry() for _ in range(draw(st.integers(least, 2)))]
        if least:
            found[0]["use"] = "residual"
        return found

    def stage(s: int, last: int) -> dict[str, Any]:
        layers = [{"down": entries(0), "up": entries(1)} for _ in range(draw(st.integers(0, 2)))]
        if layers and draw(st.booleans()):
            layers[-1]["when"] = draw(condition(decisions))
        own = {"let": {"channels": pick("width"), "separable": pick("flag"), "attention": pick("kind")},
               "layers": layers, "outer": entries(1)}  # fmt: skip
        if s and draw(st.integers(0, 2)) == 0:
            own["when"] = draw(condition(decisions))
        if s < last:
            own["downsample"] = {"channels": "$channels"}
        if s:
            own["upsample"] = {"channels": "$channels", "separable": pick("flag")}
        return own

    last = draw(st.integers(0, 1))
    middle = entries(0)
    for item in middle:
        item["with"] = {"channels": pick("width"), "separable": pick("flag"), "attention": pick("kind")}
    data: dict[str, Any] = {
        "schema": "archsearch.space/1",
        "name": "tiny",
        "conditions": {"latent": [8, 8], "text": 4},
        "decisions": decisions,
        "unet": {
            "conv_in_channels": pick("width"),
            "text_width": 8,
            "norm_groups": 8,
            "time": {"input_width": 8, "width": 16},
        },
        "templates": {
            "residual": {
                "kind": "residual",
                "channels": "$channels",
                "separable": {"switch": "$separable", "cases": {"true": {"expansion": 2.0}, "false": None}},
            },
            "transformer": {
                "kind": "transformer",
                "width": 8,
                "block": {
                    "first": {"switch": "$attention", "cases": {"full": {"to": "self", "heads": 2}}, "else": None},
                    "second": {"switch": "$attention", "cases": {"none": None}, "else": {"to": "text", "heads": 2}},
                    "feed_forward": {},
                },
            },
        },
        "stages": [stage(s, last) for s in range(last + 1)],
        "middle": middle,
    }
    if draw(st.integers(0, 3)) == 0:
        data["rules"] = [{"forbid": draw(condition(decisions)), "because": "it was drawn"}]
    return data


@st.composite
def condition(draw: st.DrawFn, decisions: dict[str, Any]) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(decisions)), min_size=1, max_size=2, unique=True))
    return {
        name: draw(st.lists(st.sampled_from(decisions[name]["choices"]), min_size=1, max_size=2, unique=True))
        for name in names
    }


def indices(space: Space, chosen: dict[str, Any]) -> tuple[int, ...]:
    return tuple(d.index(chosen[d.name]) for d in space.decisions)


def loaded(path: Path) -> Space | None:
    """The space, or None where a random file is refused for one of these reasons."""
    reasons = ("the rules leave no candidate", "optional", "the defaults break this rule", "inconsistent")
    try:
        return load_space(path)
    except SpaceError as problem:
        if any(reason in str(problem) for reason in reasons):
            return None
        raise


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=space_data())
def test_a_compiled_space_is_what_brute_force_finds(
    data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("space") / "tiny.json"
    path.write_text(json.dumps(data))
    space = loaded(path)
    if space is None:
        return
    by_id: dict[str, list[tuple[int, ...]]] = {}
    for chosen in naive.assignments(data):
        encoding = indices(space, chosen)
        if not naive.allowed(data, chosen):
            with pytest.raises(SpaceError):
                space.decode(encoding)
            continue
        unet = naive.build(data, chosen)
        decoded = space.decode(encoding)
        assert arch_id(decoded) == arch_id(unet)
        by_id.setdefault(arch_id(unet), []).append(encoding)
        assert space.encode(unet) == space.canonical(encoding)
    assert space.size() == len(by_id)

    enumerated = list(space.enumerate())
    assert len(set(enumerated)) == space.size()
    for encodings in by_id.values():
        (canonical,) = {space.canonical(encoding) for encoding in encodings}
        assert canonical in encodings
        assert canonical in enumerated
        for d, decision in enumerate(space.decisions):  # a decision without effect takes its default
            changed = (*canonical[:d], decision.default, *canonical[d + 1 :])
            assert changed == canonical or changed not in encodings, decision.name

    scores = space.batch_scorer().score(np.array(enumerated))
    exact = [count(space.decode(encoding), space.conditions) for encoding in enumerated]
    assert scores.params.tolist() == [totals.params for totals in exact]
    assert scores.macs.tolist() == [totals.macs for totals in exact]
    assert scores.peak_activation_bytes.tolist() == [totals.peak_activation_bytes for totals in exact]
    for name, extent in space.ranges().items():
        values = [getattr(totals, name) for totals in exact]
        assert (extent.low, extent.high) == (min(values), max(values))
        assert getattr(count(space.decode(extent.low_encoding), space.conditions), name) == extent.low
        assert getattr(count(space.decode(extent.high_encoding), space.conditions), name) == extent.high


def test_conditions_of_alternatives(tmp_path: Path) -> None:
    """``when`` as a list holds where any of its members does."""
    text = """
schema: archsearch.space/1
name: either
conditions: {latent: [8, 8], text: 4}
decisions:
  a: {choices: [0, 1]}
  b: {choices: [0, 1]}
  c: {choices: [0, 1], when: [{a: 1}, {b: 1}]}
unet: {conv_in_channels: 8, text_width: 8, norm_groups: 8, time: {input_width: 8, width: 16}}
templates:
  residual: {kind: residual, channels: 8}
stages:
  - layers: []
    outer: [residual, {use: residual, repeat: $a}, {use: residual, repeat: $c}]
middle: [{use: residual, repeat: $b}]
"""
    path = tmp_path / "either.yaml"
    path.write_text(text)
    space = load_space(path)
    # (b, a + c): c needs a or b.
    expected = {(b, a + c) for a in (0, 1) for b in (0, 1) for c in (0, 1) if c == 0 or a or b}
    found = {(len(u.middle), len(u.stages[0].up[0]) - 1) for u in map(space.decode, space.enumerate())}
    assert found == expected
    assert space.size() == len(expected)
