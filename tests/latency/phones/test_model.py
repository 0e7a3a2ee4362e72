"""Phone models: terms by hand, and the committed rows follow from the committed numbers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from archsearch.arch import load_preset
from archsearch.cost import Conditions, lower
from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.files import load_yaml
from archsearch.latency.phones.model import MODEL, load_model
from archsearch.latency.phones.terms import Winograd, op_class, terms
from archsearch.latency.predict import predict
from archsearch.latency.rows import format_row
from archsearch.latency.table import load_table, tables_folder
from archsearch.space import load_space

TABLES = sorted(path.parent.name for path in tables_folder().glob(f"*/{MODEL}"))


def conv(channels: int, side: int, out: int, k: int = 3, s: int = 1, g: int = 1) -> Op:
    attrs = (("bias", 1), ("g", g), ("k", k), ("out", out), ("s", s))
    return Op("conv2d", ((1, channels, side, side),), attrs)


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (conv(64, 222, 64), "conv_winograd"),
        (conv(60, 222, 64), "conv_direct"),
        (conv(64, 20, 64), "conv_direct"),  # 25 tiles
        (conv(64, 21, 64), "conv_winograd"),  # 36 tiles
        (conv(64, 222, 64, s=2), "conv_direct"),
        (conv(64, 222, 64, k=5), "conv_direct"),
        (conv(64, 8, 64, k=1), "conv1x1"),
        (conv(64, 1, 64, k=1), "vector"),
        (conv(64, 64, 64, g=64), "depthwise"),
        (Op("linear", ((1, 4096, 320),), (("bias", 1), ("out", 320))), "conv1x1"),
        (Op("linear", ((1, 320),), (("bias", 1), ("out", 1280))), "vector"),
        (Op("attention", ((1, 4096, 8, 40), (1, 4096, 8, 40)), (("scores", "softmax"),)), "attention"),
        (Op("attention", ((1, 77, 12, 64), (1, 77, 12, 64)), (("scores", "softmax"),)), "attention_small"),
        (Op("group_norm", ((1, 320, 64, 64),), (("g", 32),)), "norm"),
        (Op("silu", ((1, 320, 64, 64),)), "elementwise"),
    ],
)
def test_classes(op: Op, name: str) -> None:
    assert op_class(op, Winograd(16, 32), on_chip=2**20) == name


def test_terms_by_hand() -> None:
    assert terms(conv(8, 14, 32)) == (1, 2 * 14 * 14 * 32 * 8 * 9, 14 * 14 * (8 + 32), 32 * 8 * 9)
    wide, narrow = (1, 320, 64, 64), (1, 320, 1, 1)
    assert terms(Op("add", (wide, narrow))) == (1, 0, 320, 0), "merged: the second tensor is read"
    attention = terms(Op("attention", ((1, 64, 2, 40), (1, 77, 2, 40)), (("scores", "softmax"),)))
    assert attention == (1, 4 * 2 * 64 * 77 * 40, 2 * (64 + 77) * 2 * 40 + 6 * 2 * 64 * 77, 0)
    text = Op("attention", ((1, 77, 12, 64), (1, 77, 12, 64)), (("scores", "softmax"),))
    assert terms(text, on_chip=2**20).act_elements == 4 * 77 * 12 * 64
    assert terms(Op("group_norm", (wide,), (("g", 32),))) == (1, 0, 4 * 320 * 64 * 64, 0)


def test_five_tables_ship() -> None:
    assert TABLES == [
        "galaxy-s10-gpu-modelled", "galaxy-s24-npu-modelled", "iphone-14-pro-modelled", "iphone-xs-gpu-modelled",
        "pixel4-gpu-modelled",
    ]  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_committed_rows_follow_from_the_committed_numbers(name: str) -> None:
    table = load_table(name)
    model = load_model(tables_folder() / name)
    keys = random.Random(name).sample(sorted(table.rows), 80)
    for key in keys:
        assert format_row(model.row(Op.parse(key))) == format_row(table.rows[key])


@pytest.mark.parametrize("name", TABLES)
def test_one_row_by_plain_arithmetic(name: str) -> None:
    numbers = load_yaml(tables_folder() / name / MODEL, LatencyError).data
    rates = numbers["classes"]["conv1x1"]
    gflop, pixels = 2 * 320 * 320 * 4096 / 1e9, 4096
    us = (
        rates["overhead_us"]
        + rates["us_per_gflop"] * gflop
        + rates["us_per_mb_activations"] * 2 * 320 * pixels * numbers["act_bytes"] / 1e6
        + rates["us_per_mb_weights"] * 320 * 320 * numbers["weight_bytes"] / 1e6
    )
    row = load_table(name).rows["conv2d[1x320x64x64](bias=1,g=1,k=1,out=320,s=1)@nhwc"]
    assert row.latency_ms == pytest.approx(numbers["scale"] * us / 1000, rel=1e-5)
    assert row.p90_ms / row.latency_ms == pytest.approx(rates["band"], rel=1e-4)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_holds_every_operator_of_the_demo_and_is_modelled_throughout(name: str) -> None:
    table = load_table(name)
    assert table.provenance == "modelled"
    assert {row.provenance for row in table.rows.values()} == {"modelled"}
    assert set(load_space("demo").distinct_ops()) <= set(table.rows)
    assert name.endswith("-modelled")
    assert table.description.startswith("MODELLED, not measured")
    assert "hecked on" in table.notes
    found = predict(lower(load_preset("sd15").architecture, Conditions()), table)
    assert not found.missing
    assert found.measured_share == 0.0
    assert found.low_ms < found.total_ms < found.high_ms


@pytest.mark.parametrize("name", TABLES)
def test_an_operator_that_the_table_lacks_is_computed_as_its_rows_are(name: str) -> None:
    table, model = load_table(name), load_model(tables_folder() / name)
    lowering = lower(load_preset("sd15").architecture, Conditions(latent=(96, 96)))
    found = predict(lowering, table)
    assert len(found.missing) > 50
    rows = [model.row(located.op) for located in lowering.ops()]
    assert found.total_ms == pytest.approx(sum(row.latency_ms for row in rows), rel=1e-4)
    assert found.high_ms == pytest.approx(sum(row.p90_ms for row in rows), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "published_ms"), [("galaxy-s24-npu-modelled", 81.089), ("iphone-14-pro-modelled", 1700.0)]
)
def test_the_fitted_anchor_is_met(name: str, published_ms: float) -> None:
    found = predict(lower(load_preset("sd15").architecture, Conditions()), load_table(name))
    assert found.total_ms == pytest.approx(published_ms, rel=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("archsearch.phone_model/1", "archsearch.phone_model/9", "another schema version"),
        ("scale: 1.066", "scale: -1", "must be a number"),
        ("overhead_us: ", "overhead_us: x", "must be a number"),
        ('basis: "fitted"', 'basis: "guessed"', "unknown basis"),
        ("  depthwise:", "  deepwise:", "other classes"),
        ("band: ", "band: 0.5 # ", "at least 1"),
    ],
)
def test_a_malformed_model_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (tables_folder() / "pixel4-gpu-modelled" / MODEL).read_text()
    assert old in text
    (tmp_path / MODEL).write_text(text.replace(old, new, 1))
    with pytest.raises(LatencyError, match=message) as caught:
        load_model(tmp_path)
    assert str(tmp_path / MODEL) in str(caught.value.where)
