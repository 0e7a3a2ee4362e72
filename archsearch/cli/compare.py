"""``archsearch compare A B ...``: networks side by side, differences against the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.options import (
    Batch,
    BytesAt,
    Format,
    FormatOption,
    Grain,
    Latent,
    Output,
    Passes,
    Tables,
    Text,
    chosen_format,
)
from archsearch.cli.profile import make_profile
from archsearch.errors import ArchsearchError

if TYPE_CHECKING:
    from archsearch.cli.columns import TableText
    from archsearch.latency.profile import Profile

EPILOG = """Examples:

  archsearch compare sd15 bk-sdm-tiny snapfusion mobilediffusion

  archsearch compare sd15 snapfusion --table host-xnnpack-fp32 --by stage

  archsearch compare sd15 path/to/unet -f markdown -o compare.md
"""


def compare(
    archs: Annotated[list[str], typer.Argument(metavar="A B ...", help="Two or more architectures, as for profile.")],
    table: Tables = None,
    latent: Latent = None,
    text: Text = None,
    batch: Batch = 1,
    passes: Passes = 1,
    precision: BytesAt = "fp32",
    by: Annotated[Grain | None, typer.Option(help="Also show rows side by side at this grain.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.compare/1).")] = False,
    format_: FormatOption = Format.table,
    output: Output = None,
) -> None:
    """Put networks side by side under the same conditions."""
    from archsearch.cli.common import emit, emit_json, note
    from archsearch.cli.resolve import resolve_arch

    if len(archs) < 2:
        raise ArchsearchError(
            "compare needs two or more architectures", got=", ".join(archs), next_step="for one: archsearch profile"
        )
    first = resolve_arch(archs[0])  # its conditions hold for all where the options say nothing
    size = latent or f"{first.latent[0]}x{first.latent[1]}"
    conditions = (size, first.text if text is None else text, batch, passes, precision)
    profiles = [make_profile(arch, tuple(table or ()), *conditions) for arch in archs]
    shown = chosen_format(json_, format_, output)
    if shown is Format.json:
        emit_json(comparison_json(profiles, (by or Grain.stage).value), output)
    elif shown is Format.html:
        from archsearch.report.compare_page import compare_page

        note(f"wrote {compare_page(profiles, output or Path('reports') / 'compare.html')}")
    elif shown is Format.csv:
        emit(_csv(profiles), output)
    else:
        from archsearch.cli.profile_text import conditions_line

        tables = [totals_table(profiles)]
        if by is not None:
            tables.append(rows_table(profiles, by))
        texts = [t.markdown() if shown is Format.markdown else t.text() for t in tables]
        emit("\n".join([conditions_line(profiles[0]), "", *texts]), output)


def metrics(profile: Profile) -> dict[str, float]:
    """The totals of one network by name, latency in ms per table."""
    t = profile.totals
    values: dict[str, float] = {
        "params": t.params,
        "macs": t.macs,
        "macs_without_attention": t.macs_without_attention,
        "weight_bytes": t.weight_bytes,
        "peak_activation_bytes": t.peak_activation_bytes,
    }
    for table, prediction in zip(profile.tables, profile.predictions, strict=True):
        values[f"latency_ms:{table.name}"] = prediction.total_ms
    return values


def totals_table(profiles: Sequence[Profile]) -> TableText:
    """One line a network; every figure with its ratio to the first network's."""
    from archsearch.amounts import scaled
    from archsearch.cli.columns import TableText

    first = metrics(profiles[0])
    header = ["network", "params", "MACs", "without attention", "weights MiB", "peak memory MiB"]
    header += [f"ms {table.name}" for table in profiles[0].tables]
    rows = []
    for profile in profiles:
        cells = [profile.name]
        for name, value in metrics(profile).items():
            text = scaled(value)
            if name.endswith("bytes"):
                text = f"{value / 2**20:,.1f}"
            elif name.startswith("latency"):
                i = [table.name for table in profile.tables].index(name.partition(":")[2])
                text = f"{value:,.1f} {profile.predictions[i].provenance}"
            ratio = "" if profile is profiles[0] or not first[name] else f" ({value / first[name]:.2f}x)"
            cells.append(text + ratio)
        rows.append(tuple(cells))
    return TableText(tuple(header), tuple(rows), None, frozenset(range(1, len(header))))


def rows_table(profiles: Sequence[Profile], by: Grain) -> TableText:
    """Rows with the same stage and block beside each other: parameters and MACs, latency on the first table."""
    from archsearch.cli.columns import TableText

    columns: list[dict[tuple[str, str, str], tuple[str, ...]]] = []
    header = ["stage", "block", "operator"][: {"stage": 1, "block": 2, "op": 3}[by.value]]
    labels = len(header)
    order: dict[tuple[str, str, str], None] = {}
    with_latency = bool(profiles[0].tables)
    for profile in profiles:
        column: dict[tuple[str, str, str], tuple[str, ...]] = {}
        for row in profile.by(by.value):
            key = (row.stage, row.block, f"{row.name} {row.op.key}" if row.op else row.name)
            cells: tuple[str, ...] = (f"{row.params / 1e6:.3f}", f"{row.macs / 1e9:.3f}")
            if with_latency:
                cells += (f"{row.latency_ms[0]:.3f}",)
            column[key] = cells
        columns.append(column)
        order |= dict.fromkeys(column)
        header += [f"{profile.name} params M", "MACs G"] + (["ms"] if with_latency else [])
    blank = ("-",) * (3 if with_latency else 2)
    rows = tuple((*key[:labels], *(c for column in columns for c in column.get(key, blank))) for key in sorted(
        order, key=_stage_order))  # fmt: skip
    return TableText(tuple(header), rows, None, frozenset(range(labels, len(header))), f"by {by.value}")


def _stage_order(key: tuple[str, str, str]) -> tuple[int, int]:
    half, _, number = key[0].partition(".")
    stage = int(number or 0)
    return ["stem", "down", "middle", "up", "head"].index(half), -stage if half == "up" else stage


def comparison_json(profiles: Sequence[Profile], by: str) -> dict[str, Any]:
    """Whole profiles, and each total as a ratio to the first network's."""
    from archsearch.latency.profile import to_json

    first = metrics(profiles[0])
    return {
        "schema": "archsearch.compare/1",
        "profiles": [to_json(profile, by) for profile in profiles],  # type: ignore[arg-type]
        "ratios": [
            {name: value / first[name] if first[name] else None for name, value in metrics(profile).items()}
            for profile in profiles
        ],
    }


def _csv(profiles: Sequence[Profile]) -> str:
    from archsearch.cli.columns import csv_text

    names = list(metrics(profiles[0]))
    return csv_text(["network", *names], [[p.name, *metrics(p).values()] for p in profiles])
