import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch.values import ResBlock, Stage, TimeEmbedding, UNet
from archsearch.cost import Conditions, lower
from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.fit import fit
from archsearch.latency.predict import QUANTUM, estimate, predict
from archsearch.latency.table import LatencyTable, load_table
from archsearch.latency.write import write_table
from tests.latency.tables import HEAD, OPS, conv, formula_ms, linear, row, write_toy

SMALL = UNet(
    conv_in_channels=32,
    text_width=None,
    time=TimeEmbedding(input_width=32, width=64),
    stages=(
        Stage(
            down=((ResBlock(channels=64),),),
            up=((ResBlock(channels=32),), (ResBlock(channels=32),)),
        ),
    ),
)
LOWERING = lower(SMALL, Conditions(latent=(16, 16), passes=2))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    return load_table(write_toy(tmp_path_factory.mktemp("tables") / "toy", OPS))


def table_of(ops: list[Op], folder: Path, noise: float = 0.0) -> LatencyTable:
    rng = random.Random(0)
    rows = [row(op, formula_ms(op) * math.exp(rng.gauss(0, noise))) for op in ops]
    write_table(folder, HEAD, rows)
    return load_table(folder)


def test_measured_rows_are_taken_as_they_are(toy: LatencyTable) -> None:
    for op in OPS:
        found = estimate(toy, op)
        assert found.provenance == "measured"
        assert found.latency_ms == pytest.approx(toy.rows[op.key].latency_ms, abs=QUANTUM)
        assert found.low_ms < found.latency_ms < found.high_ms


def test_a_model_that_fits_is_found_again(toy: LatencyTable) -> None:
    for op in (conv(24, 48, 12), linear(100, 48, 96)):
        found = estimate(toy, op)
        assert found.provenance == "modelled"
        assert found.latency_ms == pytest.approx(formula_ms(op), rel=1e-3)


def test_prediction_is_the_exact_sum_of_its_rows(tmp_path: Path) -> None:
    ops = list(dict.fromkeys(located.op for located in LOWERING.ops()))
    half = [op for i, op in enumerate(ops) if i % 2]
    table = table_of(half, tmp_path / "half", noise=0.3)
    found = predict(LOWERING, table)
    located = list(LOWERING.ops())
    assert len(found.op_ms) == len(found.op_provenance) == len(located)
    shuffled = list(found.op_ms)
    random.Random(1).shuffle(shuffled)
    assert sum(shuffled) == sum(found.op_ms) == math.fsum(found.op_ms) == found.total_ms
    groups: dict[str, float] = {}
    for place, ms in zip(located, found.op_ms, strict=True):
        groups[place.piece_kind] = groups.get(place.piece_kind, 0.0) + ms
    assert sum(groups.values()) == found.total_ms
    measured = sum(ms for place, ms in zip(located, found.op_ms, strict=True) if place.op.key in table.rows)
    assert found.measured_share == measured / found.total_ms
    assert 0 < found.measured_share < 1
    assert found.provenance == "mixed"
    assert not found.calibrated
    assert found.low_ms < found.total_ms < found.high_ms
    assert set(found.missing) == {op.key for op in ops if op not in half}


def test_passes_multiply(toy: LatencyTable) -> None:
    once = predict(lower(SMALL, Conditions(latent=(16, 16))), toy)
    assert predict(LOWERING, toy).total_ms == 2 * once.total_ms


def test_all_measured_and_none_measured(toy: LatencyTable, tmp_path: Path) -> None:
    ops = list(dict.fromkeys(located.op for located in LOWERING.ops()))
    table = table_of(ops, tmp_path / "all")
    found = predict(LOWERING, table)
    assert (found.provenance, found.measured_share, found.missing) == ("measured", 1.0, ())
    low = sum(2 * table.rows[located.op.key].p10_ms for located in LOWERING.ops())
    assert found.low_ms == pytest.approx(low, rel=1e-4)
    nothing = predict(lower(SMALL, Conditions(latent=(18, 18))), toy)
    assert (nothing.provenance, nothing.measured_share) == ("modelled", 0.0)


def test_modelled_rows_of_a_table_are_not_called_measured(tmp_path: Path) -> None:
    write_table(tmp_path / "t", HEAD, [row(op, formula_ms(op), "modelled") for op in OPS])
    table = load_table(tmp_path / "t")
    assert table.provenance == "modelled"
    assert estimate(table, OPS[0]).provenance == "modelled"


def test_empty_table(tmp_path: Path) -> None:
    table = table_of([], tmp_path / "empty")
    with pytest.raises(LatencyError, match="no rows to predict from"):
        predict(LOWERING, table)


sizes = st.integers(4, 512)


@settings(deadline=None)
@given(sizes, sizes, st.integers(2, 128), st.sampled_from(["channels", "out", "side"]), st.floats(1, 8))
def test_more_work_is_never_faster(
    noisy: LatencyTable, channels: int, out: int, side: int, grow: str, by: float
) -> None:
    small = {"channels": channels, "out": out, "side": side}
    big = {**small, grow: round(small[grow] * by)}
    a, b = (estimate(noisy, conv(**size)) for size in (small, big))
    assert 0 < a.low_ms <= a.latency_ms <= a.high_ms
    if a.provenance == b.provenance == "modelled":
        assert b.latency_ms >= a.latency_ms


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    return table_of(OPS, tmp_path_factory.mktemp("tables") / "noisy", noise=0.3)


def test_large_operators_extrapolate_in_proportion(noisy: LatencyTable) -> None:
    base, far = (estimate(noisy, conv(256, 256, side)) for side in (64, 256))
    assert far.latency_ms == pytest.approx(16 * base.latency_ms, rel=0.1)
    assert far.high_ms / far.latency_ms >= 2


def test_error_band_covers_unseen_operators(tmp_path: Path) -> None:
    rng = random.Random(3)
    table = table_of([conv(8 * i, 16 * j, 16) for i in range(1, 6) for j in range(1, 6)], tmp_path / "t", noise=0.3)
    inside = 0
    for _ in range(300):
        op = conv(rng.randrange(9, 40), rng.randrange(17, 79), 16)
        truth = formula_ms(op) * math.exp(rng.gauss(0, 0.3))
        found = estimate(table, op)
        inside += found.low_ms <= truth <= found.high_ms
    assert 0.7 < inside / 300 < 0.95


def test_few_rows_widen_the_band(tmp_path: Path) -> None:
    table = table_of(OPS[:3], tmp_path / "few")
    found = estimate(table, conv(9, 9, 9))
    assert found.high_ms >= 2 * found.latency_ms * (1 - 1e-6)
    foreign = estimate(table, linear(8, 8, 8))
    assert foreign.provenance == "modelled"
    assert foreign.high_ms >= 4 * foreign.latency_ms * (1 - 1e-3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e12), st.floats(1, 1e12), st.floats(1e-5, 1e5)), min_size=1, max_size=30))
def test_fits_are_finite_and_not_negative(samples: list[tuple[float, float, float]]) -> None:
    found = fit([((1.0, macs, moved), t) for macs, moved, t in samples])
    assert all(0 <= c < math.inf for c in found.coefficients)
    assert any(c > 0 for c in found.coefficients)
    assert 1 <= found.factor < math.inf
