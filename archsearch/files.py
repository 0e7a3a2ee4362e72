"""Reading YAML and JSON that people write: safe, strict, and able to say on which line a value stands.

A file is a mapping of plain values (mapping, list, string, integer, float, boolean, null).  Tags, duplicate keys,
alias bombs, deep nesting, huge files and anything that is not UTF-8 are refused in one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from archsearch.errors import ArchsearchError

KeyPath: TypeAlias = tuple[str | int, ...]
Locate: TypeAlias = Callable[[KeyPath], str]

MAX_BYTES = 1 << 20
MAX_NODES = 200_000
MAX_DEPTH = 64

_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,6})?")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((f"{sign}{word}" for sign in ("", "+") for word in (".inf", ".Inf", ".INF")), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}


def format_key_path(path: KeyPath) -> str:
    """``("stages", 0, "down")`` -> ``stages[0].down``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def parse_key_path(text: str) -> KeyPath:
    """The inverse of :func:`format_key_path`; whatever follows the first blank is a remark and left out."""
    words = text.split()
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", words[0]) if words else []
    return tuple(int(index) if index else name for index, name in parts)


@dataclass(frozen=True, slots=True)
class _Node:
    """A parsed value with the line it starts on (from 1), its children and how many nodes it unfolds to."""

    value: Any
    line: int
    size: int = 1
    children: dict[str | int, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """The content of a file and where its values stand."""

    path: Path
    data: dict[str, Any]
    _lines: Callable[[], _Node] = field(repr=False)

    def line(self, key_path: KeyPath) -> int:
        """Line (from 1) of the value at ``key_path``, or of its nearest ancestor that exists."""
        node = self._lines()
        for part in key_path:
            child = node.children.get(part)
            if child is None:
                break
            node = child
        return node.line

    def where(self, key_path: KeyPath) -> str:
        """``file.yaml:12: key.path`` for error messages; pass the method itself wherever a ``Locate`` is wanted."""
        place = f"{self.path}:{self.line(key_path)}"
        return f"{place}: {format_key_path(key_path)}" if key_path else place


def load_yaml(path: Path, error: type[ArchsearchError]) -> Document:
    """Read a YAML file (or a JSON file, by its suffix) whose top level is a mapping.

    Raises:
        ArchsearchError: of the class ``error``, naming file and line.
    """
    text = read_text(path, error)
    if path.suffix == ".json":
        data = _load_json(text, path, error)
        lines: list[_Node] = []

        def lazily() -> _Node:  # JSON is read by the C parser; lines are wanted only by error messages
            if not lines:
                try:
                    lines.append(_compose(text, path, error))
                except ArchsearchError:
                    lines.append(_Node(data, 1))
            return lines[0]

        return Document(path, _mapping(data, path, error, 1), lazily)
    node = _compose(text, path, error)
    return Document(path, _mapping(node.value, path, error, node.line), lambda: node)


def read_text(path: Path, error: type[ArchsearchError]) -> str:
    """A UTF-8 text file of at most ``MAX_BYTES``.

    Raises:
        ArchsearchError: of the class ``error``: missing, unreadable, too large or not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise error(f"cannot be read ({problem.strerror or problem})", where=str(path)) from problem
    except ValueError as problem:  # an embedded null byte
        raise error(f"not a usable path ({problem})", where=repr(str(path))) from problem
    if len(raw) > MAX_BYTES:
        raise error("file too large", where=str(path), got=f"more than {MAX_BYTES} bytes", allowed=f"<= {MAX_BYTES}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise error("not UTF-8 text", where=f"{path}:{line}", got=f"byte 0x{raw[problem.start]:02x}") from problem


def _mapping(data: Any, path: Path, error: type[ArchsearchError], line: int) -> dict[str, Any]:
    if not isinstance(data, dict):
        got = "nothing" if data is None else type_name(data)
        raise error("the top level must be a mapping of keys to values", where=f"{path}:{line}", got=got)
    return data


def type_name(value: object) -> str:
    """What a value is, in the words of a YAML file."""
    names: dict[type, str] = {dict: "a mapping", list: "a list", tuple: "a list", str: "a string", bool: "a boolean",
                              int: "an integer", float: "a number", type(None): "null"}  # fmt: skip
    return names.get(type(value), type(value).__name__)


def _load_json(text: str, path: Path, error: type[ArchsearchError]) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise error("duplicate key", where=str(path), got=twice)
        return result

    def constant(name: str) -> Any:
        raise error("not a JSON value", where=str(path), got=name, allowed="finite numbers")

    try:
        data = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
        if "\\u" in text:
            json.dumps(data, ensure_ascii=False).encode()
        return data
    except UnicodeEncodeError as problem:
        raise error("half of a surrogate pair", where=str(path)) from problem
    except json.JSONDecodeError as problem:
        raise error(f"not valid JSON ({problem.msg})", where=f"{path}:{problem.lineno}") from problem
    except RecursionError as problem:
        raise error("nested too deeply", where=str(path), allowed=f"<= {MAX_DEPTH} levels") from problem
    except ArchsearchError:
        raise
    except ValueError as problem:  # an integer of thousands of digits
        raise error(f"not a usable JSON value ({problem})", where=str(path)) from problem


def _compose(text: str, path: Path, error: type[ArchsearchError]) -> _Node:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return _Composer(path, error).run(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        what = " ".join(str(problem.problem or problem.context or "syntax error").split())
        line = mark.line + 1 if mark is not None else 1
        raise error(f"not valid YAML ({what})", where=f"{path}:{line}") from problem
    except YAMLError as problem:
        what = " ".join(str(problem).split())
        raise error(f"not valid YAML ({what[:120]})", where=str(path)) from problem


class _Composer:
    """Turns the parser's events into nodes, refusing what plain data does not need."""

    def __init__(self, path: Path, error: type[ArchsearchError]) -> None:
        self._path = path
        self._error = error
        self._anchors: dict[str, _Node] = {}
        self._total = 0

    def run(self, events: Iterator[Any]) -> _Node:
        """The single document of the stream."""
        root: _Node | None = None
        for event in events:
            name = type(event).__name__
            if name == "DocumentStartEvent" and root is not None:
                self._refuse(event, "one document a file", "a second document")
            if name in ("ScalarEvent", "AliasEvent", "MappingStartEvent", "SequenceStartEvent"):
                root = self._node(event, events, 0)
        return root or _Node(None, 1)

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        name = type(event).__name__
        line = event.start_mark.line + 1
        if name == "AliasEvent":
            if str(event.anchor) not in self._anchors:
                self._refuse(event, "an alias must follow its anchor", f"*{event.anchor}")
            known = self._anchors[str(event.anchor)]
            self._add(event, known.size)
            return _Node(known.value, line, known.size, known.children)
        if event.tag is not None and str(event.tag) not in ("!", ""):
            self._refuse(event, "tags are not allowed", str(event.tag), "plain values")
        if depth > MAX_DEPTH:
            self._refuse(event, "nested too deeply", None, f"<= {MAX_DEPTH} levels")
        self._add(event, 1)
        if name == "ScalarEvent":
            plain = event.style is None and event.tag is None
            node = _Node(self._scalar(event) if plain else self._text(event), line)
        elif name == "SequenceStartEvent":
            node = self._sequence(events, line, depth)
        else:
            node = self._mapping(events, line, depth)
        if event.anchor is not None:
            self._anchors[str(event.anchor)] = node
        return node

    def _sequence(self, events: Iterator[Any], line: int, depth: int) -> _Node:
        children: dict[str | int, _Node] = {}
        for event in events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            children[len(children)] = self._node(event, events, depth + 1)
        return _Node([n.value for n in children.values()], line, 1 + sum(n.size for n in children.values()), children)

    def _mapping(self, events: Iterator[Any], line: int, depth: int) -> _Node:
        children: dict[str | int, _Node] = {}
        for event in events:
            if type(event).__name__ == "MappingEndEvent":
                break
            if type(event).__name__ != "ScalarEvent":
                self._refuse(event, "a key must be a plain string", "a collection or an alias")
            key = self._node(event, events, depth + 1)
            name = event.value
            if name == "<<":
                self._refuse(event, "merge keys are not allowed", "<<")
            if name in children:
                self._refuse(event, "duplicate key", name)
            child = self._node(next(events), events, depth + 1)
            children[name] = _Node(child.value, key.line, child.size, child.children)
        size = 1 + sum(1 + node.size for node in children.values())
        return _Node({name: node.value for name, node in children.items()}, line, size, children)

    def _text(self, event: Any) -> str:
        text: str = event.value
        if any("\ud800" <= char <= "\udfff" for char in text):
            self._refuse(event, "half of a surrogate pair", ascii(text))
        return text

    def _scalar(self, event: Any) -> Any:
        text = self._text(event)
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        return text

    def _add(self, event: Any, size: int) -> None:
        self._total += size
        if self._total > MAX_NODES:
            self._refuse(event, "too many values once aliases are unfolded", None, f"<= {MAX_NODES}")

    def _refuse(self, event: Any, what: str, got: object, allowed: object = None) -> NoReturn:
        raise self._error(what, where=f"{self._path}:{event.start_mark.line + 1}", got=got, allowed=allowed)
