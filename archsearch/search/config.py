"""What a study was asked to do, frozen: written once to ``study.json`` and compared whenever the study is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from archsearch.errors import SearchError

SCHEMA = "archsearch.study/1"
STRATEGIES = ("nsga2", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRef:
    """The searched space: its name, the SHA-256 of the copy in the study, and its number of candidates."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRef:
    """A latency table: its name, the SHA-256 of the copy in the study, and what it is."""

    name: str
    sha256: str
    folder: str
    configuration: str
    provenance: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRef:
    """A quality run: its folder when the study began, the SHA-256 of its checkpoint, and what it is."""

    run: str
    sha256: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """The frozen configuration of a study.

    ``objectives`` and ``constraints`` are canonical texts; ``bounds`` are the constraints' limits in units of their
    objectives; ``baseline`` holds the values of the space's baseline architecture.  ``trials`` is a budget, which may
    grow when the study is resumed; nothing else ever changes.
    """

    space: SpaceRef
    conditions: Mapping[str, Any]
    objectives: tuple[str, ...]
    constraints: tuple[str, ...]
    bounds: Mapping[str, float]
    baseline: Mapping[str, float | None]
    tables: tuple[TableRef, ...]
    quality: QualityRef | None
    strategy: str
    population: int
    seed: int
    trials: int
    versions: Mapping[str, str]
    created: str


FIXED = ("space", "conditions", "objectives", "constraints", "tables", "quality", "strategy", "population", "seed")
GENERATORS = ("archsearch", "optuna", "numpy")


def to_json(config: StudyConfig) -> dict[str, Any]:
    """Plain data with the schema."""
    return {"schema": SCHEMA, **asdict(config)}


def from_json(data: Any, where: str) -> StudyConfig:
    """The inverse of :func:`to_json`.

    Raises:
        SearchError: another schema, or a field that is missing, unknown or malformed.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        got = data.get("schema", "none") if isinstance(data, dict) else type(data).__name__
        raise SearchError("not a study of this release's schema", where=where, got=got, allowed=SCHEMA,
                          next_step="use the archsearch release that wrote it")  # fmt: skip
    known = {item.name for item in fields(StudyConfig)}
    for key in sorted(set(data) ^ (known | {"schema"})):
        raise SearchError("unknown field" if key in data else "missing field", where=f"{where}: {key}")
    try:
        plain = {key: data[key] for key in known}
        plain["space"] = SpaceRef(**data["space"])
        plain["tables"] = tuple(TableRef(**table) for table in data["tables"])
        plain["quality"] = None if data["quality"] is None else QualityRef(**data["quality"])
        for key in ("objectives", "constraints"):
            plain[key] = tuple(str(text) for text in data[key])
        for key in ("population", "seed", "trials"):
            if not isinstance(data[key], int) or isinstance(data[key], bool) or data[key] < 0:
                raise TypeError(f"{key}: {data[key]!r} is not a whole number")
        for key in ("conditions", "bounds", "baseline", "versions"):
            if not isinstance(data[key], dict):
                raise TypeError(f"{key}: {data[key]!r} is not a mapping")
        for key in ("strategy", "created"):
            plain[key] = str(data[key])
        return StudyConfig(**plain)
    except (TypeError, ValueError, AttributeError) as error:
        raise SearchError(f"malformed ({error})", where=where) from error


def differences(old: StudyConfig, new: StudyConfig) -> list[str]:
    """In words, what sets two configurations apart (budget, versions and dates aside)."""
    found = []
    for name in FIXED:
        a, b = getattr(old, name), getattr(new, name)
        if name == "tables":
            a, b = [(t.name, t.sha256) for t in a], [(t.name, t.sha256) for t in b]
        if name == "quality":
            a, b = (q.sha256 if q else None for q in (a, b))
        if name == "space":
            a, b = (a.name, a.sha256), (b.name, b.sha256)
        if a != b:
            found.append(f"{name}: {_show(a)} there, {_show(b)} now")
    return found


def version_differences(old: StudyConfig, now: Mapping[str, str]) -> list[str]:
    """In words, which versions that decide over the next trial differ."""
    return [
        f"{name} {old.versions.get(name, 'unknown')} there, {now.get(name, 'none')} now"
        for name in GENERATORS
        if old.versions.get(name) != now.get(name)
    ]


def _show(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str) and len(value[1]) == 64:
        return f"{value[0]} ({value[1][:8]})"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    return str(value)
