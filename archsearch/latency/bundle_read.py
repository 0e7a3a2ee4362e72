"""Reading a bundle's manifest as if a stranger had written it.

A file name leads nowhere but into the bundle's ``models``, a key is an operator or a block, sizes and checksums have
their form, nothing stands twice.  Errors name file and line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from archsearch.errors import CostError, LatencyError
from archsearch.latency.bundle_manifest import DTYPES, MANIFEST, SCHEMA, SUFFIX, TARGETS, BundleModel, Input, Manifest

MAX_BYTES = 64_000_000
_SAFE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        LatencyError: missing, damaged, of another schema, or with an entry that is not to be trusted; says the line.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise LatencyError(f"cannot read the bundle's manifest ({error.strerror})", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise LatencyError("too large for a manifest", where=str(path), allowed=f"<= {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise LatencyError("not UTF-8 text", where=f"{path}:{line}") from None
    return _Reader(text, str(path)).manifest()


def parse_model(data: Any, target: str, where: str) -> BundleModel:
    """Check one model's entry.

    Raises:
        LatencyError: it is malformed, or its file lies outside the bundle's ``models``.
    """
    from archsearch.cost.block import parse_workload

    entry = _Entry(data, where)
    entry.only(BundleModel._fields)
    key = entry.text("key")
    try:
        workload = parse_workload(key)
    except CostError as error:
        raise LatencyError("not the key of an operator or a block", where=where, got=key) from error
    if entry.text("kind") != workload.kind:
        raise LatencyError("not the kind of its key", where=where, got=entry.text("kind"), allowed=workload.kind)
    sha256 = entry.text("sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise LatencyError("sha256 must be 64 hexadecimal digits", where=where, got=sha256)
    return BundleModel(
        key=key,
        kind=workload.kind,
        file=safe_file(entry.text("file"), target, where),
        bytes=entry.whole("bytes", 1),
        sha256=sha256,
        inputs=tuple(_parse_input(item, where) for item in entry.list("inputs")),
        graph=entry.text("graph"),
        params=entry.whole("params"),
        macs=entry.whole("macs"),
    )


def safe_file(name: str, target: str, where: str) -> str:
    """A relative path below ``models`` of plain names, with the target's suffix.

    Raises:
        LatencyError: anything else, an absolute path or one with ``..`` among it.
    """
    parts = PurePosixPath(name).parts
    plain = parts and "/".join(parts) == name and all(_SAFE_PART.fullmatch(part) for part in parts)
    if not plain or parts[0] != "models" or len(parts) < 2 or not name.endswith(SUFFIX[target]):
        raise LatencyError("not the name of a model in this bundle", where=where, got=name,
                           allowed=f"models/KIND/NAME{SUFFIX[target]}, plain names only")  # fmt: skip
    return name


def _parse_input(data: Any, where: str) -> Input:
    entry = _Entry(data, where)
    entry.only(Input._fields)
    shape = entry.list("shape")
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 1 << 31 for side in shape):
        raise LatencyError("shape must be positive whole numbers", where=where, got=shape)
    if entry.text("dtype") not in DTYPES:
        raise LatencyError("unknown dtype", where=where, got=entry.text("dtype"), allowed=", ".join(DTYPES))
    return Input(entry.text("name"), tuple(shape), entry.text("dtype"))


class _Entry:
    """A JSON object whose values are asked for by type."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise LatencyError("must be an object", where=where, got=type(data).__name__)
        self._data = data
        self._where = where

    def only(self, names: tuple[str, ...]) -> None:
        for name in self._data:
            if name not in names:
                raise LatencyError("unknown field", where=self._where, got=name, allowed=", ".join(names))

    def get(self, name: str, kind: type, what: str) -> Any:
        value = self._data.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            got = value if name in self._data else "nothing"
            raise LatencyError(f"{name} must be {what}", where=self._where, got=got)
        return value

    def text(self, name: str) -> str:
        return str(self.get(name, str, "a text"))

    def list(self, name: str) -> list[Any]:
        return list(self.get(name, list, "a list"))

    def texts(self, name: str) -> dict[str, str]:
        value = self.get(name, dict, "an object of texts")
        if not all(isinstance(text, str) for text in value.values()):
            raise LatencyError(f"{name} must be an object of texts", where=self._where, got=value)
        return dict(value)

    def whole(self, name: str, least: int = 0) -> int:
        value = int(self.get(name, int, "a whole number"))
        if value < least:
            raise LatencyError(f"{name} must be a whole number", where=self._where, got=value, allowed=f">= {least}")
        return value


class _Reader:
    """The text of a manifest, and on which lines its models stand."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where

    def manifest(self) -> Manifest:
        data = self._json()
        top = _Entry(data, f"{self._where}:1")
        if data.get("schema") != SCHEMA:
            raise LatencyError("another schema version, or no bundle", where=f"{self._where}:{self._line_of('schema')}",
                               got=data.get("schema", "none"), allowed=SCHEMA,
                               next_step="use the archsearch release that wrote it")  # fmt: skip
        top.only(("schema", *Manifest.__dataclass_fields__))
        target = top.text("target")
        if target not in TARGETS:
            raise LatencyError("unknown target", where=f"{self._where}:{self._line_of('target')}", got=target,
                               allowed=", ".join(TARGETS))  # fmt: skip
        models: dict[str, BundleModel] = {}
        files: set[str] = set()
        for entry, line in zip(top.list("models"), self._model_lines(), strict=False):
            model = parse_model(entry, target, f"{self._where}:{line}")
            if model.key in models or model.file in files:
                raise LatencyError("stands twice", where=f"{self._where}:{line}", got=model.key)
            models[model.key] = model
            files.add(model.file)
        sources = top.list("sources")
        if not all(isinstance(source, str) for source in sources):
            raise LatencyError("sources must be texts", where=f"{self._where}:{self._line_of('sources')}", got=sources)
        return Manifest(
            target=target,
            created=top.text("created"),
            sources=tuple(sources),
            converter=top.texts("converter"),
            precision=top.text("precision"),
            layout=top.text("layout"),
            protocol=top.text("protocol"),
            reference=top.text("reference"),
            complete=bool(top.get("complete", bool, "true or false")),
            models=models,
            failed=top.texts("failed"),
        )

    def _json(self) -> dict[str, Any]:
        def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
            result = dict(items)
            if len(result) != len(items):
                names = [name for name, _ in items]
                twice = next(name for name in names if names.count(name) > 1)
                raise LatencyError("a key stands twice", where=f"{self._where}:{self._line_of(twice)}", got=twice)
            return result

        def constant(name: str) -> Any:
            line = self._text.count("\n", 0, self._text.find(name)) + 1
            raise LatencyError("not a JSON value", where=f"{self._where}:{line}", got=name, allowed="finite numbers")

        try:
            data = json.loads(self._text, object_pairs_hook=pairs, parse_constant=constant, parse_float=_finite)
        except json.JSONDecodeError as error:
            raise LatencyError(f"not valid JSON, or cut off ({error.msg})", where=f"{self._where}:{error.lineno}",
                               next_step="restore it, or write a new bundle") from error  # fmt: skip
        except RecursionError as error:
            raise LatencyError("nested too deeply", where=self._where) from error
        except LatencyError:
            raise
        except ValueError as error:
            raise LatencyError("not a usable JSON value", where=self._where, got=str(error)) from error
        if not isinstance(data, dict):
            raise LatencyError("the top level must be an object", where=f"{self._where}:1", got=type(data).__name__)
        return data

    def _line_of(self, name: str) -> int:
        return self._text.count("\n", 0, max(self._text.find(f'"{name}"'), 0)) + 1

    def _model_lines(self) -> Iterator[int]:
        """Lines of the entries of ``models``; endless, the last one again where the text is laid out otherwise."""
        decoder = json.JSONDecoder()
        at = self._text.find("[", self._text.find('"models"')) + 1
        line, seen = self._text.count("\n", 0, at) + 1, at
        while True:
            try:
                while self._text[at] in " \t\r\n,":
                    at += 1
                _, end = decoder.raw_decode(self._text, at)
            except (ValueError, IndexError):
                yield line
                continue
            line += self._text.count("\n", seen, at)
            yield line
            seen, at = at, end


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value
