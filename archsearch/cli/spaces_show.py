"""What ``archsearch spaces`` prints: a space in words, tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from archsearch.amounts import scaled
from archsearch.arch import UNet, load_preset, preset_names
from archsearch.cli.columns import TableText
from archsearch.cost import Conditions, Score, Scorer
from archsearch.latency.table import LatencyTable
from archsearch.space import Decision, Space, Statistics
from archsearch.space.decisions import Condition, choice_text

LABELS = {
    "params": ("parameters", ""),
    "macs": ("MACs", ""),
    "macs_without_attention": ("MACs without attention products", ""),
    "weight_bytes": ("weights", "B"),
    "peak_activation_bytes": ("peak activation memory", "B"),
}


@dataclass(frozen=True)
class Described:
    """Everything that ``spaces show`` tells, computed once."""

    space: Space
    conditions: Conditions
    tables: Mapping[str, LatencyTable]
    statistics: Mapping[str, Statistics]
    baseline: Mapping[str, float]
    operators: int
    measured: Mapping[str, int]
    members: tuple[str, ...]
    seed: int


def describe(
    space: Space, conditions: Conditions, tables: Mapping[str, LatencyTable], samples: int, seed: int
) -> Described:
    """Compute what is told of a space."""
    operators = space.distinct_ops(conditions)
    score = Scorer(conditions, tuple(tables.values())).score(space.decode(space.defaults()))
    return Described(
        space,
        conditions,
        tables,
        space.statistics(conditions, tables, samples, seed),
        _by_name(score, list(tables)),
        len(operators),
        {name: sum(key in table.rows for key in operators) for name, table in tables.items()},
        members(space),
        seed,
    )


def members(space: Space) -> tuple[str, ...]:
    """The presets that a space contains."""
    presets = {name: load_preset(name).architecture for name in preset_names()}
    return tuple(name for name, arch in presets.items() if isinstance(arch, UNet) and arch in space)


def _by_name(score: Score, tables: Sequence[str]) -> dict[str, float]:
    values: dict[str, float] = {name: getattr(score, name) for name in LABELS}
    return values | {f"latency:{name}": ms for name, ms in zip(tables, score.latency_ms, strict=True)}


def list_table(spaces: Sequence[Space]) -> TableText:
    """One row a space."""
    rows = [
        (
            space.name,
            f"{space.size():,}",
            str(len(space.decisions)),
            f"{space.conditions.latent[0]}x{space.conditions.latent[1]}, {space.conditions.text} tokens",
            space.title,
        )
        for space in spaces
    ]
    return TableText(("space", "candidates", "decisions", "latent", "title"), tuple(rows), numeric=frozenset({1, 2}))


def list_json(spaces: Sequence[Space]) -> dict[str, Any]:
    """``archsearch.spaces.list/1``."""
    entries = [
        {"name": s.name, "title": s.title, "candidates": s.size(), "decisions": len(s.decisions),
         "conditions": _conditions_json(s.conditions), "file": str(s.path)}
        for s in spaces
    ]  # fmt: skip
    return {"schema": "archsearch.spaces.list/1", "spaces": entries}


def show_text(described: Described, markdown: bool = False) -> str:
    """The whole description for people."""
    space, conditions = described.space, described.conditions
    title = f"{space.name}: {space.title}"
    parts = [f"## {title}" if markdown else title]
    if space.description:
        parts.append(space.description if markdown else "\n".join(wrap(space.description, 110)))
    latent = f"latent {conditions.latent[0]}x{conditions.latent[1]}"
    parts.append(
        f"{space.size():,} candidates{_power(space.size())}, {described.operators} distinct operators at {latent}, "
        f"{conditions.text} text tokens, batch {conditions.batch}, {conditions.passes} "
        f"{'pass' if conditions.passes == 1 else 'passes'}, {conditions.precision}."
    )
    for name, measured in described.measured.items():
        parts.append(
            f"Table {name} ({_basis(described.tables[name])}) has rows for {measured} of the {described.operators} "
            "operators; others are modelled."
        )
    parts.append(f"Presets in it: {', '.join(described.members) or 'none'}.")
    tables = [_decision_table(space), *([_rule_table(space)] if space.rules else []), _cost_table(described)]
    parts += [(table.markdown() if markdown else table.text()).rstrip("\n") for table in tables]
    return "\n\n".join(parts) + "\n"


def _decision_table(space: Space) -> TableText:
    rows = [
        (decision.name, _choices(decision), choice_text(decision.choices[decision.default]),
         condition_text(decision.condition, space.decisions), decision.help)
        for decision in space.decisions
    ]  # fmt: skip
    return TableText(("decision", "choices", "default", "only when", "about"), tuple(rows), title="Decisions")


def _choices(decision: Decision) -> str:
    return ", ".join(map(choice_text, decision.choices))


def condition_text(condition: Condition, decisions: Sequence[Decision]) -> str:
    """``a = 1 and b in (x, y), or c = 2``."""
    alternatives = []
    for alternative in condition.alternatives:
        terms = []
        for d, allowed in alternative:
            names = [choice_text(decisions[d].choices[i]) for i in sorted(allowed)]
            terms.append(
                f"{decisions[d].name} {'= ' + names[0] if len(names) == 1 else 'in (' + ', '.join(names) + ')'}"
            )
        alternatives.append(" and ".join(terms))
    return ", or ".join(alternatives)


def _rule_table(space: Space) -> TableText:
    rows = [(condition_text(rule.forbidden, space.decisions), rule.reason) for rule in space.rules]
    return TableText(("forbidden", "because"), tuple(rows), title="Rules")


def _cost_table(described: Described) -> TableText:
    rows = []
    for name, found in described.statistics.items():
        label, unit = LABELS.get(name, (name.replace("latency:", "latency on "), "ms"))
        cells = [_value(v, unit) for v in (found.low, found.median, found.high, described.baseline[name])]
        rows.append((label, *cells))
    samples = next(iter(described.statistics.values())).samples
    title = f"Costs (exact; the median of {samples:,} uniform draws, seed {described.seed})"
    header = ("cost", "least", "median", "largest", "baseline")
    return TableText(header, tuple(rows), numeric=frozenset({1, 2, 3, 4}), title=title)


def _value(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{value:.3f} ms"
    text = scaled(value)
    return f"{text}{unit}" if text[-1].isalpha() else f"{text} {unit}".rstrip()


def _basis(table: LatencyTable) -> str:
    return {"measured": "measured", "modelled": "modelled, not measured"}.get(table.provenance, "partly modelled")


def _power(size: int) -> str:
    digits = len(str(size)) - 1
    return f" ({size / 10**digits:.2f}e{digits})" if digits >= 6 else ""


def show_json(described: Described) -> dict[str, Any]:
    """``archsearch.spaces.show/1``."""
    space = described.space
    return {
        "schema": "archsearch.spaces.show/1",
        "name": space.name,
        "title": space.title,
        "description": space.description,
        "file": str(space.path),
        "candidates": space.size(),
        "conditions": _conditions_json(described.conditions),
        "distinct_operators": described.operators,
        "operators_in_tables": dict(described.measured),
        "members": list(described.members),
        "decisions": [
            {"name": d.name, "choices": list(d.choices), "default": d.choices[d.default], "help": d.help,
             "when": condition_text(d.condition, space.decisions) or None}
            for d in space.decisions
        ],
        "rules": [
            {"forbid": condition_text(rule.forbidden, space.decisions), "because": rule.reason} for rule in space.rules
        ],
        "costs": {
            name: {"min": found.low, "median": found.median, "max": found.high,
                   "baseline": described.baseline[name], "median_samples": found.samples, "seed": described.seed}
            for name, found in described.statistics.items()
        },
    }  # fmt: skip


def _conditions_json(conditions: Conditions) -> dict[str, Any]:
    return {"latent": list(conditions.latent), "text": conditions.text, "batch": conditions.batch,
            "passes": conditions.passes, "precision": conditions.precision}  # fmt: skip
