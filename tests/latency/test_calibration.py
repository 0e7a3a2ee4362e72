import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch.values import (
    Attention,
    FeedForward,
    ResBlock,
    Stage,
    TimeEmbedding,
    Transformer,
    TransformerBlock,
    UNet,
)
from archsearch.cost import Conditions, Scorer, lower
from archsearch.cost.block import BlockOp
from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.calibration import (
    CALIBRATION,
    Calibration,
    calibration_text,
    fit_calibration,
    read_calibration,
    rows_digest,
)
from archsearch.latency.predict import QUANTUM, predict
from archsearch.latency.profile import profile
from archsearch.latency.rows import OpRow
from archsearch.latency.table import load_table
from archsearch.latency.write import replace, write_table
from tests.latency.tables import HEAD, conv, formula_ms, row

INNER = TransformerBlock(first=Attention(to="self", heads=2, head_dim=8), feed_forward=FeedForward(expansion=2.0))
SMALL = UNet(
    conv_in_channels=32,
    text_width=None,
    time=TimeEmbedding(input_width=32, width=64),
    stages=(
        Stage(
            down=((ResBlock(channels=32), Transformer(width=16, blocks=(INNER,))),),
            up=((ResBlock(channels=32),), (ResBlock(channels=32),)),
        ),
    ),
)
LOWERING = lower(SMALL, Conditions(latent=(8, 8), passes=2))


LATER = "2099-01-01T00:00:00Z"


def digest(folder: Path) -> str:
    return rows_digest(load_table(folder).rows.values(), LATER)


def block_row(block: BlockOp, share: float) -> OpRow:
    latency_ms = sum(map(formula_ms, block.ops)) * (1 + share)
    return OpRow(block.key, block.kind, latency_ms, latency_ms * 0.9, latency_ms * 1.1, "measured", 5, timing="steady")


def table(folder: Path, share: float, without: str = "nothing") -> Path:
    """A table of all operators of ``SMALL``, and of its blocks but those of one kind."""
    ops = {located.op: None for located in LOWERING.ops()}
    blocks = {span.block: None for piece in LOWERING.pieces for span in piece.trace.blocks}
    rows = [row(op, formula_ms(op)) for op in ops]
    rows += [block_row(block, share) for block in blocks if without not in block.kind]
    write_table(folder, HEAD, rows)
    return folder


@pytest.mark.parametrize("share", [0.25, -0.1])
def test_what_blocks_add_stands_as_rows_and_adds_up(tmp_path: Path, share: float) -> None:
    loaded = load_table(table(tmp_path / "t", share))
    found = predict(LOWERING, loaded)
    assert found.total_ms == sum(found.op_ms) + sum(found.between_ms)
    assert found.measured_share == 1
    assert found.provenance == "measured"
    blocks = [span.block for piece in LOWERING.pieces for span in piece.trace.blocks]
    expected = 2 * share * sum(formula_ms(op) for block in blocks for op in block.ops)
    assert found.overhead_ms == pytest.approx(expected, rel=1e-4)
    made = profile("small", SMALL, LOWERING.conditions, (loaded,))
    for grain in ("op", "block", "stage"):
        assert sum(r.latency_ms[0] for r in made.by(grain)) == found.total_ms  # type: ignore[arg-type]
    kinds = [r.kind for r in made.rows]
    assert kinds.count("overhead") == sum(any(piece.trace.blocks) for piece in LOWERING.pieces)
    assert Scorer(LOWERING.conditions, (loaded,)).score(SMALL).latency_ms == (found.total_ms,)


def test_a_block_without_a_row_takes_the_share_of_the_others_and_is_called_modelled(tmp_path: Path) -> None:
    whole = predict(LOWERING, load_table(table(tmp_path / "whole", 0.2)))
    some = predict(LOWERING, load_table(table(tmp_path / "some", 0.2, without="residual")))
    assert some.total_ms == pytest.approx(whole.total_ms, rel=1e-4)  # rows hold six digits
    assert some.measured_share < 1
    assert some.provenance == "mixed"
    assert "modelled" in some.between_provenance


def test_a_calibration_multiplies_everything_and_brings_its_intervals(tmp_path: Path) -> None:
    folder = table(tmp_path / "t", 0.1)
    plain = predict(LOWERING, load_table(folder))
    found = Calibration(factor=1.25, factor_80=1.04, factor_95=1.1, models=("a", "b", "c"), errors=(0.0, 0.01, -0.01),
                        repeatability=0.02, fitted_at=LATER, rows_sha256=digest(folder))  # fmt: skip
    replace(folder / CALIBRATION, calibration_text(found).encode())
    loaded = load_table(folder)
    assert read_calibration(folder, loaded.rows) == found
    assert loaded.calibration == found
    calibrated = predict(LOWERING, loaded)
    assert calibrated.calibrated
    assert calibrated.total_ms == pytest.approx(1.25 * plain.total_ms, rel=1e-4)
    assert calibrated.low_ms == pytest.approx(calibrated.total_ms / 1.04)
    assert calibrated.interval_95 is not None
    assert calibrated.interval_95[1] == pytest.approx(calibrated.total_ms * 1.1)
    assert Scorer(LOWERING.conditions, (loaded,)).score(SMALL).latency_ms == (calibrated.total_ms,)
    assert calibrated.to_dict()["calibrated"] is True


def test_rows_that_changed_put_a_calibration_out_of_use(tmp_path: Path) -> None:
    folder = table(tmp_path / "t", 0.1)
    stale = Calibration(factor=2.0, factor_80=1.1, factor_95=1.2, models=("a", "b", "c"), errors=(0.0, 0.0, 0.0),
                        repeatability=None, fitted_at=LATER, rows_sha256="0" * 64)  # fmt: skip
    replace(folder / CALIBRATION, calibration_text(stale).encode())
    assert load_table(folder).calibration is None


def test_rows_that_were_added_later_leave_a_calibration_in_force(tmp_path: Path) -> None:
    folder = table(tmp_path / "t", 0.1)
    then = "2026-11-21T08:00:00Z"
    rows = [r._replace(measured_at="2026-11-21T07:00:00Z") for r in load_table(folder).rows.values()]
    write_table(folder, HEAD, rows)
    found = Calibration(factor=2.0, factor_80=1.1, factor_95=1.2, models=("a", "b", "c"), errors=(0.0, 0.0, 0.0),
                        repeatability=None, fitted_at=then, rows_sha256=rows_digest(rows, then))  # fmt: skip
    replace(folder / CALIBRATION, calibration_text(found).encode())
    assert load_table(folder).calibration == found
    new = row(conv(8, 8, 4), 1.0)._replace(measured_at="2026-11-21T09:00:00Z")
    write_table(folder, HEAD, [*rows, new])
    assert load_table(folder).calibration == found
    again = rows[0]._replace(latency_ms=rows[0].latency_ms * 1.5, p90_ms=rows[0].p90_ms * 2)
    write_table(folder, HEAD, [again, *rows[1:], new])
    assert load_table(folder).calibration is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("factor: 1.25", "factor: -1", "factor"),
        ("factor: 1.25", "factor: .nan", "factor"),
        ("factor_80: 1.04", "factor_80: 0.5", "factor_80"),
        ("factor_80: 1.04", "surprise: 1", "unknown field"),
        ("archsearch.latency_calibration/1", "archsearch.latency_calibration/9", "schema"),
        ('"a": 0', '"a": oops', "models"),
        ('"2099', '"soon', "fitted_at"),
    ],
)
def test_a_malformed_calibration_is_refused_with_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    folder = table(tmp_path / "t", 0.1)
    good = Calibration(factor=1.25, factor_80=1.04, factor_95=1.1, models=("a", "b", "c"), errors=(0.0, 0.0, 0.0),
                       repeatability=None, fitted_at=LATER, rows_sha256=digest(folder))  # fmt: skip
    text = calibration_text(good)
    assert old in text
    (folder / CALIBRATION).write_text(text.replace(old, new, 1))
    with pytest.raises(LatencyError, match=words) as refused:
        load_table(folder)
    assert "calibration.yaml:" in str(refused.value)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 2.0), st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=12))
def test_the_factor_is_the_geometric_mean_ratio(factor: float, errors: list[float]) -> None:
    predicted = {str(i): 100.0 * (i + 1) for i in range(len(errors))}
    measured = {name: predicted[name] * factor * math.exp(e) for name, e in zip(predicted, errors, strict=True)}
    found = fit_calibration(predicted, measured, repeatability=None, fitted_at="", rows_sha256="")
    assert found.factor == pytest.approx(factor * math.exp(sum(errors) / len(errors)))
    assert 1 <= found.factor_80 <= found.factor_95
    for name, error in zip(found.models, found.errors, strict=True):  # each left out, by hand
        rest = [math.log(measured[other] / predicted[other]) for other in predicted if other != name]
        expected = math.exp(sum(rest) / len(rest)) * predicted[name] / measured[name] - 1
        assert error == pytest.approx(expected, abs=1e-9)


def test_the_intervals_cover_what_they_claim() -> None:
    rng = np.random.default_rng(0)
    inside = {80: 0, 95: 0}
    draws = 600
    for _ in range(draws):
        noise = rng.normal(0, 0.05, 9)
        predicted = {str(i): 1.0 for i in range(8)}
        measured = {str(i): math.exp(noise[i]) for i in range(8)}
        found = fit_calibration(predicted, measured, repeatability=None, fitted_at="", rows_sha256="")
        new = math.exp(noise[8])
        inside[80] += found.factor / found.factor_80 <= new <= found.factor * found.factor_80
        inside[95] += found.factor / found.factor_95 <= new <= found.factor * found.factor_95
    assert abs(inside[80] / draws - 0.80) < 0.05
    assert abs(inside[95] / draws - 0.95) < 0.03


def test_too_few_models_are_refused() -> None:
    with pytest.raises(LatencyError, match="too few"):
        fit_calibration({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.1}, repeatability=None, fitted_at="", rows_sha256="")


def test_latencies_stay_whole_quanta(tmp_path: Path) -> None:
    found = predict(LOWERING, load_table(table(tmp_path / "t", 0.3)))
    for value in (*found.op_ms, *found.between_ms):
        assert (value / QUANTUM).is_integer()
    assert isinstance(next(LOWERING.ops()).op, Op)
