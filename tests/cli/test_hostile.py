"""Hostile input through the command line: one line of error, exit code 2, no traceback, nothing written.

What the messages say in full is tested beside the code that makes them; here every command that reads something meets
everything that can be wrong with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.cli.main import main
from archsearch.resources import data_folder
from tests.cli.test_archs import Run
from tests.conftest import assert_one_line_error, run_cli
from tests.test_files import HOSTILE

TABLE = "host-xnnpack-fp32"
KEPT = "what an earlier run wrote\n"
# FILE stands for the input, OUT for a file that exists, DIR for a folder that does not.
READ_ARCH = {
    "profile": ["profile", "FILE", "-o", "OUT"],
    "compare": ["compare", "sd15", "FILE", "-o", "OUT"],
    "archs show": ["archs", "show", "FILE", "-o", "OUT"],
    "archs diff": ["archs", "diff", "FILE", "sd15", "-o", "OUT"],
    "latency predict": ["latency", "predict", "FILE", "--table", TABLE],
    "latency plan": ["latency", "plan", "FILE"],
}
READ_SPACE = {
    "spaces show": ["spaces", "show", "FILE", "-o", "OUT"],
    "spaces check": ["spaces", "check", "FILE"],
    "search run": ["search", "run", "FILE", "--study", "DIR", "--trials", "2"],
    "quality train": ["quality", "train", "FILE", "--out", "DIR", "--steps", "1"],
    "latency plan": ["latency", "plan", "FILE"],
}
READ_STUDY = {
    "search status": ["search", "status", "FILE"],
    "search front": ["search", "front", "FILE"],
    "search resume": ["search", "resume", "FILE"],
    "report": ["report", "FILE", "-o", "DIR"],
    "profile": ["profile", "FILE#3", "-o", "OUT"],
    "quality score": ["quality", "score", "FILE", "baseline"],
}
READ_TABLE = {
    "profile": ["profile", "sd15", "--table", "FILE", "-o", "OUT"],
    "compare": ["compare", "sd15", "sdxl", "--table", "FILE", "-o", "OUT"],
    "latency show": ["latency", "show", "FILE"],
    "latency predict": ["latency", "predict", "sd15", "--table", "FILE"],
    "spaces show": ["spaces", "show", "demo", "--table", "FILE", "-o", "OUT"],
    "search run": ["search", "run", "demo", "--study", "DIR", "--table", "FILE", "--trials", "2"],
}


class Refusals:
    """Commands that must fail in one line and leave a folder as it was."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run, self._folder = run, folder
        (folder / "out.txt").write_text(KEPT)

    def __call__(self, words: list[str], given: object = "FILE") -> str:
        """The line of error of a command, FILE, OUT and DIR filled in."""
        filled = {"OUT": str(self._folder / "out.txt"), "DIR": str(self._folder / "new")}
        return self._run.refused(*(filled.get(word, word.replace("FILE", str(given))) for word in words))

    def check(self) -> None:
        """Nothing was written."""
        assert (self._folder / "out.txt").read_text() == KEPT
        assert [path.name for path in self._folder.iterdir()] == ["out.txt"]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Refusals]:
    (tmp_path / "work").mkdir()
    refusals = Refusals(Run(monkeypatch, capsys), tmp_path / "work")
    yield refusals
    refusals.check()


def _cases(*tables: dict[str, list[str]]) -> list[object]:
    return [pytest.param(words, id=name) for table in tables for name, words in table.items()]


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Files that no command can use, each with words of the message about it."""
    folder = tmp_path_factory.mktemp("bad")
    found = []
    for name in ("syntax.yaml", "duplicate.yaml", "tag.yaml", "bomb.yaml", "list.yaml", "empty.yaml", "deep.json"):
        text, message = HOSTILE[name]
        (folder / name).write_text(text, encoding="utf-8")
        found.append((folder / name, message))
    (folder / "junk.yaml").write_bytes(bytes(range(256)) * 16)
    with (folder / "huge.yaml").open("wb") as stream:
        stream.write(b"a: 1\n# ")
        stream.truncate(50_000_000)
    (folder / "folder.yaml").mkdir()
    return [
        *found,
        (folder / "junk.yaml", ""),
        (folder / "huge.yaml", "file too large"),
        (folder / "folder.yaml", "folder"),
        (folder / "absent.yaml", "no such file"),
        (folder / ("x" * 5000), ""),
    ]


@pytest.mark.parametrize("words", _cases(READ_ARCH, READ_SPACE))
def test_files_that_are_no_input(refuse: Refusals, bad_files: list[tuple[Path, str]], words: list[str]) -> None:
    for path, message in bad_files:
        line = refuse(words, path)
        assert message in line, path
        assert path.name[:20] in line


@pytest.mark.parametrize("words", _cases(READ_STUDY, READ_TABLE))
def test_what_is_no_study_run_or_table(
    refuse: Refusals, bad_files: list[tuple[Path, str]], words: list[str], tmp_path: Path
) -> None:
    for path in (tmp_path / "work", tmp_path / "absent", bad_files[0][0]):
        assert str(path) in refuse(words, path)


@pytest.mark.parametrize("words", _cases(READ_ARCH))
def test_an_unknown_preset_names_the_nearest(refuse: Refusals, words: list[str]) -> None:
    assert "Did you mean 'sd15'" in refuse(words, "sd-15")


@pytest.mark.parametrize("words", _cases(READ_SPACE))
def test_an_unknown_space_names_the_nearest(refuse: Refusals, words: list[str]) -> None:
    assert "'snapfusoin'. Did you mean" in refuse(words, "snapfusoin")


CONFIG = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}
CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "an unknown block type": (
        {"down_block_types": ["DownBlock2D", "DownBlock2D", "MagicBlock", "DownBlock2D"]},
        "down_block_types[2]: unknown block type 'MagicBlock'",
    ),
    "norm groups that do not divide the channels": ({"norm_num_groups": 48}, "norm_groups must divide the channels"),
    "channels that norm groups do not divide": ({"block_out_channels": [320, 644, 1280, 1280]}, "norm_groups"),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("words", _cases(READ_ARCH))
def test_configs_outside_the_vocabulary(refuse: Refusals, tmp_path: Path, words: list[str], name: str) -> None:
    keys, message = CONFIGS[name]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG | keys))
    line = refuse(words, path)
    assert message in line
    assert str(path) in line


@pytest.mark.parametrize(
    "words",
    [
        ["profile", "sd15", "-o", "OUT"],
        ["compare", "sd15", "sdxl", "-o", "OUT"],
        ["archs", "show", "sd15", "-o", "OUT"],
        ["archs", "diff", "sd15", "sdxl", "-o", "OUT"],
        ["spaces", "show", "demo", "-o", "OUT"],
        ["latency", "predict", "sd15", "--table", TABLE],
    ],
    ids=" ".join,
)
def test_conditions_without_sense(refuse: Refusals, words: list[str]) -> None:
    assert "text length" in refuse([*words, "--text", "0"])
    assert "text length" in refuse([*words, "--text", "-3"])
    assert "latent" in refuse([*words, "--latent", "0x64"])
    assert "latent" in refuse([*words, "--latent", "64x64.5"])


def _damage(text: str, how: str) -> str:
    lines = text.splitlines(keepends=True)
    key, kind, latency = lines[1].split(",")[:3]
    row = lines[1].removeprefix(f"{key},{kind},{latency},")
    return {
        "an edited number": text.replace(latency, latency + "1", 1),
        "a duplicate row": text + lines[1],
        "no number": "".join([lines[0], f"{key},{kind},fast,{row}", *lines[2:]]),
        "not a number": "".join([lines[0], f"{key},{kind},nan,{row}", *lines[2:]]),
        "a negative time": "".join([lines[0], f"{key},{kind},-{latency},{row}", *lines[2:]]),
        "cut short": text[: len(text) // 2],
        "no header": "".join(lines[1:]),
        "binary junk": "\x00\x01\x02" * 100,
        "nothing": "",
    }[how]


DAMAGE = ["an edited number", "a duplicate row", "no number", "not a number", "a negative time", "cut short",
          "no header", "binary junk", "nothing"]  # fmt: skip


@pytest.mark.parametrize("words", _cases(READ_TABLE))
def test_a_corrupt_table(refuse: Refusals, tmp_path: Path, words: list[str]) -> None:
    import hashlib

    good = data_folder("latency_tables") / TABLE
    text = (good / "ops.csv").read_text()
    head = (good / "table.yaml").read_text()
    for sealed in (False, True):
        for number, how in enumerate(DAMAGE[1:] if sealed else DAMAGE):
            table = tmp_path / f"table-{sealed}-{number}"
            table.mkdir()
            damaged = _damage(text, how)
            (table / "ops.csv").write_text(damaged)
            digest = hashlib.sha256(damaged.encode()).hexdigest()
            (table / "table.yaml").write_text(
                re.sub(r"^sha256: .*$", f"sha256: {digest}", head, flags=re.MULTILINE) if sealed else head
            )
            assert "ops.csv" in refuse(words, table), how


SPACE = """\
schema: archsearch.space/1
name: tiny
conditions: {latent: [8, 8], text: 4}
decisions:
  width: {choices: [16, 32], default: 32}
  depth: {choices: [0, 1], default: 1}
rules:
  - forbid: {width: 16, depth: 0}
    because: it would be too small
unet: {conv_in_channels: 16, text_width: 8, norm_groups: 8, time: {input_width: 8, width: 16}}
templates:
  residual: {kind: residual, channels: $width}
  transformer:
    {kind: transformer, width: $width, depth: $depth, block: {first: {to: text, head_dim: 8}, feed_forward: {}}}
stages:
  - layers: [{down: [residual, {use: transformer, when: {depth: 1}}], up: [residual]}]
    outer: [residual]
"""
SPACES = {
    "an unknown decision": ("forbid: {width: 16,", "forbid: {widht: 16,", ":8: ", "Did you mean 'width'"),
    "an unknown choice": ("forbid: {width: 16,", "forbid: {width: 24,", ":8: ", "not a choice of width"),
    "a rule that contradicts the defaults": ("16, depth: 0", "32, depth: 1", ":8: ", "the defaults break this rule"),
    "rules that leave nothing": ("{width: 16, depth: 0}", "{width: [16, 32]}", ":8: ", "the defaults break this rule"),
    "no choice": ("choices: [16, 32], default: 32", "choices: []", ":5: ", "at least one choice"),
    "no decision": ("decisions:\n  width: {choices: [16, 32], default: 32}\n  depth: {choices: [0, 1], default: 1}",
                    "decisions: {}", ":4: ", "at least one decision"),
    "a default that is no choice": ("default: 32", "default: 24", ":5: ", "the default must be one of the choices"),
    "an undefined name": ("channels: $width", "channels: $wdith", ":12: ", "Did you mean 'width'"),
    "an unknown template": ("up: [residual]", "up: [resid]", ":16: ", "Did you mean 'residual'"),
    "channels that norm groups do not divide": ("norm_groups: 8", "norm_groups: 5", "", "norm_groups"),
    "a text length of zero": ("text: 4", "text: 0", ":3: ", "must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPACES)
def test_malformed_spaces(refuse: Refusals, tmp_path: Path, name: str) -> None:
    old, new, place, message = SPACES[name]
    assert old in SPACE
    path = tmp_path / "space.yaml"
    path.write_text(SPACE.replace(old, new))
    for words in READ_SPACE.values():
        line = refuse(words, path)
        assert f"space.yaml{place}" in line
        assert message in line


def test_the_space_that_was_damaged_is_sound(tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    code, out, _ = Run(monkeypatch, capsys)("spaces", "check", str(path))
    assert code == 0
    assert "3 candidates" in out


SEARCH = ["search", "run", "demo", "--study", "DIR", "--trials", "4"]


def test_a_misspelt_objective(refuse: Refusals) -> None:
    assert "Did you mean 'params'" in refuse([*SEARCH, "--objective", "parmas"])
    assert "Did you mean 'memory'" in refuse([*SEARCH, "--constraint", "memry <= 1MiB"])
    assert "latency:T" in refuse([*SEARCH, "--objective", "latency"])


def test_a_constraint_that_cannot_be_met_names_the_nearest_value(refuse: Refusals) -> None:
    from archsearch.space import load_space

    low = load_space("demo").ranges()["params"].low
    assert f"at least {low / 1e3:.3f} K" in refuse([*SEARCH, "--constraint", f"params <= {low - 1:.0f}"])
    line = refuse(
        [*SEARCH, "--constraint", "macs <= 50%", "--constraint", "params <= 1.5M", "--constraint", "macs <= 1%"]
    )
    assert "macs <= 1%" in line
    assert re.search(r"at least .*% of the baseline", line)


def test_a_folder_that_holds_something_else_is_left_alone(refuse: Refusals, tmp_path: Path) -> None:
    work = str(tmp_path / "work")  # holds out.txt
    assert "not empty" in refuse(["search", "run", "demo", "--study", work, "--trials", "2"])
    assert "neither empty nor a quality run" in refuse(["quality", "train", "demo", "--out", work, "--steps", "1"])
    assert "no demo wrote" in refuse(["demo", "-o", work])
    assert "no demo wrote" in refuse(["demo", "-o", work, "--fresh"])


@pytest.mark.parametrize(
    "words",
    [
        ["profile", "sd15"],
        ["profile", "sd15", "-f", "html"],
        ["compare", "sd15", "sdxl"],
        ["archs", "list"],
        ["archs", "show", "sd15"],
        ["archs", "diff", "sd15", "sdxl"],
        ["spaces", "show", "demo"],
        ["search", "run", "demo", "--trials", "1", "--study"],
        ["quality", "train", "demo", "--steps", "1", "--out"],
        ["demo", "-o"],
    ],
    ids=" ".join,
)
def test_places_that_cannot_be_written(refuse: Refusals, tmp_path: Path, words: list[str]) -> None:
    option = [] if words[-1].startswith("-") else ["-o"]
    for target in ("/proc/nowhere/x", str(tmp_path / "work" / "out.txt" / "x"), str(tmp_path / "work" / ("x" * 300))):
        assert target in refuse([*words, *option, target])


def test_an_output_that_is_a_folder(refuse: Refusals, tmp_path: Path) -> None:
    for command in (["profile", "sd15"], ["archs", "list"], ["spaces", "show", "demo"]):
        assert "cannot write" in refuse([*command, "-o", str(tmp_path / "work")])


def test_in_processes_of_their_own(tmp_path: Path, bad_files: list[tuple[Path, str]]) -> None:
    """The same from outside, once a kind of input: nothing but the line, whatever Python prints when it ends."""
    corrupt = tmp_path / "table"
    shutil.copytree(data_folder("latency_tables") / TABLE, corrupt)
    with (corrupt / "ops.csv").open("a") as stream:
        stream.write("conv2d,conv2d,1\n")
    bomb = next(str(path) for path, _ in bad_files if path.name == "bomb.yaml")
    for words, message in (
        (["profile", bomb], "too many values"),
        (["spaces", "check", bomb], "too many values"),
        (["profile", "sd15", "--table", str(corrupt)], "ops.csv"),
        (["quality", "score", str(tmp_path), "baseline"], "not a quality run"),
        (["search", "run", "demo", "--study", "s", "--constraint", "params <= 1"], "at least 336.515 K"),
        (["report", "nowhere"], "not a study"),
    ):
        assert message in assert_one_line_error(run_cli(*words, cwd=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


FUZZED = {
    "demo.yaml": ["spaces", "check", "FILE", "--samples", "2"],
    "presets/bk-sdm-tiny.yaml": ["profile", "FILE"],
    "presets/mobilediffusion.yaml": ["archs", "diff", "sd15", "FILE"],
}
PIECES = ["null", "true", "-1", "0", "1.5", "[]", "{}", "$nope", "9" * 20, "[1, 2]", "{a: 1}", ".nan", "16", "x", ":"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(FUZZED)), place=st.integers(0, 10**6), piece=st.sampled_from(PIECES))
def test_one_word_changed_is_sound_or_refused(tmp_path: Path, name: str, place: int, piece: str) -> None:
    text = (data_folder("search_spaces") / name).read_text()
    words = list(re.finditer(r"[\w.$-]+", text))
    word = words[place % len(words)]
    path = tmp_path / "file.yaml"
    path.write_text(text[: word.start()] + piece + text[word.end() :])
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["archsearch", *(str(path) if w == "FILE" else w for w in FUZZED[name])])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    if code == 0:
        assert out.getvalue()
        return
    assert code == 2, out.getvalue()
    assert err.getvalue().startswith(f"error: {path}")
    assert err.getvalue().count("\n") == 1
