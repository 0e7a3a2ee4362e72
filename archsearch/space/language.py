"""The few expressions of a space file, compiled to tables over decisions.  Nothing is ever evaluated as code.

* a plain value is itself;
* ``$name`` is a decision's choice or a name that ``let`` or ``with`` gave;
* ``{switch: $name, cases: {choice: value, ...}, else: value}`` picks by a choice;
* mappings and lists hold expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from archsearch.errors import unknown_name
from archsearch.files import KeyPath
from archsearch.space.decisions import NAME, Decision, choice_text
from archsearch.space.source import Source
from archsearch.space.tables import Table, Tables, Undefined, constant

Env: TypeAlias = Mapping[str, Table]
_SCALARS = (bool, int, float, str, type(None))


class Language:
    """Compiles expressions in an environment of names."""

    def __init__(self, source: Source, decisions: tuple[Decision, ...]) -> None:
        self.source = source
        self.tables = Tables([len(d.choices) for d in decisions], [d.name for d in decisions])
        self.decisions: Env = {d.name: self.tables.decision(i, d.choices) for i, d in enumerate(decisions)}

    def value(self, node: Any, env: Env, path: KeyPath) -> Table:
        """The table of an expression.

        Raises:
            SpaceError: an unknown name, a case that can never be chosen, too many decisions in one value.
        """
        if isinstance(node, str) and node.startswith("$"):
            return self._reference(node[1:], env, path)
        if isinstance(node, dict):
            if "switch" in node:
                return self._switch(node, env, path)
            keys = list(node)
            items = [self.value(node[key], env, (*path, key)) for key in keys]
            return self.tables.combine(
                lambda *values: dict(zip(keys, values, strict=True)), items, self.source.where(path)
            )
        if isinstance(node, list):
            items = [self.value(item, env, (*path, i)) for i, item in enumerate(node)]
            return self.tables.combine(lambda *values: list(values), items, self.source.where(path))
        return constant(node)

    def let(self, node: Any, env: Env, path: KeyPath) -> Env:
        """``env`` with the names of a ``let`` or ``with`` added; later ones may use earlier ones."""
        result = dict(env)
        for name, expression in self.source.mapping(node, path).items():
            if not NAME.fullmatch(name):
                raise self.source.error("not a name", (*path, name), name, "lower-case letters, digits and _")
            if name in self.decisions:
                raise self.source.error("this name is taken by a decision", (*path, name), name)
            result[name] = self.value(expression, result, (*path, name))
        return result

    def condition(self, node: Any, env: Env, path: KeyPath) -> Table:
        """The truth of ``{name: value or [values], ...}`` (all of them) or of a list of such (any of them)."""
        where = self.source.where(path)
        if isinstance(node, list):
            parts = [self.condition(item, env, (*path, i)) for i, item in enumerate(node)]
            if not parts:
                raise self.source.error("a condition must not be empty", path)
            return self.tables.combine(lambda *truths: any(truths), parts, where)
        items = self.source.mapping(node, path)
        if not items:
            raise self.source.error("a condition must not be empty", path)
        terms = []
        for name, wanted in items.items():
            table = self.total(self._reference(name, env, (*path, name)), (*path, name))
            allowed = self._allowed(table, name, wanted, (*path, name))
            terms.append(self.tables.combine(lambda value, keys=allowed: _key(value) in keys, [table], where))
        return self.tables.combine(lambda *truths: all(truths), terms, where)

    def scalar(self, node: Any, env: Env, path: KeyPath) -> Table:
        """As :meth:`value`, for scalars only, with a case for every choice."""
        table = self.total(self.value(node, env, path), path)
        if any(isinstance(value, (dict, list)) for value in table.values):
            raise self.source.error("must be a single value", path, "a mapping or a list")
        return table

    def total(self, table: Table, path: KeyPath) -> Table:
        """``table``, refused where some choice has no case."""
        for value in reachable(table):
            if isinstance(value, Undefined):
                raise self.source.error(f"no case for this choice (switch at {value.where})", path, value.got)
        return table

    def _reference(self, name: str, env: Env, path: KeyPath) -> Table:
        found = env.get(name)
        if found is None:
            raise self.source.error(unknown_name("name", name, env), path)
        return found

    def _switch(self, node: Mapping[str, Any], env: Env, path: KeyPath) -> Table:
        self.source.mapping(node, path, ("switch", "cases", "else"))
        if not isinstance(node["switch"], str) or not node["switch"].startswith("$"):
            raise self.source.error("a switch picks by a name", (*path, "switch"), node["switch"], "$name")
        selector = self.scalar(node["switch"], env, (*path, "switch"))
        texts = {choice_text(value): i for i, value in enumerate(selector.values) if isinstance(value, _SCALARS)}
        cases = {}
        for text, item in self.source.mapping(node.get("cases"), (*path, "cases")).items():
            if text not in texts:
                if path[0] == "templates" and node["switch"][1:] not in self.decisions:
                    continue  # another use of the template may choose it
                raise self.source.error("this case can never be chosen", (*path, "cases", text), text,
                                        ", ".join(texts))  # fmt: skip
            cases[texts[text]] = self.value(item, env, (*path, "cases", text))
        otherwise = self.value(node["else"], env, (*path, "else")) if "else" in node else None
        return self.tables.switch(selector, cases, otherwise, self.source.where(path))

    def _allowed(self, table: Table, name: str, data: Any, path: KeyPath) -> frozenset[tuple[type, Any]]:
        wanted = data if isinstance(data, list) else [data]
        possible = {_key(value) for value in table.values if isinstance(value, _SCALARS)}
        for value in wanted:
            if not isinstance(value, _SCALARS) or _key(value) not in possible:
                allowed = ", ".join(choice_text(v) for v in table.values if isinstance(v, _SCALARS))
                raise self.source.error(f"{name} never has this value", path, value, allowed)
        if not wanted:
            raise self.source.error("a condition must not be empty", path)
        return frozenset(map(_key, wanted))


def _key(value: Any) -> tuple[type, Any]:
    return (type(value), value)


def reachable(table: Table) -> list[Any]:
    """The values that some assignment gives, in order of their ids."""
    return [table.values[int(i)] for i in np.unique(table.ids)]
