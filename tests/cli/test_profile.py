"""``profile`` and ``compare`` as a user runs them."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.conftest import assert_one_line_error, run_cli

TABLE = "host-xnnpack-fp32"


@pytest.fixture(scope="module")
def profiles() -> dict[str, dict]:
    out = {}
    for by in ("stage", "block", "op"):
        result = run_cli("profile", "sd15", "--table", TABLE, "--by", by, "--passes", "2", "--json")
        assert result.returncode == 0, result.stderr
        out[by] = json.loads(result.stdout)
    return out


def test_sd15_is_exact() -> None:
    result = run_cli("profile", "sd15", "--json")
    totals = json.loads(result.stdout)["totals"]
    assert totals["params"] == 859_520_964
    assert totals["macs"] == 401_636_720_640
    assert totals["macs_without_attention"] == 338_610_585_600
    assert totals["weight_bytes"] == 4 * 859_520_964


@pytest.mark.parametrize("by", ["stage", "block", "op"])
def test_rows_add_up_at_every_grain(profiles: dict[str, dict], by: str) -> None:
    profile = profiles[by]
    assert profile["conditions"]["passes"] == 2
    rows = profile["rows"]
    assert sum(r["params"] for r in rows) == profile["totals"]["params"] == 859_520_964
    assert sum(r["macs"] for r in rows) == profile["totals"]["macs"] == 2 * 401_636_720_640
    assert sum(r["latency_ms"][TABLE] for r in rows) == profile["latency"][TABLE]["total_ms"]
    latency = profile["latency"][TABLE]
    assert latency["low_ms"] <= latency["total_ms"] <= latency["high_ms"]
    assert 0 <= latency["measured_share"] <= 1
    assert latency["provenance"] in {"measured", "modelled", "mixed"}


def test_grains_agree(profiles: dict[str, dict]) -> None:
    totals = {json.dumps(p["totals"], sort_keys=True) for p in profiles.values()}
    latencies = {json.dumps(p["latency"], sort_keys=True) for p in profiles.values()}
    assert len(totals) == len(latencies) == 1


def test_printed_columns_add_up_to_the_printed_total() -> None:
    result = run_cli("profile", "sd15", "--by", "block", "-f", "markdown", "--table", TABLE)
    lines = [line.strip("| \n").split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")]
    header, body, total = lines[0], lines[2:-1], lines[-1]
    for i, name in enumerate(header):
        if name.split()[0] in {"params", "MACs", "without", "ms"}:
            printed = sum(round(float(row[i]) * 1000) for row in body)
            assert printed == round(float(total[i].strip("*")) * 1000), name


def test_csv_is_unrounded(tmp_path: Path) -> None:
    target = tmp_path / "sd15.csv"
    result = run_cli("profile", "sd15", "--by", "op", "-o", str(target))
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert sum(int(row["params"]) for row in rows) == 859_520_964


@pytest.mark.parametrize("view", ["figure2", "roofline", "top"])
def test_views(view: str) -> None:
    result = run_cli("profile", "bk-sdm-tiny", "--view", view, "--table", TABLE)
    assert result.returncode == 0, result.stderr
    assert "parameters  323,384,964" in result.stdout
    assert ("attention" in result.stdout) if view == "figure2" else ("conv2d[" in result.stdout)


def test_compare_states_ratios() -> None:
    result = run_cli("compare", "sd15", "bk-sdm-tiny", "--json")
    data = json.loads(result.stdout)
    assert data["ratios"][0]["params"] == 1
    assert data["ratios"][1]["params"] == 323_384_964 / 859_520_964
    text = run_cli("compare", "sd15", "bk-sdm-tiny", "--by", "stage").stdout
    assert "323.385 M (0.38x)" in text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["profile", "sd16"], ["sd16", "Did you mean", "sd15"]),
        (["profile", "sd15", "--text", "0"], ["text", "0"]),
        (["profile", "sd15", "--latent", "64"], ["--latent", "HEIGHTxWIDTH"]),
        (["profile", "sd15", "--latent", "0x64"], ["latent height"]),
        (["profile", "sd15", "--latent", "³x4"], ["--latent"]),
        (["profile", "sd15", "--passes", "3"], ["--passes", "1, 2"]),
        (["profile", "sd15", "--precision", "fp8"], ["precision", "fp16"]),
        (["profile", "sd15", "--table", "nowhere"], ["nowhere"]),
        (["profile", "nowhere/config.json"], ["nowhere/config.json"]),
        (["profile", "nostudy#3"], ["nostudy"]),
        (["profile", "clip-vit-l14", "--text", "78"], ["77"]),
        (["compare", "sd15"], ["two or more"]),
        (["profile", "sd15", "-o", "/proc/nowhere/x.json"], ["cannot write"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_use_is_one_line(argv: list[str], words: list[str]) -> None:
    line = assert_one_line_error(run_cli(*argv))
    for word in words:
        assert word in line


def test_trials_are_compared_under_the_conditions_of_their_search(tmp_path: Path) -> None:
    study = str(tmp_path / "s")
    assert run_cli("search", "run", "demo", "--study", study, "--trials", "2", "--objective", "macs").returncode == 0
    text = run_cli("compare", f"{study}#0", f"{study}#1").stdout
    assert text.startswith("latent 32x32, text 16 tokens")
    assert "latent 32x32, 16 tokens" in run_cli("archs", "diff", f"{study}#0", f"{study}#1").stdout
    profile = json.loads(run_cli("profile", f"{study}#1", "--json").stdout)
    compared = json.loads(run_cli("compare", f"{study}#0", f"{study}#1", "--json").stdout)
    assert compared["profiles"][1]["totals"] == profile["totals"]
