"""``archsearch spaces``: list, show, check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archsearch.cost import count
from archsearch.latency.table import table_names
from archsearch.space import load_space
from tests.conftest import assert_one_line_error, run_cli
from tests.space.test_errors import GOOD


def test_list_names_the_shipped_spaces() -> None:
    result = run_cli("spaces", "list", "--json")
    assert result.returncode == 0, result.stderr
    listed = json.loads(result.stdout)
    assert listed["schema"] == "archsearch.spaces.list/1"
    sizes = {entry["name"]: entry["candidates"] for entry in listed["spaces"]}
    assert set(sizes) == {"demo", "mobilediffusion", "snapfusion"}
    assert sizes["demo"] == load_space("demo").size()
    assert sizes["snapfusion"] == 3**35 * 23


def test_show_as_json() -> None:
    result = run_cli("spaces", "show", "demo", "--json", "--samples", "500")
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    space = load_space("demo")
    assert shown["schema"] == "archsearch.spaces.show/1"
    assert shown["candidates"] == space.size()
    assert shown["distinct_operators"] == len(space.distinct_ops())
    assert [d["name"] for d in shown["decisions"]] == [d.name for d in space.decisions]
    assert shown["rules"][0]["because"].startswith("without any transformer")
    exact = count(space.decode(space.defaults()), space.conditions)
    assert shown["costs"]["params"]["baseline"] == exact.params
    for name, extent in space.ranges().items():
        cost = shown["costs"][name]
        assert (cost["min"], cost["max"]) == (extent.low, extent.high)
        assert cost["min"] <= cost["median"] <= cost["max"]
        assert cost["median_samples"] == 500


def test_show_for_people_tells_what_is_exact() -> None:
    result = run_cli("spaces", "show", "snapfusion")
    assert result.returncode == 0, result.stderr
    assert "1,150,725,537,276,993,261 candidates" in result.stdout
    assert "Presets in it: sd15, snapfusion." in result.stdout
    assert "Costs (exact; the median of 10,000 uniform draws, seed 0)" in result.stdout
    assert "859.521 M" in result.stdout


def test_conditions_and_tables_of_show(tmp_path: Path) -> None:
    tables = table_names()
    if not tables:
        pytest.skip("no latency table ships yet")
    output = tmp_path / "demo.json"
    result = run_cli("spaces", "show", "demo", "--table", tables[0], "--passes", "2", "-o", str(output))
    assert result.returncode == 0, result.stderr
    shown = json.loads(output.read_text())
    assert shown["conditions"]["passes"] == 2
    latency = shown["costs"][f"latency:{tables[0]}"]
    assert 0 < latency["min"] <= latency["median"] <= latency["baseline"] <= latency["max"]
    assert shown["operators_in_tables"][tables[0]] <= shown["distinct_operators"]


def test_check_of_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("  depth: {range", "  idle: {choices: [1, 2]}\n  depth: {range"))
    result = run_cli("spaces", "check", str(path), "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == "archsearch.spaces.check/1"
    assert report["candidates"] == 5
    assert report["sound"] is True
    assert report["without_effect"] == ["idle: 2"]


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("latent: [8, 8]", "latent: [8, -8]", "bad.yaml:3: conditions.latent[1]: must be a whole number; got -8"),
        ("name: good", "name: good\nname: good", "bad.yaml:3: duplicate key; got name"),
        ("name: good", "name: !!python/name:os.system x", "bad.yaml:2: tags are not allowed"),
    ],
)
def test_check_of_a_malformed_file(tmp_path: Path, old: str, new: str, part: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace(old, new))
    assert part in assert_one_line_error(run_cli("spaces", "check", str(path)))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("spaces", "show", "dmo"), "unknown search space 'dmo'. Did you mean 'demo'?"),
        (("spaces", "check", "no/such/file.yaml"), "no such file"),
        (("spaces", "show", "demo", "--text", "0"), "text length: must be positive"),
        (("spaces", "show", "demo", "--table", "nope"), "unknown latency table"),
    ],
)
def test_wrong_uses(arguments: tuple[str, ...], part: str) -> None:
    assert part in assert_one_line_error(run_cli(*arguments))
