"""The demo, end to end on tiny budgets: real measuring, training, search and page."""

import json
from pathlib import Path

import pytest

from tests.conftest import assert_one_line_error, require, run_cli

require("litert", "ai_edge_litert", "litert_torch")

ARGS = ("--train-seconds", "3", "--trials", "6")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("demo") / "out"
    result = run_cli("demo", "-o", str(target), *ARGS, timeout=900)
    assert result.returncode == 0, result.stderr
    assert str(target / "index.html") in result.stdout
    assert "What was found (6 trials" in result.stdout
    assert "What it means" in result.stdout
    return target


def test_page_and_front_hold_the_same_study(folder: Path) -> None:
    front = json.loads(run_cli("search", "front", str(folder / "demo"), "--json").stdout)
    assert front["schema"] == "archsearch.front/1"
    assert front["objectives"] == ["params", "latency:this-host", "quality"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    for trial in front["trials"]:
        assert trial["arch_id"] in page


def test_every_operator_was_measured(folder: Path) -> None:
    result = run_cli("latency", "show", str(folder / "this-host"), "--json")
    assert result.returncode == 0, result.stderr
    trial = run_cli("profile", f"{folder / 'demo'}#0", "--table", str(folder / "this-host"), "--json")
    profile = json.loads(trial.stdout)
    assert profile["latency"]["this-host"]["measured_share"] == 1
    assert profile["conditions"]["latent"] == [32, 32]
    assert profile["conditions"]["text"] == 16


def test_the_same_command_continues_and_repeats_nothing(folder: Path) -> None:
    before = (folder / "demo" / "trials.jsonl").read_bytes()
    rows = (folder / "this-host" / "ops.csv").read_bytes()
    result = run_cli("demo", "-o", str(folder), *ARGS, timeout=600)
    assert result.returncode == 0, result.stderr
    assert (folder / "demo" / "trials.jsonl").read_bytes() == before
    assert (folder / "this-host" / "ops.csv").read_bytes() == rows


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for extra in ((), ("--fresh",)):
        line = assert_one_line_error(run_cli("demo", "-o", str(tmp_path), *extra))
        assert "no demo wrote" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
