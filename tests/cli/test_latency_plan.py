"""``archsearch latency plan``, as a user types it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from archsearch.cli.latency import app
from archsearch.cli.latency_plan import share_text
from archsearch.cost import Conditions, lower
from archsearch.errors import ArchsearchError
from tests.latency.tables import write_toy


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every second operator of SD 1.5, from a formula."""
    from archsearch.arch import load_preset

    preset = load_preset("sd15")
    ops = list(dict.fromkeys(located.op for located in lower(preset.architecture, Conditions()).ops()))
    return str(write_toy(tmp_path_factory.mktemp("tables") / "half", ops[::2], name="half"))


def call(*args: str) -> Result:
    return CliRunner().invoke(app, ["plan", *args])


def data(*args: str) -> dict[str, Any]:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_held_and_missing(table: str) -> None:
    found = data("sd15", "--table", table)
    assert found["schema"] == "archsearch.latency_plan/1"
    assert found["distinct"] == len(found["ops"]) == 131
    assert found["held"] == sum(op["held"] for op in found["ops"]) == 66
    assert found["distinct_blocks"] == len(found["blocks"]) > 0
    assert found["held_blocks"] == 0
    assert found["measure_seconds"] > 0
    assert found["sources"] == [{"name": "sd15", "candidates": 1}]
    assert {op["users"]["sd15"] for op in found["ops"]} == {1}
    text = call("sd15", "--table", table).stdout
    assert "1 architecture, 131 operators and" in text
    assert "65 operators and" in text
    assert " to measure: about" in text


def test_grains() -> None:
    both, ops, blocks = data("demo"), data("demo", "--grain", "op"), data("demo", "--grain", "block")
    assert both["distinct"] == data("space:demo")["distinct"] == len(ops["ops"]) <= 120
    assert (both["ops"], both["blocks"]) == (ops["ops"], blocks["blocks"])
    assert (ops["blocks"], blocks["ops"]) == ([], [])
    assert blocks["measure_seconds"] + ops["measure_seconds"] == pytest.approx(both["measure_seconds"], abs=0.11)


def test_counts_of_users_are_exact() -> None:
    """SnapFusion's space has 23 * 3^35 candidates: more than a float holds exactly."""
    found = data("snapfusion")
    size = found["sources"][0]["candidates"]
    assert size == 23 * 3**35
    users = [op["users"]["snapfusion"] for op in found["ops"]]
    assert users == sorted(users, reverse=True)
    assert users[0] == size
    assert users[-1] < size
    assert all(isinstance(n, int) and 0 < n <= size for n in users)
    assert size != int(float(size))


def test_every_operator_with_its_share(table: str) -> None:
    text = call("demo", "sd15", "--ops", "--table", table).stdout
    assert "run in demo" in text
    assert "run in sd15" in text
    assert "33.3 %" in text
    found = data("demo", "sd15", "--table", table)
    for op in found["ops"] + found["blocks"]:
        assert op["key"] in text
    assert all(len(op["users"]) == 1 for op in found["ops"])
    both = data("snapfusion", "sd15")["ops"]
    assert any(set(op["users"]) == {"snapfusion", "sd15"} for op in both)
    assert data("demo", "demo")["sources"] == data("demo")["sources"]


def test_conditions() -> None:
    small = data("sd15", "--latent", "32x32", "--text", "16", "--grain", "op")
    assert any("1x320x32x32" in op["key"] for op in small["ops"])
    assert not any("x64x64" in op["key"] for op in small["ops"])
    assert any("1x16x768" in op["key"] for op in small["ops"])
    space = data("demo", "--latent", "16x16", "--grain", "op")
    assert any("x16x16" in op["key"] for op in space["ops"])
    assert not any("x32x32" in op["key"] for op in space["ops"])


@pytest.mark.parametrize(
    ("users", "candidates", "text"),
    [(0, 9, "-"), (9, 9, "100 %"), (10**30 - 1, 10**30, "> 99.9 %"), (1, 10**30, "< 0.01 %"), (1, 3, "33.3 %"),
     (1, 1, "100 %"), (999, 1000, "99.9 %"), (1, 10_000, "0.01 %")],
)  # fmt: skip
def test_shares_round_to_no_lie(users: int, candidates: int, text: str) -> None:
    assert share_text(users, candidates) == text


@pytest.fixture
def held(tmp_path: Path) -> str:
    from archsearch.arch import load_preset

    ops = {located.op for located in lower(load_preset("sd15").architecture, Conditions()).ops()}
    return str(write_toy(tmp_path / "all", ops, name="all"))


def test_nothing_left_to_measure(held: str) -> None:
    text = call("sd15", "--grain", "op", "--table", held).stdout
    assert "all holds all of them." in text
    assert "to measure" not in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nothing-here",), "nothing-here"),
        (("demo", "--table", "no-such-table"), "unknown latency table"),
        (("demo", "--latent", "0x16"), "latent"),
        (("demo", "--latent", "many"), "not a latent size"),
        (("demo", "--text", "0"), "text length"),
    ],
)
def test_errors_are_of_the_room(args: tuple[str, ...], message: str) -> None:
    result = call(*args)
    assert isinstance(result.exception, ArchsearchError), result.output
    assert message in str(result.exception)
