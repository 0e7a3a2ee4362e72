from pathlib import Path

from archsearch.latency.check import check_table, transposes
from archsearch.latency.table import load_table
from archsearch.latency.write import write_table
from tests.latency.tables import HEAD, OPS, formula_ms, row, write_toy


def test_a_good_table_has_no_findings(tmp_path: Path) -> None:
    assert check_table(load_table(write_toy(tmp_path / "toy", OPS))) == []


def test_findings(tmp_path: Path) -> None:
    slow, loaded, stray = OPS[0], OPS[5], OPS[13]
    rows = []
    for op in OPS:
        new = row(op, formula_ms(op))
        if op == slow:
            new = row(op, 50.0)
        if op == loaded:
            new = new._replace(timing="unsteady")
        if op == stray:
            new = new._replace(graph="2 TRANSPOSE + FULLY_CONNECTED")
        rows.append(new)
    rows.append(rows[0]._replace(key="conv2d[1x8](k=3)@row"))
    write_table(tmp_path / "t", HEAD, rows)
    found = check_table(load_table(tmp_path / "t"))
    assert [(f.level, f.key) for f in found] == [
        ("error", "conv2d[1x8](k=3)@row"),
        ("error", stray.key),
        *sorted([("warning", slow.key), ("warning", loaded.key)]),
    ]
    assert "2 TRANSPOSE that a whole model does not hold" in found[1].message
    assert {f.key: f.rule for f in found} == {
        "conv2d[1x8](k=3)@row": "key", stray.key: "layout", slow.key: "order", loaded.key: "load"
    }  # fmt: skip


def test_transposes() -> None:
    assert transposes("CONV_2D") == 0
    assert transposes("TRANSPOSE") == 1
    assert transposes("3 TRANSPOSE + TRANSPOSE_CONV + 2 MEAN") == 3
    assert transposes("7 RESHAPE + 4 TRANSPOSE + 2 BATCH_MATMUL") == 4
