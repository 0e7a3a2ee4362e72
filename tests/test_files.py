"""Hostile and honest files: one line of error naming file and line, or plain data that knows its lines."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.errors import ArchError
from archsearch.files import MAX_BYTES, format_key_path, load_yaml, parse_key_path
from archsearch.resources import data_folder

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
HOSTILE = {
    "syntax.yaml": ("a: [1,\nb: }", ":2: not valid YAML"),
    "tab.yaml": ("a:\n\tb: 1", ":2: not valid YAML"),
    "duplicate.yaml": ("a: 1\nb: 2\na: 3", ":3: duplicate key; got a"),
    "duplicate-deep.yaml": ("a:\n  b: 1\n  b: 2", ":3: duplicate key; got b"),
    "tag.yaml": ("a: !!python/object/apply:os.system ['true']", ":1: tags are not allowed"),
    "local-tag.yaml": ("x: 1\na: !thing 1", ":2: tags are not allowed; got !thing"),
    "bomb.yaml": (BOMB, "too many values once aliases are unfolded"),
    "recursive.yaml": ("a: &a [*a]", ":1: an alias must follow its anchor"),
    "merge.yaml": ("a: &a {b: 1}\nc:\n  <<: *a", ":3: merge keys are not allowed"),
    "list.yaml": ("- 1\n- 2", "the top level must be a mapping of keys to values; got a list"),
    "scalar.yaml": ("just words", "the top level must be a mapping of keys to values; got a string"),
    "empty.yaml": ("", "the top level must be a mapping of keys to values; got nothing"),
    "comment.yaml": ("# nothing here\n", "the top level must be a mapping"),
    "deep.yaml": ("a: " + "[" * 200, ":1: nested too deeply"),
    "two.yaml": ("a: 1\n---\nb: 2", ":2: one document a file"),
    "key.yaml": ("? {a: 1}\n: 2", ":1: a key must be a plain string"),
    "null.yaml": ("a: \x00", "not valid YAML"),
    "huge.yaml": ("a: " + "x" * MAX_BYTES, "file too large"),
    "surrogate.yaml": ('a: "\\ud800"', ":1: half of a surrogate pair"),
    "surrogate.json": ('{"a": "\\ud800"}', "half of a surrogate pair"),
    "syntax.json": ('{"a":\n', ":2: not valid JSON"),
    "duplicate.json": ('{"a": 1, "a": 2}', "duplicate key; got a"),
    "nan.json": ('{"a": NaN}', "not a JSON value; got NaN"),
    "deep.json": ('{"a": ' + "[" * 100_000, "nested too deeply"),
    "digits.json": ('{"a": ' + "9" * 5000 + "}", "not a usable JSON value"),
    "list.json": ("[1]", "the top level must be a mapping of keys to values; got a list"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, expected = HOSTILE[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArchError) as caught:
        load_yaml(path, ArchError)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert expected in message
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9")
    with pytest.raises(ArchError, match=r":2: not UTF-8 text; got byte 0xe9"):
        load_yaml(path, ArchError)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ArchError, match="cannot be read"):
        load_yaml(tmp_path, ArchError)
    with pytest.raises(ArchError, match="No such file"):
        load_yaml(tmp_path / "none.yaml", ArchError)
    with pytest.raises(ArchError, match="not a usable path"):
        load_yaml(Path("a\0b.yaml"), ArchError)


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "scalars.yaml"
    path.write_text(
        "integers: [1, -2, +3, 012]\nfloats: [1.5, 1e-5, .5, 6.]\nwords: [no, yes, on, 0x1, 1_000, '1', \"true\"]\n"
        "rest: [null, ~, true, False]\nempty:\ninfinite: [.inf, -.inf]\nbyte: \ufefftext\n",
        encoding="utf-8",
    )
    data = load_yaml(path, ArchError).data
    assert data["integers"] == [1, -2, 3, 12]
    assert all(type(value) is int for value in data["integers"])
    assert data["floats"] == [1.5, 1e-5, 0.5, 6.0]
    assert all(type(value) is float for value in data["floats"])
    assert data["words"] == ["no", "yes", "on", "0x1", "1_000", "1", "true"]
    assert data["rest"] == [None, None, True, False]
    assert data["empty"] is None
    assert data["infinite"] == [math.inf, -math.inf]


def test_lines_of_values_and_of_their_nearest_ancestors(tmp_path: Path) -> None:
    path = tmp_path / "lines.yaml"
    path.write_text("a: 1\nb:\n  - c: 1\n    d: 2\n  - {e: 3}\n", encoding="utf-8")
    document = load_yaml(path, ArchError)
    assert document.line(("a",)) == 1
    assert document.line(("b", 0, "d")) == 4
    assert document.line(("b", 1, "e")) == 5
    assert document.line(("b", 0, "missing", 7)) == 3
    assert document.where(("b", 0, "d")) == f"{path}:4: b[0].d"


def test_json_files_know_their_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text('{\n "a": [\n  1,\n  2\n ]\n}', encoding="utf-8")
    document = load_yaml(path, ArchError)
    assert document.data == {"a": [1, 2]}
    assert document.line(("a", 1)) == 4


def test_an_alias_within_limits_is_its_value(tmp_path: Path) -> None:
    path = tmp_path / "alias.yaml"
    path.write_text("a: &x {b: [1, 2]}\nc: *x\n", encoding="utf-8")
    document = load_yaml(path, ArchError)
    assert document.data["c"] == {"b": [1, 2]}
    assert document.line(("c",)) == 2


KEYS = st.text("abc", min_size=1, max_size=3)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(KEYS, PLAIN, max_size=4))
def test_json_is_read_alike_as_json_and_as_yaml(data: dict[str, object]) -> None:
    import tempfile

    text = json.dumps(data, indent=1, ensure_ascii=False)
    with tempfile.TemporaryDirectory() as folder:
        as_json, as_yaml = Path(folder) / "x.json", Path(folder) / "x.yaml"
        as_json.write_text(text, encoding="utf-8")
        as_yaml.write_text(text, encoding="utf-8")
        assert load_yaml(as_json, ArchError).data == data
        assert load_yaml(as_yaml, ArchError).data == data


YAML_LIKE = st.text("ab1:-[]{}&*!|>'\"#%@`\\\n\t ,?~.", max_size=60).map(str.encode)


@given(YAML_LIKE | st.binary(max_size=100))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_bytes(raw)
        try:
            data = load_yaml(path, ArchError).data
        except ArchError:
            return
        assert isinstance(data, dict)


@given(st.lists(st.one_of(st.integers(0, 99), st.from_regex(r"[a-z_]{1,6}", fullmatch=True)), min_size=1, max_size=6))
def test_key_paths_survive_their_text(parts: list[str | int]) -> None:
    path = tuple(parts)
    assert parse_key_path(format_key_path(path)) == path


def test_shipped_data_is_found() -> None:
    assert (data_folder("search_spaces") / "presets" / "sd15.yaml").is_file()
