"""README and guides: every command line in them is one that archsearch accepts, every space in them is sound."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from archsearch.cli.main import app
from tests.cli.test_archs import Run
from tests.conftest import ROOT

# Typer brings its own click, which has no public name for this class.
USAGE_ERROR: Any = next(parent for parent in typer.BadParameter.__mro__ if parent.__name__ == "UsageError")
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _commands(path: Path) -> list[str]:
    """Command lines: in blocks, at the start of a line; in running text, between backticks."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
    found = [line.removeprefix("$ ") for line in lines if line.startswith(("$ archsearch ", "archsearch "))]
    found += re.findall(r"`(archsearch [^`]+)`", BLOCK.sub("", text))
    return [re.split(r"\s{3,}|\s#\s", line.strip())[0].strip() for line in found]


COMMANDS = [(path.name, line) for path in GUIDES for line in dict.fromkeys(_commands(path))]


def test_the_guides_have_commands() -> None:
    assert len(COMMANDS) >= 40
    assert {name for name, _ in COMMANDS} >= {"README.md", "spaces.md", "quality.md", "search.md", "latency.md"}


@pytest.mark.parametrize(("guide", "line"), COMMANDS, ids=lambda value: value)
def test_commands_exist_with_these_options(guide: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: Any = get_command(app)
    context = typer.Context(command, info_name="archsearch")
    while hasattr(command, "get_command") and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"{guide}: {line}: no command {words[0]!r}"
        command, words = found, words[1:]
    if hasattr(command, "get_command") or not words:
        return  # a command that is named, not used
    try:
        command.make_context(line, list(words))
    except USAGE_ERROR as problem:
        if type(problem).__name__ != "MissingParameter":  # "`archsearch search run SPACE`" is short for the rest
            pytest.fail(f"{guide}: {line}: {problem.format_message()}")


@pytest.mark.parametrize("line", ["archsearch qualty train demo", "archsearch search run demo --trails 3",
                                  "archsearch profile sd15 --by layer"])  # fmt: skip
def test_a_wrong_command_would_be_found(line: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_commands_exist_with_these_options("a guide", line)


def test_links_lead_to_files() -> None:
    for path in GUIDES:
        text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", path.read_text(encoding="utf-8")))
        for target in re.findall(r"(?<!!)\[[^\]]+\]\(([^)#]+)\)", text):
            assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_spaces_in_guides_are_sound(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = [block for language, block in BLOCK.findall(guide.read_text(encoding="utf-8")) if language == "yaml"]
    spaces = [block for block in blocks if block.startswith("schema: archsearch.space/")]
    assert spaces or guide.name != "spaces.md"
    for block in spaces:
        path = tmp_path / "my_space.yaml"
        path.write_text(block)
        code, out, err = Run(monkeypatch, capsys)("spaces", "check", str(path))
        assert (code, err) == (0, "")
        assert out.strip().splitlines()[-1].endswith("sampled: sound")
        told = "\n".join(out.replace(f"{tmp_path}/", "").splitlines())
        assert told in guide.read_text(encoding="utf-8")


def test_the_table_of_spaces_is_what_the_spaces_say() -> None:
    from archsearch.cli.spaces_show import members
    from archsearch.space import load_space, space_names

    text = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
    rows = {cells[0].strip("` "): cells for cells in (line.strip("| ").split(" | ") for line in text.splitlines()
                                                     if line.startswith("| `"))}  # fmt: skip
    for name in space_names():
        space = load_space(name)
        _, candidates, operators, _, presets = rows[name]
        assert candidates == f"{space.size():,}"
        assert operators == str(len(space.distinct_ops()))
        assert set(presets.split(", ")) == set(members(space) or ("none",))
