"""A modelled table is called that wherever its figures are shown, whatever its name is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from archsearch.latency.table import tables_folder
from tests.conftest import run_cli


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped phone table under a name that does not give it away."""
    folder = tmp_path_factory.mktemp("tables") / "phone"
    shutil.copytree(tables_folder() / "pixel4-gpu-modelled", folder)
    head = folder / "table.yaml"
    text = head.read_text()
    for field, value in (("name", "phone"), ("description", "a phone"), ("protocol", "as given"), ("notes", "")):
        text = re.sub(rf"^{field}: .*$", f'{field}: "{value}"', text, flags=re.MULTILINE)
    head.write_text(text)
    assert "modelled" not in text
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("latency", "predict", "sd15"),
        ("latency", "show"),
        ("latency", "show", "--rows"),
        ("latency", "check"),
        ("profile", "sd15", "--by", "stage"),
        ("compare", "sd15", "snapfusion"),
        ("spaces", "show", "demo"),
    ],
    ids=" ".join,
)
def test_commands_say_modelled(table: Path, command: tuple[str, ...]) -> None:
    own = command[:2] in {("latency", "show"), ("latency", "check")}
    result = run_cli(*command, *([str(table)] if own else ["--table", str(table)]))
    assert result.returncode == 0, result.stderr
    assert "modelled" in result.stdout


def test_show_gives_the_error_band(table: Path) -> None:
    result = run_cli("latency", "show", str(table))
    assert result.stdout.startswith("phone: modelled, not measured")
    line = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["attention"])
    assert "x2" in line
    assert "not timed" in line


def test_json_says_modelled(table: Path) -> None:
    result = run_cli("latency", "predict", "sd15", "--table", str(table), "--json")
    data = json.loads(result.stdout)
    assert (data["provenance"], data["measured_share"]) == ("modelled", 0.0)
    assert data["low_ms"] < data["total_ms"] < data["high_ms"]


def test_studies_and_pages_say_modelled(table: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    run = run_cli("search", "run", "demo", "--study", str(study), "--table", str(table), "--trials", "4", "--seed", "1",
                  "--objective", "latency:phone", "--objective", "params")  # fmt: skip
    assert run.returncode == 0, run.stderr
    status = run_cli("search", "status", str(study))
    assert "phone: modelled, not measured, for Google Pixel 4" in status.stdout
    data = json.loads(run_cli("search", "status", str(study), "--json").stdout)
    assert data["tables"] == [{"name": "phone", "provenance": "modelled"}]
    report = run_cli("report", str(study), "-o", str(tmp_path / "report"))
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    assert "operators modelled, not measured" in page
    out = tmp_path / "sd15.html"
    assert run_cli("profile", "sd15", "--table", str(table), "-o", str(out)).returncode == 0
    assert "rows modelled, not measured" in out.read_text()
    out = tmp_path / "both.html"
    assert run_cli("compare", "sd15", "snapfusion", "--table", str(table), "-o", str(out)).returncode == 0
    assert 'class="badge modelled"' in out.read_text()
