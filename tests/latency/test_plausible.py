from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.cost.block import parse_workload
from archsearch.cost.op import Op
from archsearch.latency.check import check_table
from archsearch.latency.plausible import Judged, Peak, above_peak, above_roof, judged, slower_with_less_work
from archsearch.latency.rows import OpRow
from archsearch.latency.table import load_table
from archsearch.latency.write import write_table
from tests.latency.tables import HEAD, OPS, conv, formula_ms, row


def silu(channels: int, side: int) -> Op:
    return Op("silu", ((1, channels, side, side),))


MANY = OPS + [conv(c, 64, s, k=1) for c in (32, 64, 128) for s in (16, 32)] + [
    silu(c, s) for c in (8, 16, 32, 64, 96, 128) for s in (16, 32, 64)
]  # fmt: skip


def rows_of(ops: list[Op], factors: dict[str, float] | None = None) -> list[Judged]:
    """Rows under the formula, some of them times a factor."""
    return [judged(row(op, formula_ms(op) * (factors or {}).get(op.key, 1.0)), op, 4) for op in ops]


def test_rates_by_hand() -> None:
    one = judged(row(conv(64, 64, 32), 2.0), conv(64, 64, 32), 4)
    macs = 32 * 32 * 64 * 64 * 9
    assert one.gmacs_per_s == macs / 2e-3 / 1e9
    moved = 4 * (2 * 64 * 32 * 32 + 64 * 64 * 9 + 64)
    assert one.gbytes_per_s == pytest.approx(moved / 2e-3 / 1e9)


def test_true_rows_are_plausible() -> None:
    assert above_roof(rows_of(MANY)) == {}
    assert slower_with_less_work(rows_of(MANY)) == {}


@pytest.mark.parametrize("op", [OPS[0], OPS[-1], conv(64, 64, 32, k=1), silu(32, 32)], ids=lambda op: op.kind)
def test_a_row_that_is_far_too_fast(op: Op) -> None:
    found = above_roof(rows_of([*MANY, op] if op not in MANY else MANY, {op.key: 1e-3}))
    assert list(found) == [op.key]
    assert "above the roofline" in found[op.key]


@settings(deadline=None)
@given(st.sets(st.sampled_from([op.key for op in MANY if op.macs]), min_size=1, max_size=3))
def test_a_few_wrong_rows_do_not_hide_each_other(wrong: set[str]) -> None:
    assert set(above_roof(rows_of(MANY, dict.fromkeys(wrong, 1e-4)))) == wrong


def test_what_is_too_fast_does_not_accuse_the_others(tmp_path: Path) -> None:
    biggest = max((op for op in MANY if op.kind == "linear"), key=lambda op: op.macs)
    rows = [row(op, formula_ms(op) * (1e-3 if op == biggest else 1)) for op in MANY]
    write_table(tmp_path / "t", HEAD, rows)
    found = check_table(load_table(tmp_path / "t"))
    assert [(f.rule, f.key) for f in found] == [("roofline", biggest.key)]


def test_a_family_of_faster_kernels_is_plausible() -> None:
    """3x3 convolutions three and a half times as fast as all else, as Winograd's can be: many, so not a mistake."""
    factors = {op.key: 1 / 3.5 for op in MANY if op.kind == "conv2d" and op.attr("k") == 3}
    assert above_roof(rows_of(MANY, factors)) == {}


def test_few_rows_say_nothing() -> None:
    assert above_roof(rows_of(OPS[:6], {OPS[0].key: 1e-4})) == {}


def test_stated_peaks(tmp_path: Path) -> None:
    rows = rows_of(MANY)
    best = max(each.gmacs_per_s for each in rows)
    assert above_peak(rows, Peak(best * 1.01)) == {}
    (key,) = above_peak(rows, Peak(best * 0.9999))
    assert key == max(rows, key=lambda each: each.gmacs_per_s).row.key
    assert above_peak(rows, Peak()) == {}
    assert above_peak(rows, Peak(None, 1e-3)).keys() == {each.row.key for each in rows}
    write_table(tmp_path / "t", HEAD, [each.row for each in rows])
    found = check_table(load_table(tmp_path / "t"), Peak(best * 0.9999))
    assert [(f.level, f.rule, f.key) for f in found] == [("error", "peak", key)]


def test_slower_with_less_work() -> None:
    small, big = conv(16, 16, 16), conv(64, 64, 32)
    found = slower_with_less_work(rows_of([small, big], {small.key: 1000.0}))
    assert list(found) == [small.key]
    assert big.key in found[small.key]
    other = Op("linear", ((1, 16, 16),), (("bias", 1), ("out", 16)))
    assert slower_with_less_work(rows_of([other, big], {other.key: 1000.0})) == {}


def test_blocks_are_judged_among_their_like() -> None:
    from archsearch.arch import load_preset
    from archsearch.cost import lower

    spans = {span.block.key: span.block for piece in lower(load_preset("sd15").architecture).pieces
             for span in piece.trace.blocks}  # fmt: skip
    blocks = sorted((b for b in spans.values() if b.kind == "block.residual"), key=lambda b: b.macs)
    small, big = blocks[0], blocks[-1]
    assert parse_workload(small.key) == small

    def timed(key: str, kind: str, ms: float) -> OpRow:
        return OpRow(key, kind, ms, ms, ms, "measured", runs=5, timing="steady")

    rows = [judged(timed(b.key, b.kind, b.macs / 20e6), b, 4) for b in spans.values()]
    assert slower_with_less_work(rows) == {}
    rows.append(judged(timed(small.key, small.kind, 10 * big.macs / 20e6), small, 4))
    assert list(slower_with_less_work(rows)) == [small.key]
    fast = [*rows_of(MANY), judged(timed(big.key, big.kind, big.macs / 1e9), big, 4)]
    assert list(above_roof(fast)) == [big.key]


def test_modelled_tables_are_judged_too(tmp_path: Path) -> None:
    rows = [row(op, formula_ms(op), "modelled")._replace(runs=0, timing="") for op in MANY]
    write_table(tmp_path / "good", HEAD, rows)
    assert check_table(load_table(tmp_path / "good")) == []
    rows[3] = rows[3]._replace(latency_ms=1e-6, p10_ms=1e-6, p90_ms=1e-6)
    write_table(tmp_path / "bad", HEAD, rows)
    assert [(f.rule, f.key) for f in check_table(load_table(tmp_path / "bad"))] == [("roofline", rows[3].key)]
