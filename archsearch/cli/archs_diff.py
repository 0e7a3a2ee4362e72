"""The difference of two networks with its price: every change with its share of parameters and MACs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archsearch.amounts import apportioned
from archsearch.arch import Change, Preset, arch_id, diff
from archsearch.cli.columns import TableText
from archsearch.cost import Conditions, Totals, lower
from archsearch.cost.count import totals
from archsearch.cost.lowering import Lowering


@dataclass(frozen=True)
class PricedChange:
    """A change with what it adds to (or takes from) the totals."""

    change: Change
    params: int
    macs: int


@dataclass(frozen=True)
class PricedDiff:
    """All changes; their shares add up to the difference of the totals."""

    names: tuple[str, str]
    ids: tuple[str, str]
    conditions: Conditions
    before: Totals
    after: Totals
    changes: tuple[PricedChange, ...]


def priced_diff(a: Preset, b: Preset, conditions: Conditions) -> PricedDiff:
    """Compare two networks under the same conditions.

    Raises:
        ArchError: two kinds of network.
    """
    found = diff(a.architecture, b.architecture)
    one, other = lower(a.architecture, conditions), lower(b.architecture, conditions)
    params = found.shares(_costs(one, "params"), _costs(other, "params"))
    macs = found.shares(_costs(one, "macs"), _costs(other, "macs"))
    before, after = totals(one), totals(other)
    assert sum(params) == after.params - before.params
    assert sum(macs) * conditions.passes == after.macs - before.macs
    return PricedDiff(
        (a.name, b.name),
        (arch_id(a.architecture), arch_id(b.architecture)),
        conditions,
        before,
        after,
        tuple(PricedChange(*entry) for entry in zip(found.changes, params, macs, strict=True)),
    )


def _costs(lowering: Lowering, name: str) -> list[int]:
    return [sum(getattr(traced.op, name) for traced in piece.trace.ops) for piece in lowering.pieces]


def diff_text(priced: PricedDiff, *, markdown: bool = False) -> str:
    """Words first, then the table, then the totals."""
    a, b = priced.names
    height, width = priced.conditions.latent
    lines = [f"From {a} to {b} (latent {height}x{width}, {priced.conditions.text} tokens, batch 1, one pass):", ""]
    if not priced.changes:
        same = "the same network" if priced.ids[0] == priced.ids[1] else "no difference that costs anything"
        return "\n".join([*lines, f"{same}\n"])
    for action in ("removed", "added", "changed"):
        told = _words([entry.change for entry in priced.changes if entry.change.action == action])
        if told:
            lines += [f"{action}:", *(f"  {line}" for line in told), ""]
    table = _table(priced)
    return (
        "\n".join([*lines, (table.markdown() if markdown else table.text()).rstrip("\n"), "", *_totals_lines(priced)])
        + "\n"
    )


def _words(changes: list[Change]) -> list[str]:
    """One line a change; what happened alike in many places is told once."""
    places: dict[str, list[str]] = {}
    for change in changes:
        places.setdefault(change.what, []).append(change.where)
    lines = []
    for what, where in places.items():
        lines += [f"{'; '.join(where)}: {what}"] if len(where) > 5 else [f"{place}: {what}" for place in where]
    return lines


def _table(priced: PricedDiff) -> TableText:
    params_size, params_unit = (1e6, "M") if priced.before.params >= 1e8 else (1e3, "K")
    macs_size, macs_unit = (1e9, "G") if priced.before.macs >= 1e10 else (1e6, "M")
    params = apportioned([entry.params / params_size for entry in priced.changes], 3)
    macs = apportioned([entry.macs / macs_size for entry in priced.changes], 3)
    rows = tuple(
        (entry.change.action, entry.change.where, entry.change.what, _signed(p), _signed(m))
        for entry, p, m in zip(priced.changes, params, macs, strict=True)
    )
    total_params = (priced.after.params - priced.before.params) / params_size
    total_macs = (priced.after.macs - priced.before.macs) / macs_size
    total = ("", "", "total", _signed(apportioned([total_params], 3)[0]), _signed(apportioned([total_macs], 3)[0]))
    header = ("change", "where", "what", f"params {params_unit}", f"MACs {macs_unit}")
    return TableText(header, rows, total, numeric=frozenset({3, 4}))


def _signed(text: str) -> str:
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def _totals_lines(priced: PricedDiff) -> list[str]:
    before, after = priced.before, priced.after
    lines = []
    for label, one, other in (
        ("parameters", before.params, after.params),
        ("MACs", before.macs, after.macs),
        ("without attention", before.macs_without_attention, after.macs_without_attention),
        ("peak activation bytes", before.peak_activation_bytes, after.peak_activation_bytes),
    ):
        lines.append(f"{label:<22}{one:>18,} -> {other:>18,}  {100 * (other / one - 1):+.1f} %")
    return lines


def diff_json(priced: PricedDiff) -> dict[str, Any]:
    """``archsearch.archs.diff/1``."""

    def side(name: str, id_: str, counted: Totals) -> dict[str, Any]:
        return {"name": name, "arch_id": id_, "totals": counted._asdict()}

    return {
        "schema": "archsearch.archs.diff/1",
        "conditions": {"latent": list(priced.conditions.latent), "text": priced.conditions.text,
                       "batch": priced.conditions.batch, "passes": priced.conditions.passes},
        "a": side(priced.names[0], priced.ids[0], priced.before),
        "b": side(priced.names[1], priced.ids[1], priced.after),
        "params": priced.after.params - priced.before.params,
        "macs": priced.after.macs - priced.before.macs,
        "changes": [
            {"action": entry.change.action, "where": entry.change.where, "what": entry.change.what,
             "params": entry.params, "macs": entry.macs}
            for entry in priced.changes
        ],
    }  # fmt: skip
