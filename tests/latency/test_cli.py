"""The latency commands, as a user types them."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from archsearch.cli.latency import app
from archsearch.cost import Conditions, lower
from archsearch.errors import ArchsearchError, LatencyError
from tests.conftest import assert_one_line_error, run_cli
from tests.latency.tables import write_toy


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every second operator of SD 1.5, from a formula."""
    from archsearch.arch import load_preset

    preset = load_preset("sd15")
    ops = list(dict.fromkeys(located.op for located in lower(preset.architecture, Conditions()).ops()))
    return str(write_toy(tmp_path_factory.mktemp("tables") / "half", ops[::2], name="half"))


def call(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def data(*args: str) -> dict[str, object]:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_predict_prints_the_latency_object(table: str) -> None:
    found = data("predict", "sd15", "--table", table)
    assert found["schema"] == "archsearch.latency/1"
    assert found["provenance"] == "mixed"
    assert found["calibrated"] is False
    assert 0 < found["measured_share"] < 1
    assert found["low_ms"] < found["total_ms"] < found["high_ms"]
    assert found["conditions"] == {"latent": [64, 64], "text": 77, "batch": 1, "passes": 1}
    twice = data("predict", "sd15", "--table", table, "--passes", "2")
    assert twice["total_ms"] == 2 * found["total_ms"]


def test_predict_says_what_it_rests_on(table: str) -> None:
    text = call("predict", "sd15", "--table", table).stdout
    assert "measured on none" in text
    assert "of the time, the rest modelled)" in text
    assert "not calibrated" in text
    elsewhere = call("predict", "sd15", "--table", table, "--batch", "2").stdout
    assert "modelled, not measured" in elsewhere


def test_show_and_list(table: str) -> None:
    found = data("show", table)
    assert found["num_rows"] == len(found["rows"]) == 66
    assert found["provenance"] == "measured"
    assert {r["kind"] for r in data("show", table, "--kind", "conv2d")["rows"]} == {"conv2d"}
    assert "conv2d[" in call("show", table, "--rows").stdout
    assert "attention" in call("show", table).stdout
    shipped = data("list")["tables"]
    assert "host-xnnpack-fp32" in [each["name"] for each in shipped]


def test_check_exits_with_1_on_a_damaged_table(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "t", [])
    assert call("check", str(folder)).exit_code == 0
    (folder / "ops.csv").write_text("nonsense\n")
    result = call("check", str(folder))
    assert result.exit_code == 1
    assert "ops.csv:1: other columns" in result.stdout
    found = json.loads(call("check", str(folder), "--json").stdout)
    assert (found["ok"], found["rows"], len(found["findings"])) == (False, None, 1)


def test_check_passes_the_shipped_tables() -> None:
    found = data("check", "host-xnnpack-fp32")
    assert found["ok"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("show", "no-such-table"), "unknown latency table 'no-such-table'"),
        (("show", "/nowhere/at/all"), "no latency table here"),
        (("check", "no-such-table"), "unknown latency table"),
        (("show", "host-xnnpack-fp32", "--kind", "conv3d"), "no rows of this kind; got conv3d; allowed: add, "),
        (("predict", "sd51", "--table", "host-xnnpack-fp32"), "sd15"),
        (("plan", "arch:nothing-here"), "nothing-here"),
        (("measure", "demo", "--table", "x", "--device", "usb:0"), "got usb:0; allowed: host, adb:SERIAL, ssh:"),
        (("measure", "demo", "--table", "x", "--device", "adb:0;reboot"), "not a serial number of adb"),
        (("measure", "demo", "--table", "x", "--device", "adb:0"), "needs LiteRT's benchmark_model"),
        (("measure", "demo", "--table", "x", "--device", "ssh:-oProxyCommand=x@y"), "not a place to reach by ssh"),
        (("measure", "demo", "--table", "x", "--cpus", "4-"), "not a list of cores"),
        (("measure", "demo", "--table", "x", "--runtime", "tensorrt"), "allowed: litert, tflite-runtime"),
        (("measure", "demo", "--table", "x", "--delegate", "gpu"), "got gpu; allowed: xnnpack, none"),
        (("measure", "demo", "--table", "x", "--precision", "fp16"), "allowed: fp32, fp16-weights, int8"),
    ],
)
def test_errors_are_of_the_room(args: tuple[str, ...], message: str) -> None:
    result = call(*args)
    assert isinstance(result.exception, ArchsearchError), result.output
    assert message in str(result.exception)


def test_errors_are_one_line_and_exit_with_2(tmp_path: Path) -> None:
    line = assert_one_line_error(run_cli("latency", "show", "no-such-table"))
    assert "Available:" in line
    folder = write_toy(tmp_path / "t", [])
    (folder / "table.yaml").write_text("schema: archsearch.latency_table/9\nname: t\n")
    line = assert_one_line_error(run_cli("latency", "predict", "sd15", "--table", str(folder)))
    assert "table.yaml:1: schema: another schema version; got archsearch.latency_table/9" in line


def test_help_has_examples() -> None:
    for name in ("plan", "measure", "predict", "list", "show", "check"):
        result = call(name, "--help")
        assert result.exit_code == 0
        assert f"archsearch latency {name}" in result.stdout


def test_unknown_tables_suggest_near_names() -> None:
    from archsearch.latency.table import load_table

    with pytest.raises(LatencyError, match="Did you mean 'host-xnnpack-fp32'"):
        load_table("host-xnnpack-fp23")


def test_predicting_a_measured_space_needs_no_model() -> None:
    """Everything that a candidate of the demo space runs is in the shipped table."""
    from archsearch.latency import load_table, predict
    from archsearch.space import load_space

    space = load_space("demo")
    shipped = load_table("host-xnnpack-fp32")
    assert set(space.distinct_ops()) <= set(shipped.rows)
    found = predict(lower(space.decode(space.defaults()), space.conditions), shipped)
    assert (found.measured_share, found.provenance) == (1.0, "measured")
