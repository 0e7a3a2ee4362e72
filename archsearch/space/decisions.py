"""Decisions, when they apply, and the combinations that rules forbid."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from archsearch.errors import unknown_name
from archsearch.files import KeyPath, type_name
from archsearch.space.source import Source

Choice: TypeAlias = "bool | int | float | str | None"
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
MAX_DECISIONS = 200
MAX_CHOICES = 64


@dataclass(frozen=True, slots=True)
class Condition:
    """Alternatives, each a conjunction of (decision, allowed choices), both by index.  No alternative: always."""

    alternatives: tuple[tuple[tuple[int, frozenset[int]], ...], ...] = ()

    @property
    def scope(self) -> tuple[int, ...]:
        """The decisions it looks at."""
        return tuple(sorted({d for alternative in self.alternatives for d, _ in alternative}))

    def holds(self, encoding: Sequence[int]) -> bool:
        """Whether it holds under a full assignment."""
        return not self.alternatives or any(all(encoding[d] in allowed for d, allowed in a) for a in self.alternatives)


@dataclass(frozen=True, slots=True)
class Decision:
    """A named choice.  Where ``condition`` does not hold it is without effect and takes its default (an index)."""

    name: str
    choices: tuple[Choice, ...]
    default: int
    help: str = ""
    condition: Condition = Condition()

    def index(self, choice: Choice) -> int:
        """The index of a choice, or -1 (``1``, ``1.0`` and ``true`` are three different choices)."""
        return next((i for i, c in enumerate(self.choices) if type(c) is type(choice) and c == choice), -1)


@dataclass(frozen=True, slots=True)
class Rule:
    """A forbidden combination and the reason."""

    forbidden: Condition
    reason: str
    path: KeyPath


def choice_text(choice: Choice) -> str:
    """A choice as it is written in YAML; the keys of ``cases`` are compared with it."""
    if choice is None:
        return "null"
    if isinstance(choice, bool):
        return "true" if choice else "false"
    return str(choice)


def read_decisions(source: Source, data: Any, path: KeyPath) -> tuple[Decision, ...]:
    """Read the ``decisions`` of a space.

    Raises:
        SpaceError: names file, line and key.
    """
    items = source.mapping(data, path)
    if not items:
        raise source.error("a space needs at least one decision", path)
    if len(items) > MAX_DECISIONS:
        raise source.error("too many decisions", path, len(items), f"<= {MAX_DECISIONS}")
    plain = {name: _read_decision(source, name, item, (*path, name)) for name, item in items.items()}
    result = []
    for name, item in items.items():
        condition = Condition()
        if "when" in item:
            condition = read_condition(source, item["when"], plain, (*path, name, "when"))
        decision = plain[name]
        result.append(Decision(name, decision.choices, decision.default, decision.help, condition))
    _check_order(source, result, path)
    return tuple(result)


def _read_decision(source: Source, name: str, data: Any, path: KeyPath) -> Decision:
    if not NAME.fullmatch(name):
        raise source.error("not a name", path, name, "lower-case letters, digits and _, at most 64")
    item = source.mapping(data, path, ("choices", "range", "default", "help", "when"))
    if ("choices" in item) == ("range" in item):
        raise source.error("a decision has either choices or a range", path, ", ".join(item) or "nothing")
    if "choices" in item:
        choices = _choices(source, item["choices"], (*path, "choices"))
    else:
        choices = _range(source, item["range"], (*path, "range"))
    text = " ".join(source.text(item.get("help", ""), (*path, "help")).split())
    decision = Decision(name, choices, 0, text)
    if "default" not in item:
        return decision
    default = decision.index(item["default"]) if not isinstance(item["default"], (dict, list)) else -1
    if default < 0:
        allowed = ", ".join(map(choice_text, choices))
        raise source.error("the default must be one of the choices", (*path, "default"), item["default"], allowed)
    return Decision(name, choices, default, text)


def _choices(source: Source, data: Any, path: KeyPath) -> tuple[Choice, ...]:
    choices = source.sequence(data, path, MAX_CHOICES)
    if not choices:
        raise source.error("a decision needs at least one choice", path)
    seen: dict[str, int] = {}
    for i, choice in enumerate(choices):
        if isinstance(choice, (dict, list)):
            raise source.error("a choice is a number, a word, true, false or null", (*path, i), type_name(choice))
        if isinstance(choice, float) and not math.isfinite(choice):
            raise source.error("a choice must be finite", (*path, i), choice)
        if choice_text(choice) in seen:
            raise source.error("the same choice twice", (*path, i), choice_text(choice))
        seen[choice_text(choice)] = i
    return tuple(choices)


def _range(source: Source, data: Any, path: KeyPath) -> tuple[Choice, ...]:
    ends = source.sequence(data, path)
    whole = all(isinstance(end, int) and not isinstance(end, bool) for end in ends)
    if not whole or len(ends) not in (2, 3) or (len(ends) == 3 and ends[2] < 1) or ends[0] > ends[1]:
        raise source.error("a range is [low, high] or [low, high, step] of whole numbers", path, data,
                           "low <= high, step >= 1")  # fmt: skip
    values = range(ends[0], ends[1] + 1, ends[2] if len(ends) == 3 else 1)
    if len(values) > MAX_CHOICES:
        raise source.error("too many choices", path, len(values), f"<= {MAX_CHOICES}")
    return tuple(values)


def read_condition(source: Source, data: Any, decisions: Mapping[str, Decision], path: KeyPath) -> Condition:
    """``{decision: choice or [choices], ...}``: all of them; a list of such mappings: any of them.

    Raises:
        SpaceError: an unknown decision or choice.
    """
    if isinstance(data, list):
        parts = [read_condition(source, item, decisions, (*path, i)) for i, item in enumerate(data)]
        if not parts:
            raise source.error("a condition must not be empty", path)
        return Condition(tuple(alternative for part in parts for alternative in part.alternatives))
    items = source.mapping(data, path)
    if not items:
        raise source.error("a condition must not be empty", path)
    order = {name: i for i, name in enumerate(decisions)}
    terms = []
    for name, wanted in items.items():
        if name not in decisions:
            raise source.error(unknown_name("decision", name, decisions), (*path, name))
        terms.append((order[name], _wanted(source, decisions[name], wanted, (*path, name))))
    return Condition((tuple(terms),))


def _wanted(source: Source, decision: Decision, data: Any, path: KeyPath) -> frozenset[int]:
    result = set()
    for choice in data if isinstance(data, list) else [data]:
        index = -1 if isinstance(choice, (dict, list)) else decision.index(choice)
        if index < 0:
            allowed = ", ".join(map(choice_text, decision.choices))
            raise source.error(f"not a choice of {decision.name}", path, choice, allowed)
        result.add(index)
    if not result:
        raise source.error("a condition must not be empty", path)
    return frozenset(result)


def _check_order(source: Source, decisions: Sequence[Decision], path: KeyPath) -> None:
    """Conditions must not run in circles."""
    done: set[int] = set()
    left = set(range(len(decisions)))
    while left:
        ready = {i for i in left if done.issuperset(decisions[i].condition.scope)}
        if not ready:
            names = ", ".join(decisions[i].name for i in sorted(left))
            raise source.error("conditions run in a circle", path, names)
        done |= ready
        left -= ready


def read_rules(source: Source, data: Any, decisions: Sequence[Decision], path: KeyPath) -> tuple[Rule, ...]:
    """Read the ``rules`` of a space: ``{forbid: {decision: choices, ...}, because: text}``.

    Raises:
        SpaceError: names file, line and key.
    """
    by_name = {decision.name: decision for decision in decisions}
    rules = []
    for i, item in enumerate(source.sequence(data, path)):
        here = (*path, i)
        rule = source.mapping(item, here, ("forbid", "because"))
        for key in ("forbid", "because"):
            if key not in rule:
                raise source.error("a rule says what it forbids and why", here, f"no {key}")
        reason = " ".join(source.text(rule["because"], (*here, "because")).split())
        rules.append(Rule(read_condition(source, rule["forbid"], by_name, (*here, "forbid")), reason, here))
    return tuple(rules)
