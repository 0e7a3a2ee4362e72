"""``archs list | show | diff`` as a user runs them, and every kind of malformed ARCH."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from archsearch.arch import from_dict, from_diffusers, load_preset, preset_names
from archsearch.cli.main import main
from tests.conftest import assert_one_line_error, run_cli
from tests.test_files import HOSTILE


class Run:
    """``archsearch`` in this process: exit code, output, messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *args: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["archsearch", *args])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        out, err = self._capsys.readouterr()
        return code, out, err

    def refused(self, *args: str) -> str:
        """The one line of a wrong use."""
        code, out, err = self(*args)
        assert (code, out) == (2, ""), (code, out, err)
        assert err.count("\n") == 1
        assert err.startswith("error: ")
        assert "Traceback" not in err
        return err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


def test_list_shows_every_preset_with_the_standing_of_its_figures(run: Run) -> None:
    code, out, _ = run("archs", "list")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.split() and line.split()[0] in preset_names()}
    assert set(rows) == set(preset_names())
    assert "859.52" in rows["sd15"]
    assert "seen" in rows["sd15"]
    assert "approximate" in rows["mobilediffusion"]
    assert "recalled" in rows["mobilediffusion"]


def test_list_json(run: Run) -> None:
    code, out, _ = run("archs", "list", "--json")
    assert code == 0
    data = json.loads(out)
    assert data["schema"] == "archsearch.archs.list/1"
    entries = {entry["name"]: entry for entry in data["archs"]}
    assert set(entries) == set(preset_names())
    sd15 = entries["sd15"]
    assert sd15["totals"]["params"] == 859_520_964
    figure = next(f for f in sd15["published"] if f["quantity"] == "params")
    assert figure["difference"] == 0
    assert figure["status"] == "seen"
    recalled = [f for f in entries["mobilediffusion"]["published"] if f["status"] == "recalled"]
    assert [f["quantity"] for f in recalled] == ["macs"]
    assert recalled[0]["difference"] == pytest.approx(entries["mobilediffusion"]["totals"]["macs"] / 182e9 - 1)


@pytest.mark.parametrize("name", ["sd15", "sd-decoder", "clip-vit-l14", "mobilediffusion"])
def test_show(run: Run, name: str) -> None:
    code, out, _ = run("archs", "show", name)
    assert code == 0
    preset = load_preset(name)
    assert out.startswith(preset.title)
    assert "parameters" in out
    assert preset.notes.split()[0] in out


def test_show_json_can_be_given_back(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    code, out, err = run("archs", "show", "bk-sdm-tiny", "--json", "-o", str(path))
    assert (code, out, err) == (0, "", f"wrote {path}\n")
    data = json.loads(path.read_text())
    assert data["schema"] == "archsearch.archs.show/1"
    assert from_dict(data["arch"]) == load_preset("bk-sdm-tiny").architecture
    code, out, _ = run("archs", "show", str(path), "--json")
    assert code == 0
    assert json.loads(out)["arch_id"] == data["arch_id"]


def test_show_diffusers(run: Run) -> None:
    code, out, _ = run("archs", "show", "ssd-1b", "--diffusers")
    assert code == 0
    assert from_diffusers(json.loads(out)) == load_preset("ssd-1b").architecture
    assert "GEGLU" in run.refused("archs", "show", "mobilediffusion", "--diffusers")
    assert "only UNets" in run.refused("archs", "show", "sd-decoder", "--diffusers")


def test_diff_in_words_and_in_a_table(run: Run) -> None:
    code, out, _ = run("archs", "diff", "sd15", "bk-sdm-tiny")
    assert code == 0
    assert "  down 1: second layer removed (residual + transformer)\n" in out
    assert "  middle: removed (residual + transformer + residual)\n" in out
    lines = out.splitlines()
    table = [line for line in lines if line.startswith(" removed")]
    assert len(table) == 8
    for column in (-2, -1):
        printed = sum(round(1000 * float(line.split()[column])) for line in table)
        total = next(line for line in lines if line.split()[:1] == ["total"])
        assert printed == round(1000 * float(total.split()[column]))
    assert any(line.split()[:4] == ["parameters", "859,520,964", "->", "323,384,964"] for line in lines)


def test_diff_json_adds_up(run: Run) -> None:
    code, out, _ = run("archs", "diff", "sd15", "snapfusion", "--json", "--latent", "32x48")
    assert code == 0
    data = json.loads(out)
    assert data["schema"] == "archsearch.archs.diff/1"
    assert data["conditions"]["latent"] == [32, 48]
    for name in ("params", "macs"):
        assert sum(change[name] for change in data["changes"]) == data[name]
        assert data["b"]["totals"][name] - data["a"]["totals"][name] == data[name]
    assert {change["action"] for change in data["changes"]} == {"removed", "added", "changed"}


def test_diff_of_a_network_with_itself(run: Run) -> None:
    code, out, _ = run("archs", "diff", "sd15", "sd15")
    assert code == 0
    assert "the same network" in out


def test_two_kinds(run: Run) -> None:
    assert "only networks of one kind" in run.refused("archs", "diff", "sd15", "sd-decoder")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(run: Run, tmp_path: Path, name: str) -> None:
    text, expected = HOSTILE[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert expected in run.refused("archs", "show", str(path))


CONFIG = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}
MALFORMED: dict[str, tuple[object, str]] = {
    "an unknown block type": (
        {**CONFIG, "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["MagicBlock"]},
        "config.json:8: down_block_types[3]: unknown block type 'MagicBlock'. Available: CrossAttnDownBlock2D, Down",
    ),
    "channels that the norm groups do not divide": (
        {**CONFIG, "block_out_channels": [320, 650, 1280, 1280]},
        "norm_groups must divide the channels",
    ),
    "an unknown class": ({"_class_name": "FluxTransformer2DModel"}, "_class_name: class not covered"),
    "an unknown key": ({**CONFIG, "quantum": 1}, "quantum: unknown key 'quantum'"),
    "no architecture": ({"a": 1}, "not an architecture; got keys a"),
    "no mapping": ([1, 2], "the top level must be a mapping"),
    "a boolean width": ({**CONFIG, "in_channels": True}, "in_channels: must be an integer; got True"),
    "another schema": ({"schema": "archsearch.architecture/9", "kind": "unet"}, "schema: another schema"),
    "a value without stages": ({"kind": "unet", "conv_in_channels": 32, "time": {"input_width": 32, "width": 64}},
                               "stages: a key is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_architectures(run: Run, tmp_path: Path, name: str) -> None:
    content, expected = MALFORMED[name]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content, indent=1))
    message = run.refused("archs", "show", str(path))
    assert expected in message
    assert str(path) in message


@pytest.mark.parametrize("ref", ["sd-1.5", "nowhere.yaml", "", "no/such/folder", "sd15#", "sd15#x"])
def test_unknown_names(run: Run, ref: str) -> None:
    run.refused("archs", "show", ref)


@pytest.mark.parametrize("latent", ["0x64", "64", "64x", "x", "-1x64", "64x64x64", "9999999999999999999999x1", "axb"])
def test_malformed_latents(run: Run, latent: str) -> None:
    run.refused("archs", "show", "sd15", f"--latent={latent}")


def test_a_text_length_of_zero(run: Run) -> None:
    assert "text length" in run.refused("archs", "show", "sd15", "--text", "0")
    assert "text longer than" in run.refused("archs", "show", "clip-vit-l14", "--text", "78")


def test_output_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in run.refused("archs", "show", "sd15", "-o", str(tmp_path / "file" / "x.txt"))


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text(HOSTILE["bomb.yaml"][0])
    assert "too many values" in assert_one_line_error(run_cli("archs", "show", str(bomb)))
    assert "Did you mean 'sdxl'" in assert_one_line_error(run_cli("archs", "diff", "sd15", "sdlx"))
    result = run_cli("archs", "show", "sd15", cwd=tmp_path)
    assert result.returncode == 0
    assert "R+T R+T v" in result.stdout


@pytest.mark.parametrize("command", ["list", "show", "diff"])
def test_help_has_examples(run: Run, command: str) -> None:
    code, out, _ = run("archs", command, "--help")
    assert code == 0
    assert f"archsearch archs {command}" in out
