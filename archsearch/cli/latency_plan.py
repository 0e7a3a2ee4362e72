"""``archsearch latency plan``: what a table for some spaces and architectures needs, and how long measuring takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.options import Latent, Text
from archsearch.cli.workloads import Grain

if TYPE_CHECKING:
    from archsearch.cost.block import Workload
    from archsearch.cost.trace import Trace
    from archsearch.latency.plan import Plan, Source, UnitPlan
    from archsearch.latency.table import LatencyTable

EPILOG = """Examples:

  archsearch latency plan demo

  archsearch latency plan mobilediffusion --table host-xnnpack-fp32 --ops

  archsearch latency plan sd15 snapfusion --grain op --latent 32x32 --json

A name that is both a space and a preset means the space; arch:NAME means the preset. Counts of candidates are exact
(--json prints them as whole numbers, of any size).
"""


def plan(
    refs: Annotated[list[str], typer.Argument(metavar="SPACE|ARCH...", help="Spaces and architectures.")],
    table: Annotated[
        str | None, typer.Option("--table", "-t", metavar="T", help="What this table already holds.")
    ] = None,
    ops: Annotated[
        bool, typer.Option("--ops", help="Every operator and block, with the share of candidates that run it.")
    ] = False,
    grain: Annotated[Grain, typer.Option("--grain", help="Operators, blocks, or both.")] = Grain.all,
    latent: Latent = None,
    text: Text = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.latency_plan/1).")] = False,
) -> None:
    """List the distinct operators and blocks of spaces and architectures, who uses them, and what measuring takes."""
    from archsearch.cli.common import emit, emit_json
    from archsearch.latency.plan import make_plan
    from archsearch.latency.table import load_table

    loaded = load_table(table) if table is not None else None
    sources = [source_of(ref, latent, text, grain) for ref in dict.fromkeys(refs)]
    found = make_plan(sources, loaded)
    if json_:
        emit_json(as_json(found, loaded))
        return
    emit("\n".join(f"{s.name}: {_candidates(s)}, {_units(s.units.values())}" for s in sources) + "\n")
    emit(_ops_text(found, loaded) if ops else _kinds_text(found, loaded))
    missing = found.missing
    if not missing:
        emit(f"{loaded.name if loaded else 'The table'} holds all of them.")
        return
    emit(
        f"{_units(missing)} to measure: about {duration(found.convert_seconds)} to convert on one core, "
        f"about {duration(found.measure_seconds)} to measure."
    )


def source_of(ref: str, latent: str | None, text: int | None, grain: Grain = Grain.all) -> Source:
    """What a space or an architecture consists of, with exact counts of users.

    Raises:
        ArchsearchError: neither a space nor an architecture, or conditions that do not suit it.
    """
    from archsearch.cli.profile import parse_latent
    from archsearch.cli.workloads import space_or_preset
    from archsearch.cost import Conditions, lower
    from archsearch.cost.block import parse_workload
    from archsearch.latency.plan import Source
    from archsearch.space import Space
    from archsearch.space.users import block_keys, candidates_using, op_keys

    def keys(trace: Trace) -> list[str]:
        wanted = () if grain is Grain.block else op_keys(trace)
        return [*wanted, *(() if grain is Grain.op else block_keys(trace))]

    found = space_or_preset(ref)
    conditions = found.conditions if isinstance(found, Space) else Conditions(latent=found.latent, text=found.text)
    if latent is not None:
        conditions = replace(conditions, latent=parse_latent(latent))
    if text is not None:
        conditions = replace(conditions, text=text)
    if isinstance(found, Space):
        users = candidates_using(found, conditions, keys)
        units = {key: parse_workload(key) for key in users}
        return Source(name=ref, candidates=found.size(), units=units, users=users)
    pieces = lower(found.architecture, conditions).pieces
    return Source.single(ref, (parse_workload(key) for key in dict.fromkeys(k for p in pieces for k in keys(p.trace))))


def as_json(found: Plan, table: LatencyTable | None) -> dict[str, Any]:
    """The plan as JSON: counts of candidates exact, times in seconds."""
    ops = [each for each in found.units if not each.is_block]
    blocks = [each for each in found.units if each.is_block]

    def entry(each: UnitPlan) -> dict[str, object]:
        users = {s.name: n for s, n in zip(found.sources, each.users, strict=True) if n}
        return {"key": each.unit.key, "kind": each.unit.kind, "users": users, "held": each.held}

    return {
        "schema": "archsearch.latency_plan/1",
        "sources": [{"name": s.name, "candidates": s.candidates} for s in found.sources],
        "table": table.name if table else None,
        "distinct": len(ops),
        "held": sum(each.held for each in ops),
        "distinct_blocks": len(blocks),
        "held_blocks": sum(each.held for each in blocks),
        "convert_seconds": round(found.convert_seconds, 1),
        "measure_seconds": round(found.measure_seconds, 1),
        "ops": [entry(each) for each in ops],
        "blocks": [entry(each) for each in blocks],
    }


def _kinds_text(found: Plan, table: LatencyTable | None) -> str:
    from archsearch.cli.columns import TableText

    rows = tuple(
        (k.kind, str(k.distinct), str(k.held), str(k.distinct - k.held), duration(k.seconds)) for k in found.kinds()
    )
    total = ("total", str(len(found.units)), str(found.held), str(len(found.missing)), duration(found.measure_seconds))
    held = f"in {table.name}" if table else "held"
    return TableText(("kind", "distinct", held, "missing", "measuring"), rows, total, frozenset({1, 2, 3, 4})).text()


def _ops_text(found: Plan, table: LatencyTable | None) -> str:
    from archsearch.cli.columns import TableText

    header = (*(f"run in {s.name}" for s in found.sources), *((f"in {table.name}",) if table else ()), "operator")
    rows = tuple(
        (
            *(share_text(n, s.candidates) for n, s in zip(each.users, found.sources, strict=True)),
            *((("yes" if each.held else "no"),) if table else ()),
            each.unit.key,
        )
        for each in found.units
    )
    return TableText(header, rows, None, frozenset(range(len(found.sources)))).text()


def share_text(users: int, candidates: int) -> str:
    """A share in per cent that says 0 or 100 only where it is exactly that."""
    if users in (0, candidates):
        return "100 %" if users else "-"
    share = 100 * users / candidates
    return "> 99.9 %" if share > 99.9 else "< 0.01 %" if share < 0.01 else f"{share:.3g} %"


def _candidates(source: Source) -> str:
    return "1 architecture" if source.candidates == 1 else f"{source.candidates:,} candidates"


def _units(units: Any) -> str:
    from archsearch.cost.block import BlockOp

    found: list[Workload] = list(units)
    blocks = sum(isinstance(unit, BlockOp) for unit in found)
    counts = ((len(found) - blocks, "operator"), (blocks, "block"))
    return " and ".join(f"{n} {name}{'' if n == 1 else 's'}" for n, name in counts if n) or "nothing"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
