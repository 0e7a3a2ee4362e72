"""``archsearch profile ARCH``: counts and predicted latency of one network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.options import (
    Batch,
    BytesAt,
    Format,
    FormatOption,
    Fused,
    Grain,
    Latent,
    Output,
    Passes,
    Tables,
    Text,
    chosen_format,
)
from archsearch.errors import CostError

if TYPE_CHECKING:
    from archsearch.cost import Conditions
    from archsearch.latency.profile import Profile

EPILOG = """Examples:

  archsearch profile sd15

  archsearch profile mobilediffusion --table host-xnnpack-fp32 --by block

  archsearch profile path/to/unet/config.json --latent 128x128 --passes 2 --json

  archsearch profile sd15 --view figure2 --view top --table host-xnnpack-fp32

  archsearch profile sd15 --format html -o sd15.html

  archsearch profile snapfusion --verify

  archsearch profile path/to/other_diffusers_model --verify

  archsearch profile my_package.my_module:make_module_and_inputs --verify
"""


class View(StrEnum):
    """What a table or Markdown output shows."""

    rows = "rows"
    figure2 = "figure2"
    roofline = "roofline"
    top = "top"


def profile(
    arch: Annotated[
        str,
        typer.Argument(metavar="ARCH", help="Preset, architecture file, diffusers folder or config.json, STUDY#TRIAL."),
    ],
    table: Tables = None,
    latent: Latent = None,
    text: Text = None,
    batch: Batch = 1,
    passes: Passes = 1,
    precision: BytesAt = "fp32",
    fused_attention: Fused = False,
    by: Annotated[Grain, typer.Option(help="Grain of the rows.")] = Grain.stage,
    view: Annotated[
        list[View] | None, typer.Option(help="What to show beside the totals; repeatable. [default: rows]")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Build the module and check every operator against torch and fvcore.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.profile/1).")] = False,
    format_: FormatOption = Format.table,
    output: Output = None,
) -> None:
    """Count parameters, MACs and memory of a network exactly, and predict its latency from tables."""
    from archsearch.cli.common import emit, emit_json, note

    if verify:
        from archsearch.cli.profile_verify import count_foreign, foreign_json, foreign_table, is_foreign, verified

        foreign = is_foreign(arch)
        if foreign:
            if foreign is not True:
                note(f"outside the vocabulary ({foreign}); counting the module itself")
            counted = count_foreign(arch, make_conditions(latent, text, batch, passes, precision, fused_attention))
            if chosen_format(json_, format_, output) is Format.json:
                emit_json(foreign_json(arch, counted), output)
            else:
                emit(foreign_table(arch, counted).text(), output)
            return
    result = make_profile(arch, tuple(table or ()), latent, text, batch, passes, precision, fused_attention)
    if verify:
        note(verified(result))
    shown = chosen_format(json_, format_, output)
    if shown is Format.json:
        from archsearch.latency.profile import to_json

        emit_json(to_json(result, by.value), output)
    elif shown is Format.csv:
        from archsearch.cli.profile_text import profile_csv

        emit(profile_csv(result, by.value), output)
    elif shown is Format.html:
        from archsearch.report.profile_page import profile_page

        target = output or Path("reports") / f"profile-{_slug(result.name)}.html"
        note(f"wrote {profile_page(result, target)}")
    else:
        emit(_text(result, by, tuple(view or (View.rows,)), shown), output)


def make_profile(
    arch: str,
    tables: tuple[str, ...] = (),
    latent: str | None = None,
    text: int | None = None,
    batch: int = 1,
    passes: int = 1,
    precision: str = "fp32",
    fused_attention: bool = False,
) -> Profile:
    """Resolve names and profile.

    Raises:
        ArchsearchError: an unknown or malformed architecture, table or condition.
    """
    from archsearch.cli.resolve import resolve_arch
    from archsearch.latency.profile import profile as profile_arch
    from archsearch.latency.table import load_table

    preset = resolve_arch(arch)
    conditions = make_conditions(
        latent, text, batch, passes, precision, fused_attention, default=(preset.latent, preset.text)
    )
    return profile_arch(preset.name, preset.architecture, conditions, [load_table(name) for name in tables])


def make_conditions(
    latent: str | None,
    text: int | None,
    batch: int,
    passes: int,
    precision: str,
    fused_attention: bool,
    default: tuple[tuple[int, int], int] = ((64, 64), 77),
) -> Conditions:
    """The conditions that the options say; ``default`` is (latent, text) where they say nothing.

    Raises:
        CostError: a value out of range.
    """
    from archsearch.cost import Conditions

    if passes not in (1, 2):
        raise CostError("guidance needs one pass or two", where="--passes", got=passes, allowed="1, 2")
    return Conditions(
        latent=parse_latent(latent) if latent else default[0],
        text=text if text is not None else default[1],
        batch=batch,
        passes=passes,
        precision=precision,  # type: ignore[arg-type]
        attention="fused" if fused_attention else "unfused",
    )


def parse_latent(text: str) -> tuple[int, int]:
    """``64x64`` -> (64, 64).

    Raises:
        CostError: not two positive integers.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit() and len(text) < 16):
        raise CostError("not a latent size", where="--latent", got=text, allowed="HEIGHTxWIDTH, as 64x64")
    return int(height), int(width)


def _text(result: Profile, by: Grain, views: tuple[View, ...], shown: Format) -> str:
    from archsearch.cli.profile_text import headline, roofline_table, rows_table, stages_table

    tables = {
        View.rows: lambda: rows_table(result, by.value),
        View.figure2: lambda: stages_table(result),
        View.roofline: lambda: roofline_table(result, None),
        View.top: lambda: roofline_table(result, 15),
    }
    parts = ["\n".join(headline(result))]
    for view in dict.fromkeys(views):
        table = tables[view]()
        parts.append(table.markdown() if shown is Format.markdown else table.text())
    return "\n\n".join(parts)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:80] or "profile"
