"""Objectives and constraints: parsed from the words of the command line into frozen values.

Every objective is minimised.  ``quality`` is the validation loss of a quality run, so lower is better there too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from archsearch.amounts import binary, scaled
from archsearch.errors import SearchError, unknown_name

Quantity: TypeAlias = Literal["params", "macs", "memory", "size", "latency", "quality"]
QUANTITIES: tuple[Quantity, ...] = ("params", "macs", "memory", "size", "latency", "quality")
LABELS: dict[Quantity, str] = {
    "params": "Parameters",
    "macs": "MACs",
    "memory": "Peak activation memory",
    "size": "Model size",
    "latency": "Latency",
    "quality": "Validation loss",
}
UNITS: dict[Quantity, str] = {
    "params": "",
    "macs": "",
    "memory": "bytes",
    "size": "bytes",
    "latency": "ms",
    "quality": "",
}
SCALES: dict[str, float] = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
BINARY: dict[str, float] = {"ki": 2.0**10, "mi": 2.0**20, "gi": 2.0**30, "ti": 2.0**40}
TIMES_MS: dict[str, float] = {"": 1.0, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "s": 1e3}
MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Objective:
    """One minimised quantity; latency is that of a named table."""

    quantity: Quantity
    table: str | None = None

    @property
    def name(self) -> str:
        """The name used in options, files and JSON: ``params``, ``latency:T``, ..."""
        return f"latency:{self.table}" if self.quantity == "latency" else self.quantity

    @property
    def label(self) -> str:
        """The name for people."""
        return f"Latency on {self.table}" if self.quantity == "latency" else LABELS[self.quantity]

    @property
    def unit(self) -> str:
        """Unit of the stored value: ``ms``, ``bytes`` or nothing."""
        return UNITS[self.quantity]

    def show(self, value: float | None) -> str:
        """A value for people: ``859.521 M``, ``1.234 ms``, ``0.04213``; ``n/a`` where there is none."""
        if value is None or math.isnan(value):
            return "n/a"
        if self.quantity == "latency":
            return f"{value:,.3f} ms"
        if self.quantity == "quality":
            return f"{value:.5f}"
        return binary(value) if self.unit == "bytes" else scaled(value)


@dataclass(frozen=True, slots=True)
class Constraint:
    """``objective <= limit``; a relative limit is a fraction of the space's baseline architecture."""

    objective: Objective
    limit: float
    relative: bool = False

    @property
    def text(self) -> str:
        """Canonical text; parses back to the same constraint."""
        if self.relative:
            return f"{self.objective.name} <= {self.limit * 100:.12g}%"
        unit = " ms" if self.objective.quantity == "latency" else ""
        return f"{self.objective.name} <= {self.limit:.12g}{unit}"

    def bound(self, baseline: Mapping[str, float | None]) -> float:
        """The limit in units of the objective, given the baseline's values.

        Raises:
            SearchError: the limit is relative and the baseline has no such value.
        """
        if not self.relative:
            return self.limit
        value = baseline.get(self.objective.name)
        if value is None or math.isnan(value):
            raise SearchError("a relative constraint needs the baseline's value, which is not known", where=self.text,
                              next_step="give an absolute limit")  # fmt: skip
        return self.limit * value


class Range(NamedTuple):
    """Least, median and largest value of a quantity over a space."""

    low: float
    median: float
    high: float


def table_refs(names: Iterable[str], constraints: Iterable[str]) -> tuple[str, ...]:
    """The tables that objectives and constraints name (``latency:T``), in order, each once."""
    refs: dict[str, None] = {}
    for text in names:
        if text.strip().startswith("latency:"):
            refs[text.strip().removeprefix("latency:").strip()] = None
    for text in constraints:
        match = _CONSTRAINT.fullmatch(text.strip())
        if match and match["name"].startswith("latency:"):
            refs[match["name"].removeprefix("latency:").strip()] = None
    return tuple(ref for ref in refs if ref)


def parse_objective(text: str, tables: Mapping[str, str] | Sequence[str] = (), where: str = "--objective") -> Objective:
    """Parse one objective.

    Args:
        text: ``params``, ``macs``, ``memory``, ``size``, ``latency:T`` or ``quality``.
        tables: table names, or what a user may write for a table (name, folder) -> the table's name.
        where: the option at fault, for messages.

    Raises:
        SearchError: an unknown objective or table; names near misses.
    """
    known = dict(tables) if isinstance(tables, Mapping) else {name: name for name in tables}
    name = text.strip()
    quantity, colon, table = (part.strip() for part in name.partition(":"))
    if quantity == "latency":
        if colon and table:
            if table not in known:
                raise SearchError(unknown_name("latency table", table, known), where=where,
                                  next_step=f"give it with --table {table}")  # fmt: skip
            return Objective("latency", known[table])
        if len(set(known.values())) == 1:
            return Objective("latency", next(iter(known.values())))
        raise SearchError("latency needs a table", where=where, got=text, allowed="latency:T",
                          next_step="name a table of `archsearch latency list`")  # fmt: skip
    if quantity not in QUANTITIES or colon:
        options = [q if q != "latency" else "latency:T" for q in QUANTITIES]
        raise SearchError(unknown_name("objective", name[:MAX_TEXT], options), where=where)
    return Objective(quantity)


def parse_constraint(
    text: str, tables: Mapping[str, str] | Sequence[str] = (), where: str = "--constraint"
) -> Constraint:
    """Parse ``params <= 400M`` or ``latency:T <= 60%`` (of the space's baseline).

    Raises:
        SearchError: not of that form, an unknown objective, table or unit.
    """
    match = _CONSTRAINT.fullmatch(text.strip()) if len(text) <= MAX_TEXT else None
    if match is None:
        raise SearchError("not a constraint", where=where, got=text, allowed="params <= 400M, latency:T <= 60%")
    if match["sign"] != "<=":
        raise SearchError("a constraint is an upper limit", where=where, got=match["sign"], allowed="<=")
    objective = parse_objective(match["name"], tables, where)
    limit, relative = _limit(objective, match["number"], match["unit"].strip().lower(), where, text)
    return Constraint(objective, limit, relative)


_CONSTRAINT = re.compile(
    r"(?P<name>.*?\S)\s*(?P<sign><=|>=|<|>|==|=)\s*(?P<number>[-+]?[0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?)"
    r"\s*(?P<unit>%|[a-zA-Zµμ]{0,5})"
)


def _limit(objective: Objective, number: str, unit: str, where: str, text: str) -> tuple[float, bool]:
    value = float(number.replace("_", "").replace(",", ""))
    if not math.isfinite(value) or value <= 0:
        raise SearchError("a limit is a positive number", where=where, got=text)
    if unit == "%":
        return value / 100, True
    scales: dict[str, float]
    if objective.quantity == "latency":
        scales = TIMES_MS
    elif objective.quantity == "quality":
        scales = {"": 1.0}
    elif objective.unit == "bytes":
        byte_scales = {"": 1.0, **SCALES, **BINARY}
        scales = byte_scales | {f"{prefix}b": scale for prefix, scale in byte_scales.items()}
    else:
        scales = {"": 1.0, **SCALES}
    if unit not in scales:
        allowed = ", ".join(sorted(name for name in scales if name)) or "none"
        raise SearchError(f"unknown unit for {objective.name}", where=where, got=unit, allowed=f"{allowed}, %")
    return value * scales[unit], False


def default_objectives(tables: Sequence[str], with_quality: bool) -> tuple[Objective, ...]:
    """What is searched for when nothing was asked: size, speed (MACs without a table) and quality if there is one."""
    speed = [Objective("latency", name) for name in tables] or [Objective("macs")]
    return (Objective("params"), *speed, *([Objective("quality")] if with_quality else []))


def distinct(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives, refused when one is given twice.

    Raises:
        SearchError: an objective is repeated.
    """
    for i, objective in enumerate(objectives):
        if objective in objectives[:i]:
            raise SearchError("the same objective twice", where="--objective", got=objective.name)
    return tuple(objectives)


def violation(value: float | None, bound: float) -> float:
    """How far a value is above its bound, as a fraction of the bound; <= 0 is met, NaN counts as not met."""
    if value is None or math.isnan(value):
        return math.inf
    return (value - bound) / bound


def check_reachable(
    constraints: Sequence[Constraint], ranges: Mapping[str, Range], baseline: Mapping[str, float | None]
) -> None:
    """Refuse limits below what any architecture of the space reaches.

    Raises:
        SearchError: names the constraint and the nearest value that can be reached.
    """
    for constraint in constraints:
        known = ranges.get(constraint.objective.name)
        bound = constraint.bound(baseline)
        if known is not None and bound < known.low:
            show = constraint.objective.show
            share = ""
            base = baseline.get(constraint.objective.name)
            if constraint.relative and base:
                share = f" ({math.ceil(known.low / base * 1000) / 10:g}% of the baseline's {show(base)})"
            raise SearchError(
                "no architecture of the space meets this constraint", where=constraint.text, got=show(bound),
                allowed=f"at least {show(known.low)}{share}; over the space: median {show(known.median)}, "
                f"largest {show(known.high)}",
            )  # fmt: skip
