"""Sampling under constraints: uniform over what meets them, and plain words where nothing does."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from archsearch.errors import SpaceError
from archsearch.space import Space, load_space
from tests.space.tables import MadeUpTable


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("demo")


@pytest.fixture(scope="module")
def candidates(space: Space) -> np.ndarray:
    return np.array(list(space.enumerate()))


@pytest.mark.parametrize("quantile", [0.001, 0.02, 0.4])
@pytest.mark.parametrize("names", [("params",), ("peak_activation_bytes",), ("params", "latency:t", "macs")])
def test_uniform_over_the_candidates_that_meet_the_constraints(
    space: Space, candidates: np.ndarray, names: tuple[str, ...], quantile: float
) -> None:
    table = MadeUpTable()
    scores = space.batch_scorer(tables=[table]).score(candidates)
    values = {"params": scores.params, "macs": scores.macs, "peak_activation_bytes": scores.peak_activation_bytes,
              "latency:t": scores.latency_ms[0]}  # fmt: skip
    limits = {name: float(np.quantile(values[name], min(0.9, quantile * 5 ** (len(names) - 1)))) for name in names}
    feasible = np.all([values[name] <= limits[name] for name in names], axis=0)
    count = int(feasible.sum())
    assert 0 < count < space.size()
    n = 30 * count
    drawn = space.sample(n, seed=5, constraints=limits, tables={"t": table})
    number = {tuple(row): i for i, row in enumerate(candidates[feasible].tolist())}
    counts = np.bincount([number[tuple(row)] for row in drawn.tolist()], minlength=count)
    assert counts.sum() == n
    statistic = float(((counts - 30) ** 2 / 30).sum())
    assert abs(statistic - (count - 1)) < 5 * sqrt(2 * max(count - 1, 1)) + 1


def test_a_constraint_that_cannot_be_met(space: Space) -> None:
    low = space.ranges()["params"].low
    with pytest.raises(SpaceError, match=rf"params <= {low - 1}: no candidate .* at least {low} \(the nearest"):
        space.sample(1, seed=0, constraints={"params": low - 1})
    drawn = space.sample(3, seed=0, constraints={"params": low})
    assert space.batch_scorer().score(drawn).params.tolist() == [low] * 3


def test_peak_memory_that_cannot_be_met(space: Space) -> None:
    low = space.ranges()["peak_activation_bytes"].low
    with pytest.raises(SpaceError, match=f"peak_activation_bytes <= 1000: no candidate .* at least {low}"):
        space.sample(1, seed=0, constraints={"peak_activation_bytes": 1000})


TRADE = """
schema: archsearch.space/1
name: trade
conditions: {latent: [32, 32], text: 4}
decisions:
  fine: {choices: [0, 1, 2], default: 0}
  coarse: {choices: [0, 1, 2], default: 2}
rules:
  - forbid: [{fine: 0, coarse: [0, 1]}, {fine: 1, coarse: [0, 2]}, {fine: 2, coarse: [1, 2]}]
    because: only three combinations are wanted
unet: {conv_in_channels: 8, text_width: 8, norm_groups: 4, time: {input_width: 8, width: 8}}
templates:
  residual:
    kind: residual
    channels: $channels
    separable: {switch: $slim, cases: {true: {expansion: 4.0}}, else: null}
stages:
  - let: {channels: 8, slim: false}
    layers: []
    outer: [residual, {use: residual, repeat: $fine}]
    downsample: {channels: 8}
  - let: {channels: 12, slim: false}
    layers: []
    outer: [residual, {use: residual, repeat: $coarse}]
    upsample: {channels: 8}
"""


@pytest.fixture
def trade(tmp_path: Path) -> Space:
    """Blocks at the fine resolution cost MACs, at the coarse one parameters: (0, 2), (1, 1) or (2, 0) of them."""
    path = tmp_path / "trade.yaml"
    path.write_text(TRADE)
    return load_space(path)


def test_constraints_that_exclude_each_other(trade: Space) -> None:
    ranges = trade.ranges()
    limits = {"params": float(ranges["params"].low), "macs": float(ranges["macs"].low)}
    assert trade.size() == 3
    with pytest.raises(SpaceError, match=r"no candidate of the space meets this constraint together with .* nearest"):
        trade.sample(1, seed=0, constraints=limits)


def test_constraints_that_a_mixture_of_candidates_would_meet(trade: Space, tmp_path: Path) -> None:
    """Without (1, 1) the average of the other two still meets the limits: no weighted sum proves that none does."""
    limits = {"params": float(_median(trade, "params")), "macs": float(_median(trade, "macs"))}
    drawn = trade.sample(5, seed=0, constraints=limits)
    assert {trade.choices(row)["fine"] for row in drawn.tolist()} == {1}
    path = tmp_path / "gap.yaml"
    path.write_text(TRADE.replace("{fine: 1, coarse: [0, 2]}", "{fine: 1}"))
    with pytest.raises(SpaceError, match=r"too few candidates .* 0 found in \d+ draws; allowed: nearest together: "):
        load_space(path).sample(1, seed=0, constraints=limits)


def _median(space: Space, name: str) -> int:
    scores = space.batch_scorer().score(np.array(list(space.enumerate())))
    return int(np.median(getattr(scores, name)))


def test_memory_and_parameters_that_exclude_each_other(tmp_path: Path) -> None:
    """Separable convolutions that widen in between: fewer parameters, more activations."""
    text = TRADE.replace("fine: {choices: [0, 1, 2], default: 0}", "slim: {choices: [false, true]}")
    text = text.replace("  coarse: {choices: [0, 1, 2], default: 2}\n", "")
    text = text[: text.index("rules:")] + text[text.index("unet:") :]
    text = (
        text.replace("slim: false", "wide: 1")
        .replace("repeat: $fine", "repeat: 1")
        .replace("repeat: $coarse", "repeat: 1")
    )
    path = tmp_path / "memory.yaml"
    path.write_text(text)
    space = load_space(path)
    ranges = space.ranges()
    limits = {name: float(ranges[name].low) for name in ("params", "peak_activation_bytes")}
    assert ranges["params"].low_encoding != ranges["peak_activation_bytes"].low_encoding
    with pytest.raises(SpaceError, match=r"params <= .* together with peak_activation_bytes"):
        space.sample(1, seed=0, constraints=limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"parms": 1.0}, "parms: unknown cost; allowed: params, macs"),
        ({"params": 0.0}, "positive"),
        ({"params": float("nan")}, "positive"),
        ({"params": float("inf")}, "positive"),
        ({"latency:phone": 1.0}, "unknown cost"),
    ],
)
def test_constraints_that_make_no_sense(space: Space, limits: dict[str, float], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space.sample(1, seed=0, constraints=limits)


def test_the_same_seed_gives_the_same_candidates(space: Space) -> None:
    limits = {"params": 500_000.0}
    first = space.sample(50, seed=1, constraints=limits)
    assert (first == space.sample(50, seed=1, constraints=limits)).all()
    assert (first != space.sample(50, seed=2, constraints=limits)).any()
    assert (space.sample(50, seed=1) == space.sample(50, seed=1)).all()
