"""Finite functions of decisions: every value of a space that depends on choices is a small table over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from archsearch.errors import SpaceError
from archsearch.space.source import Where

Ids: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
MAX_ENTRIES = 1 << 20


class Undefined:
    """The value where no case of a switch applies; an error only where a present block needs it."""

    def __init__(self, where: str, got: str) -> None:
        self.where, self.got = where, got


@dataclass(frozen=True, eq=False)
class Table:
    """A function of the decisions in ``scope`` (ascending): ``values[ids[choice of each]]``."""

    scope: tuple[int, ...]
    ids: Ids
    values: tuple[Any, ...]

    def at(self, encoding: Sequence[int]) -> Any:
        """The value under a full assignment of choices."""
        return self.values[int(self.ids[tuple(encoding[d] for d in self.scope)])]

    def over(self, scope: tuple[int, ...]) -> Ids:
        """The ids as a view that broadcasts over a larger scope."""
        shape = [self.ids.shape[self.scope.index(d)] if d in self.scope else 1 for d in scope]
        return self.ids.reshape(shape)


def constant(value: Any) -> Table:
    """The same value under every assignment."""
    return Table((), np.zeros((), dtype=np.int64), (value,))


class Tables:
    """Builds tables over decisions with the given numbers of choices."""

    def __init__(self, radices: Sequence[int], names: Sequence[str]) -> None:
        self.radices = tuple(radices)
        self.names = tuple(names)

    def decision(self, index: int, choices: Sequence[Any]) -> Table:
        """The choice of one decision."""
        return Table((index,), np.arange(len(choices), dtype=np.int64), tuple(choices))

    def combine(self, function: Callable[..., Any], tables: Sequence[Table], where: Where) -> Table:
        """``function`` of the tables' values, computed once for every distinct combination.

        Raises:
            SpaceError: too many decisions meet in one value.
        """
        scope = tuple(sorted({d for table in tables for d in table.scope}))
        if not scope:
            return constant(_apply(function, [table.values[int(table.ids)] for table in tables]))
        shape = self._shape(scope, where)
        joint: Ids = np.zeros(shape, dtype=np.int64)
        span = 1
        for table in tables:
            if span * len(table.values) >= 1 << 62:
                joint = np.unique(joint, return_inverse=True)[1].reshape(shape)
                span = int(joint.max()) + 1
            joint = joint * len(table.values) + table.over(scope)
            span *= len(table.values)
        _, first, inverse = np.unique(joint, return_index=True, return_inverse=True)
        position = np.unravel_index(first, shape)
        columns = [np.broadcast_to(table.over(scope), shape)[position] for table in tables]
        known: dict[Any, int] = {}
        values: list[Any] = []
        ids = np.empty(len(first), dtype=np.int64)
        for i in range(len(first)):
            value = _apply(function, [t.values[column[i]] for t, column in zip(tables, columns, strict=True)])
            ids[i] = _intern(value, known, values)
        return Table(scope, ids[inverse].reshape(shape), tuple(values))

    def switch(self, selector: Table, cases: Mapping[int, Table], otherwise: Table | None, where: Where) -> Table:
        """The case of the selector's value (by its index in ``selector.values``), else ``otherwise``."""
        used = [*cases.values(), *([otherwise] if otherwise else [])]
        scope = tuple(sorted({*selector.scope, *(d for table in used for d in table.scope)}))
        shape = self._shape(scope, where)
        known: dict[Any, int] = {}
        values: list[Any] = []
        chosen = np.broadcast_to(selector.over(scope), shape)
        ids = np.empty(shape, dtype=np.int64)
        for index, value in enumerate(selector.values):
            case = cases.get(index, otherwise)
            if case is None:
                case = constant(Undefined(where(), str(value)))
            lookup = np.array([_intern(item, known, values) for item in case.values], dtype=np.int64)
            mask = chosen == index
            ids[mask] = lookup[np.broadcast_to(case.over(scope), shape)[mask]]
        return Table(scope, ids, tuple(values))

    def _shape(self, scope: tuple[int, ...], where: Where) -> tuple[int, ...]:
        shape = tuple(self.radices[d] for d in scope)
        if prod(shape) > MAX_ENTRIES:
            raise SpaceError(
                f"too many decisions meet here ({', '.join(self.names[d] for d in scope)})",
                where=where(),
                got=f"{prod(shape)} combinations",
                allowed=f"<= {MAX_ENTRIES}",
                next_step="let one decision stand for several, or give them fewer choices",
            )
        return shape


def _apply(function: Callable[..., Any], values: list[Any]) -> Any:
    for value in values:
        if isinstance(value, Undefined):
            return value
    return function(*values)


def _intern(value: Any, known: dict[Any, int], values: list[Any]) -> int:
    try:
        key = (type(value), value)
        found = known.get(key)
    except TypeError:  # mappings and lists on the way to a block
        values.append(value)
        return len(values) - 1
    if found is None:
        found = known[key] = len(values)
        values.append(value)
    return found
