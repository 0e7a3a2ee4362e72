"""The presets beside their published figures, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archsearch.arch import Preset, Published, arch_id
from archsearch.cli.columns import TableText
from archsearch.cost import Conditions, Totals, count

UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_STANDING = {"seen": 0, "computed": 1, "recalled": 2}


def absolute(figure: Published) -> float | None:
    """A published count without its unit; None for what is no count (latencies, percentages)."""
    return figure.value * UNITS[figure.unit] if figure.unit in UNITS else None


def ours(figure: Published, totals: Totals) -> int | None:
    """Our count of a published quantity; None where we count no such thing."""
    counts = {"params": totals.params, "macs": totals.macs, "macs_without_attention": totals.macs_without_attention}
    return counts.get(figure.quantity)


def difference(figure: Published, totals: Totals) -> float | None:
    """(ours - published) / published."""
    value, own = absolute(figure), ours(figure, totals)
    return None if not value or own is None else own / value - 1


def best(preset: Preset, *quantities: str) -> Published | None:
    """The figure to compare with: seen before computed before recalled, then in the order of the file."""
    found = [figure for figure in preset.published if figure.quantity in quantities]
    return min(found, key=lambda figure: _STANDING[figure.status], default=None)


def difference_text(figure: Published | None, totals: Totals) -> str:
    """``0``, ``+1.1 %``."""
    share = None if figure is None else difference(figure, totals)
    if share is None:
        return ""
    return "0" if share == 0 else f"{share * 100:+.2f} %" if abs(share) < 0.001 else f"{share * 100:+.1f} %"


def figure_text(figure: Published) -> str:
    """A published figure as it was published: ``386 M``, ``859,520,964``."""
    if figure.unit:
        return f"{figure.value:g} {figure.unit}"
    return f"{figure.value:,.0f}" if figure.value == int(figure.value) else f"{figure.value:g}"


def list_table(presets: Sequence[Preset]) -> TableText:
    """One row a preset."""
    rows = []
    for preset in presets:
        totals = count(preset.architecture, Conditions(latent=preset.latent))
        params, macs = best(preset, "params"), best(preset, "macs", "macs_without_attention")
        thop = macs is not None and macs.quantity == "macs_without_attention"
        value = None if macs is None else absolute(macs)
        rows.append(
            (
                preset.name,
                "exact" if preset.exact else "approximate",
                f"{totals.params / 1e6:,.2f}",
                "" if params is None else _millions(params),
                difference_text(params, totals),
                "" if params is None else params.status,
                f"{totals.macs / 1e9:,.2f}",
                f"{totals.macs_without_attention / 1e9:,.2f}",
                "" if value is None else f"{value / 1e9:,.2f}{' w/o' if thop else ''}",
                difference_text(macs, totals),
                "" if macs is None else macs.status,
            )
        )
    header = ("preset", "", "params M", "published", "diff", "", "MACs G", "w/o attention", "published", "diff", "")
    numeric = frozenset({2, 3, 4, 6, 7, 8, 9})
    sizes = sorted({f"{p.latent[0]}x{p.latent[1]}" for p in presets})
    return TableText(
        header, tuple(rows), numeric=numeric, title=f"Presets, latent {', '.join(sizes)}, batch 1, one pass"
    )


def _millions(figure: Published) -> str:
    value = absolute(figure)
    return "" if value is None else f"{value / 1e6:,.2f}" if figure.unit == "" else f"{value / 1e6:,.4g}"


def published_json(preset: Preset, totals: Totals) -> list[dict[str, Any]]:
    """Every published figure with our count beside it where we have one."""
    return [
        {
            "quantity": figure.quantity,
            "value": figure.value,
            "unit": figure.unit,
            "absolute": absolute(figure),
            "status": figure.status,
            "source": figure.source,
            "conditions": figure.conditions,
            "ours": ours(figure, totals),
            "difference": difference(figure, totals),
        }
        for figure in preset.published
    ]


def preset_json(preset: Preset, conditions: Conditions) -> dict[str, Any]:
    """Identity, counts and published figures of a preset."""
    totals = count(preset.architecture, conditions)
    return {
        "name": preset.name,
        "title": preset.title,
        "kind": preset.architecture.kind,
        "exact": preset.exact,
        "arch_id": arch_id(preset.architecture),
        "conditions": {"latent": list(conditions.latent), "text": conditions.text, "batch": conditions.batch,
                       "passes": conditions.passes},
        "totals": {
            "params": totals.params,
            "macs": totals.macs,
            "macs_without_attention": totals.macs_without_attention,
            "weight_bytes": totals.weight_bytes,
            "peak_activation_bytes": totals.peak_activation_bytes,
        },
        "published": published_json(preset, totals),
        "notes": preset.notes,
    }  # fmt: skip


def list_json(presets: Sequence[Preset]) -> dict[str, Any]:
    """``archsearch.archs.list/1``."""
    entries = [preset_json(preset, Conditions(latent=preset.latent)) for preset in presets]
    return {"schema": "archsearch.archs.list/1", "archs": entries}
