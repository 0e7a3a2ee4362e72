"""Architectures <-> plain data (JSON), strictly: unknown keys, wrong types and senseless numbers are errors.

The decoder is compiled from the annotations of ``values.py``: a dataclass is a mapping, a tuple a list, a union is
told apart by ``kind``.  Fields that equal their default are left out when writing.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from typing import Any, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

from archsearch.arch.limits import MAX_ITEMS, Limit, limit_of
from archsearch.arch.values import Architecture
from archsearch.errors import ArchError, unknown_name
from archsearch.files import KeyPath, Locate, format_key_path, type_name

SCHEMA = "archsearch.architecture/1"

_Decode: TypeAlias = Callable[[Any, KeyPath], Any]


class FieldError(Exception):
    """A value that does not fit, before it is known in which file it stands."""

    def __init__(self, what: str, path: KeyPath, got: object = None, allowed: object = None) -> None:
        super().__init__(what)
        self.what, self.path, self.got, self.allowed = what, path, got, allowed

    def located(self, where: str | Locate) -> ArchError:
        """The error that users see.  ``where`` is a file or argument, or a function of the key path."""
        if callable(where):
            place = where(self.path)
        else:
            place = ": ".join(part for part in (where, format_key_path(self.path)) if part)
        return ArchError(self.what, where=place or None, got=self.got, allowed=self.allowed)


def to_dict(arch: Architecture) -> dict[str, Any]:
    """Plain data of an architecture, with its ``schema``; lists, numbers, strings, booleans and null only."""
    return {"schema": SCHEMA, **encode(arch)}


def from_dict(data: object, where: str | Locate = "") -> Architecture:
    """The architecture of plain data, checked.

    Args:
        data: what :func:`to_dict` gave (``schema`` may be absent).
        where: the file or argument to name in errors, or a function from key path to that.

    Raises:
        ArchError: unknown or missing key, wrong type, senseless number, widths that do not fit.
    """
    from archsearch.arch.check import check

    if isinstance(data, dict) and "schema" in data:
        if data["schema"] != SCHEMA:
            raise FieldError("another schema", ("schema",), data["schema"], SCHEMA).located(where)
        data = {key: value for key, value in data.items() if key != "schema"}
    arch = cast(Architecture, decode(Architecture, data, where))
    check(arch, where)
    return arch


def to_json(arch: Architecture) -> str:
    """:func:`to_dict` as one line of JSON."""
    return json.dumps(to_dict(arch), separators=(",", ":"), allow_nan=False)


def from_json(text: str, where: str | Locate = "") -> Architecture:
    """The architecture of a JSON text.

    Raises:
        ArchError: not JSON, or as :func:`from_dict`.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise FieldError(f"not valid JSON ({problem})", ()).located(where) from problem
    return from_dict(data, where)


def encode(value: Any) -> Any:
    """A dataclass of ``values.py`` as plain data, defaults left out, ``kind`` always written."""
    if is_dataclass(value) and not isinstance(value, type):
        result: dict[str, Any] = {}
        for item in fields(value):
            content = getattr(value, item.name)
            if item.name == "kind" or item.default is MISSING or not _same(content, item.default):
                result[item.name] = encode(content)
        return result
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return value


def _same(a: object, b: object) -> bool:
    return a == b and (type(a) is type(b) or (not isinstance(a, bool) and not isinstance(b, bool)))


def decode(annotation: Any, data: object, where: str | Locate = "", path: KeyPath = ()) -> Any:
    """Plain data as a value of ``annotation`` (a dataclass, a union of them, a tuple of them, a scalar).

    Raises:
        ArchError: what does not fit, with its key path.
    """
    try:
        return _decoder(annotation, path[-1] if path else "")(data, path)
    except FieldError as problem:
        raise problem.located(where) from None


@cache
def _decoder(annotation: Any, name: str | int) -> _Decode:
    """The decoder of one annotation; ``name`` is the field it stands in (numbers have limits by field)."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return lambda data, path: _choice(data, path, args)
    if origin in (Union, types.UnionType):
        members = tuple(member for member in args if member is not type(None))
        inner = _decoder(members[0], name) if len(members) == 1 else _union(members)
        if len(members) == len(args):
            return inner
        return lambda data, path: None if data is None else inner(data, path)
    if origin is tuple:
        item = _decoder(args[0], name)
        return lambda data, path: _sequence(data, path, item)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _record(annotation)
    limit = limit_of(str(name))
    if annotation is int:
        return lambda data, path: _integer(data, path, limit)
    if annotation is float:
        return lambda data, path: _number(data, path, limit)
    if annotation in (bool, str):
        return lambda data, path: _exactly(data, path, annotation)
    raise AssertionError(f"no decoder for {annotation!r}")


def _union(members: tuple[Any, ...]) -> _Decode:
    by_kind = {str(member.__dataclass_fields__["kind"].default): _decoder(member, "") for member in members}

    def run(data: Any, path: KeyPath) -> Any:
        if not isinstance(data, dict):
            raise FieldError("must be a mapping with a kind", path, _got(data), ", ".join(by_kind))
        kind = data.get("kind")
        if "kind" not in data:
            raise FieldError("a key is missing", (*path, "kind"), None, ", ".join(by_kind))
        if not isinstance(kind, str) or kind not in by_kind:
            raise FieldError(unknown_name("kind", str(kind), by_kind), (*path, "kind"))
        return by_kind[kind](data, path)

    return run


def _record(cls: type) -> _Decode:
    plan: list[tuple[str, _Decode, bool]] | None = None

    def run(data: Any, path: KeyPath) -> Any:
        nonlocal plan
        if plan is None:
            hints = get_type_hints(cls)
            plan = [(f.name, _decoder(hints[f.name], f.name), f.default is MISSING) for f in fields(cls)]
        if not isinstance(data, dict):
            raise FieldError("must be a mapping", path, _got(data), ", ".join(name for name, _, _ in plan))
        values = {}
        for name, item, required in plan:
            if name in data:
                values[name] = item(data[name], (*path, name))
            elif required:
                raise FieldError("a key is missing", (*path, name), f"only {', '.join(map(str, data)) or 'nothing'}")
        if len(values) != len(data):
            names = [name for name, _, _ in plan]
            extra = next(key for key in data if key not in names)
            raise FieldError(unknown_name("key", str(extra), names), (*path, str(extra)))
        return cls(**values)

    return run


def _sequence(data: Any, path: KeyPath, item: _Decode) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise FieldError("must be a list", path, _got(data))
    if len(data) > MAX_ITEMS:
        raise FieldError("too many items", path, len(data), f"<= {MAX_ITEMS}")
    return tuple(item(value, (*path, i)) for i, value in enumerate(data))


def _choice(data: Any, path: KeyPath, allowed: tuple[Any, ...]) -> Any:
    if not any(type(data) is type(choice) and data == choice for choice in allowed):
        raise FieldError("unknown choice", path, _got(data), ", ".join(map(str, allowed)))
    return data


def _integer(data: Any, path: KeyPath, limit: Limit) -> int:
    if isinstance(data, bool) or not isinstance(data, int):
        raise FieldError("must be an integer", path, _got(data), str(limit))
    if not limit.holds(data):
        raise FieldError("out of range", path, _got(data), str(limit))
    return data


def _number(data: Any, path: KeyPath, limit: Limit) -> float:
    if isinstance(data, bool) or not isinstance(data, (int, float)):
        raise FieldError("must be a number", path, _got(data), str(limit))
    if (isinstance(data, float) and not isfinite(data)) or not limit.holds(data):
        raise FieldError("out of range", path, _got(data), str(limit))
    return float(data)


def _exactly(data: Any, path: KeyPath, kind: type) -> Any:
    if type(data) is not kind:
        raise FieldError("must be a boolean" if kind is bool else "must be a string", path, _got(data))
    return data


def _got(data: object) -> str:
    if data is None or isinstance(data, (dict, list, tuple)):
        return type_name(data)
    if isinstance(data, int) and abs(data) > 10**20:
        return "an integer of more than 20 digits"
    return repr(data) if isinstance(data, (str, bool, int, float)) else type(data).__name__
