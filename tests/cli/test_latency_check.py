"""``archsearch latency check``, as a user types it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from archsearch.cli.latency import app
from archsearch.errors import ArchsearchError
from archsearch.latency.write import write_table
from tests.latency.tables import HEAD, OPS, formula_ms, row, write_toy


def call(*args: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, args)])


def data(*args: object) -> dict[str, Any]:
    return json.loads(call(*args, "--json").stdout)


def test_rows_timed_under_load_are_one_line_for_people_and_all_of_them_for_machines(tmp_path: Path) -> None:
    loaded = ["cpu"] * 3 + ["unsteady"] * 2 + ["steady"] * (len(OPS) - 5)
    rows = [row(op, formula_ms(op))._replace(timing=how) for op, how in zip(OPS, loaded, strict=True)]  # type: ignore[arg-type]
    write_table(tmp_path / "t", HEAD, rows)
    result = call(tmp_path / "t")
    assert result.exit_code == 0
    told = [line for line in result.stdout.splitlines() if line.startswith("warning")]
    assert told == [
        f"warning: 5 of {len(OPS)} rows timed under load (3 cpu, 2 unsteady); "
        "`archsearch latency measure ... --again` returns to them"
    ]
    assert result.stdout.endswith(f"toy: {len(OPS)} rows (measured), 0 errors, 1 warning\n")
    found = data(tmp_path / "t")
    assert [f["rule"] for f in found["findings"]] == ["load"] * 5
    assert found["ok"]


def test_other_findings_have_a_line_each(tmp_path: Path) -> None:
    rows = [row(op, formula_ms(op)) for op in OPS]
    rows[0] = row(OPS[0], 50.0)
    rows[13] = rows[13]._replace(graph="2 TRANSPOSE + FULLY_CONNECTED")
    write_table(tmp_path / "t", HEAD, rows)
    result = call(tmp_path / "t")
    assert result.exit_code == 1
    assert f"error: {OPS[13].key}: 2 TRANSPOSE" in result.stdout
    assert f"warning: {OPS[0].key}: 50 ms, but " in result.stdout
    assert "1 error, 1 warning" in result.stdout


def test_a_stated_peak(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "t", OPS)
    assert call(folder, "--peak-gmacs", 25).exit_code == 0
    result = call(folder, "--peak-gmacs", 1)
    assert result.exit_code == 1
    assert "above the stated peak of 1" in result.stdout
    for bad in ("0", "-3", "nan", "inf"):
        error = call(folder, "--peak-gbytes", bad).exception
        assert isinstance(error, ArchsearchError)
        assert "--peak-gbytes: must be a positive number" in str(error)


@pytest.mark.parametrize("name", ["models.csv", "calibration.yaml"])
def test_files_beside_the_rows_are_checked(tmp_path: Path, name: str) -> None:
    folder = write_toy(tmp_path / "t", OPS)
    (folder / name).write_text("nonsense\n")
    result = call(folder)
    assert result.exit_code == 1
    assert f"{name}:1" in result.stdout
