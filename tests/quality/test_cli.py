from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archsearch.arch import to_json
from archsearch.cli.quality import app
from archsearch.errors import ArchsearchError, QualityError
from archsearch.space import Space
from tests.quality.spaces import TINY


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_train_then_score(tiny: Space, tmp_path: Path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    out = tmp_path / "run"
    text = invoke("train", tmp_path / "tiny.yaml", "--out", out, "--steps", 2, "--batch", 2)
    assert text.startswith("tiny-seed0-2steps: 2 steps")
    data = json.loads(invoke("train", tmp_path / "tiny.yaml", "--out", out, "--steps", 3, "--batch", 2, "--json"))
    assert data["schema"] == "archsearch.quality-train/1"
    assert (data["steps"], data["name"]) == (3, "tiny-seed0-3steps")
    assert {"path": "conv_in", "updates": 3, "full_width": 3} in data["updates"]

    (tmp_path / "one.json").write_text(to_json(tiny.decode(tiny.encoding({"bottom": 8}))))
    data = json.loads(invoke("score", out, "baseline", tmp_path / "one.json", "--json"))
    assert data["schema"] == "archsearch.quality-score/1"
    first, second = data["rows"]
    assert first["difference"] == first["difference_standard_error"] == 0
    assert second["difference"] == pytest.approx(second["loss"] - first["loss"])
    assert first["standard_error"] > 0
    lines = invoke("score", out, "baseline", "largest", "smallest").splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["baseline", "largest", "smallest"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "nothing", "--out", "x", "--steps", "1"),
        ("train", "demo", "--out", "x", "--steps", "0"),
        ("train", "demo", "--out", "x", "--seconds", "nan"),
        ("train", "demo", "--out", "x", "--steps", "1", "--batch", "-3"),
        ("score", "nowhere", "baseline"),
        ("score", "/dev/null", "baseline"),
    ],
)
def test_wrong_use_is_a_clear_error(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArchsearchError):
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


def test_unknown_candidates_are_a_clear_error(trained: Path):
    with pytest.raises(ArchsearchError):
        CliRunner().invoke(app, ["score", str(trained), "baselin"], catch_exceptions=False)
    with pytest.raises(QualityError):
        CliRunner().invoke(app, ["score", str(trained), "sd15"], catch_exceptions=False)


def test_help_shows_examples():
    for command in ("train", "score"):
        assert f"archsearch quality {command}" in CliRunner().invoke(app, [command, "--help"]).stdout
