import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import LatencyError
from archsearch.latency.rows import COLUMNS, OpRow, format_row, parse_row
from archsearch.latency.table import load_table, parse_ops, table_names
from tests.latency.tables import OPS, write_toy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy", OPS)


def reseal(folder: Path) -> None:
    """Make the checksum right again, so that the rows themselves are judged."""
    digest = hashlib.sha256((folder / "ops.csv").read_bytes()).hexdigest()
    path = folder / "table.yaml"
    lines = [f"sha256: {digest}" if line.startswith("sha256") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def test_round_trip(folder: Path) -> None:
    table = load_table(folder)
    assert set(table.rows) == {op.key for op in OPS}
    assert table.name == "toy"
    assert table.threads == 1
    assert table.provenance == "measured"
    assert load_table(str(folder)).rows == table.rows
    assert load_table(folder / "table.yaml").rows == table.rows


def edit(folder: Path, old: str, new: str, name: str = "ops.csv") -> None:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("value", ["nan", "inf", "-1.5", "0", "", "fast", "1e400", "0x1p3"])
def test_bad_times_name_the_line(folder: Path, value: str) -> None:
    lines = (folder / "ops.csv").read_text().splitlines()
    cells = lines[4].split('",')
    times = cells[-1].split(",")
    times[1] = value
    lines[4] = '",'.join([*cells[:-1], ",".join(times)])
    (folder / "ops.csv").write_text("\n".join(lines) + "\n")
    reseal(folder)
    with pytest.raises(LatencyError, match=r"ops\.csv:5: latency_ms must be a positive finite number"):
        load_table(folder)


def test_edited_rows_break_the_checksum(folder: Path) -> None:
    edit(folder, ",measured,", ",imported,")
    with pytest.raises(LatencyError, match="checksum differs"):
        load_table(folder)
    reseal(folder)
    assert load_table(folder).provenance == "measured"


def test_duplicate_row(folder: Path) -> None:
    lines = (folder / "ops.csv").read_text().splitlines()
    (folder / "ops.csv").write_text("\n".join([*lines, lines[3]]) + "\n")
    with pytest.raises(LatencyError, match=rf"ops\.csv:{len(lines) + 1}: duplicate operator, first in line 4"):
        load_table(folder)


@settings(deadline=None)
@given(st.data())
def test_any_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = write_toy(tmp_path_factory.mktemp("cut") / "toy", OPS[:3])
    whole = (folder / "ops.csv").read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    (folder / "ops.csv").write_bytes(whole[:cut])
    with pytest.raises(LatencyError, match=r"ops\.csv"):
        load_table(folder)


@settings(deadline=None)
@given(st.data())
def test_any_damage_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = write_toy(tmp_path_factory.mktemp("bits") / "toy", OPS[:3])
    whole = bytearray((folder / "ops.csv").read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    (folder / "ops.csv").write_bytes(whole)
    with pytest.raises(LatencyError, match=r"ops\.csv"):
        load_table(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("latency_table/1", "latency_table/2", r"table\.yaml:1: schema: another schema version"),
        ("threads: 1", "threads: 0", r"table\.yaml:11: threads: must be a positive whole number"),
        ("threads: 1", "threads: many", "threads: must be a positive whole number"),
        ('precision: "fp32"', 'precision: "fp12"', "precision: unknown precision; got fp12; allowed: fp32"),
        ("licence", "license", "license: unknown field"),
        ('device: "none"', 'device: ""', "device: must not be empty"),
        ('device: "none"', "device: [a, b]", "device: must be a text"),
        ("sha256: ", "sha256: 12", "sha256: must be the SHA-256"),
        ('name: "toy"', "name: !!python/object:os.system x", r"table\.yaml:2"),
        ('name: "toy"\n', 'name: "toy"\nname: "toy"\n', r"table\.yaml:3"),
    ],
)
def test_bad_heads_name_line_and_key(folder: Path, old: str, new: str, message: str) -> None:
    edit(folder, old, new, "table.yaml")
    with pytest.raises(LatencyError, match=message):
        load_table(folder)


def test_missing_things(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match="unknown latency table 'hots-xnnpack'"):
        load_table("hots-xnnpack")
    with pytest.raises(LatencyError, match="no latency table here"):
        load_table(tmp_path)
    (folder / "ops.csv").unlink()
    with pytest.raises(LatencyError, match="cannot read the table's rows"):
        load_table(folder)


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "x" * 5000, "/", "~", "*", "host\nxnnpack", "-"])
def test_hostile_names(name: str) -> None:
    with pytest.raises(LatencyError):
        load_table(name)


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe\n", b'key,"kind\n', b"key,kind\n", b"a" * 9 + b"\0\n"])
def test_hostile_bytes(data: bytes) -> None:
    with pytest.raises(LatencyError, match=r"^ops:\d"):
        parse_ops(data, "ops")


times = st.floats(1e-6, 1e6, allow_nan=False)


@settings(deadline=None)
@given(times, times, times, st.integers(1, 10**6), st.none() | times, st.text("ABC_ +2", max_size=20))
def test_rows_survive_text(a: float, b: float, c: float, runs: int, ratio: float | None, graph: str) -> None:
    low, mid, high = (float(f"{t:.6g}") for t in sorted((a, b, c)))
    ratio = None if ratio is None else float(f"{ratio:.6g}")
    row = OpRow("silu[1x4]()@row", "silu", mid, low, high, "measured", runs, 3, "cpu", ratio, None, None, graph, "now")
    assert parse_row(format_row(row), "here") == row
    assert len(format_row(row)) == len(COLUMNS)


def test_quantiles_out_of_order() -> None:
    row = OpRow("silu[1x4]()@row", "silu", 1.0, 0.9, 1.2, "measured", runs=5)
    for bad in (row._replace(p10_ms=1.1), row._replace(p90_ms=0.95)):
        with pytest.raises(LatencyError, match="p10_ms <= latency_ms <= p90_ms"):
            parse_row(format_row(bad), "here")
    with pytest.raises(LatencyError, match="a measured row has runs"):
        parse_row(format_row(row._replace(runs=0)), "here")
    cells = format_row(row)
    for column, value in (("runs", "5.5"), ("dropped", "-1"), ("timing", "fast"), ("provenance", "guessed")):
        bad_cells = [value if name == column else cell for name, cell in zip(COLUMNS, cells, strict=True)]
        with pytest.raises(LatencyError, match=column):
            parse_row(bad_cells, "here")
    with pytest.raises(LatencyError, match="not an operator of the row's kind"):
        parse_row(format_row(row._replace(kind="gelu")), "here")


def test_shipped_tables_load() -> None:
    for name in table_names():
        table = load_table(name)
        assert table.name == name
        assert table.rows


def test_the_state_of_a_device_is_kept_where_there_is_one(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "t", OPS[:1], thermal='1 ("light")', affinity="cores 4-7")
    table = load_table(folder)
    assert (table.thermal, table.affinity, table.battery) == ('1 ("light")', "cores 4-7", "")
    assert "battery" not in (folder / "table.yaml").read_text()
