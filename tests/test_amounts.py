"""Printed columns add up."""

from hypothesis import given
from hypothesis import strategies as st

from archsearch.amounts import apportioned, apportioned_macs, scaled
from archsearch.cli.columns import TableText

amounts = st.floats(0, 1e4, allow_nan=False)


@given(st.lists(amounts, min_size=1, max_size=30), st.integers(0, 4))
def test_printed_values_add_up_to_the_rounded_total(values: list[float], digits: int) -> None:
    scale = 10**digits
    printed = [round(float(text) * scale) for text in apportioned(values, digits)]
    assert sum(printed) == round(sum(value * scale for value in values))
    assert all(abs(p - v * scale) <= 1 for p, v in zip(printed, values, strict=True))


@given(st.lists(st.tuples(amounts, st.one_of(st.just(0.0), amounts)), min_size=1, max_size=30))
def test_mac_columns_agree_row_by_row(pairs: list[tuple[float, float]]) -> None:
    plain = [p for p, _ in pairs]
    macs = [p + a for p, a in pairs]
    both, without = apportioned_macs(macs, plain)
    units = [(round(float(b) * 1000), round(float(w) * 1000)) for b, w in zip(both, without, strict=True)]
    assert all(b >= w for b, w in units)
    assert sum(b for b, _ in units) == round(sum(macs) * 1000)
    assert sum(w for _, w in units) == round(sum(value * 1000 for value in plain))


def test_scaled() -> None:
    assert scaled(859_520_964) == "859.521 M"
    assert scaled(12) == "12"


def test_hostile_cells_stay_cells() -> None:
    table = TableText(("a", "b"), (("[red]x[/red]", "y|z"), ("\u202e", "😀" * 30)))
    assert "[red]x[/red]" in table.text()
    assert "y\\|z" in table.markdown()
