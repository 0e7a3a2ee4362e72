"""``archsearch archs``: list the presets, show one network, tell two apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.options import Latent, Output, Text

if TYPE_CHECKING:
    from archsearch.arch import Preset
    from archsearch.cost import Conditions

app = typer.Typer(
    help="Architectures: list the presets, show one, tell two apart.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_ARCH = "Preset, architecture file, diffusers folder or config.json, STUDY#TRIAL."

LIST_EPILOG = """Published figures are shown with their standing: seen (read in the named source), computed (arithmetic
on the published configuration) or recalled (from memory, not confirmed). "w/o" marks MACs without the attention
products.

Examples:

  archsearch archs list

  archsearch archs list --json
"""
SHOW_EPILOG = """Examples:

  archsearch archs show sd15

  archsearch archs show mobilediffusion --latent 96x96

  archsearch archs show path/to/unet --json -o unet.json

  archsearch archs show bk-sdm-tiny --diffusers
"""
DIFF_EPILOG = """Rows add up to the difference of the totals.

Examples:

  archsearch archs diff sd15 bk-sdm-tiny

  archsearch archs diff sd15 snapfusion --json
"""


@app.command(name="list", epilog=LIST_EPILOG)
def list_(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.archs.list/1).")] = False,
    output: Output = None,
) -> None:
    """Every preset: our counts beside the published ones."""
    from archsearch.arch import load_preset, preset_names
    from archsearch.cli.archs_list import list_json, list_table
    from archsearch.cli.common import emit, emit_json

    presets = [load_preset(name) for name in preset_names()]
    if json_ or (output is not None and output.suffix == ".json"):
        emit_json(list_json(presets), output)
    else:
        table = list_table(presets)
        emit(table.markdown() if output is not None and output.suffix == ".md" else table.text(), output)


@app.command(epilog=SHOW_EPILOG)
def show(
    arch: Annotated[str, typer.Argument(metavar="ARCH", help=_ARCH)],
    latent: Latent = None,
    text: Text = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.archs.show/1).")] = False,
    diffusers: Annotated[bool, typer.Option("--diffusers", help="Print the config.json that diffusers needs.")] = False,
    output: Output = None,
) -> None:
    """Draw a network, with its sizes, published figures and notes."""
    import json

    from archsearch.cli.archs_show import show_json, show_text
    from archsearch.cli.common import emit, emit_json
    from archsearch.cli.resolve import resolve_arch

    preset = resolve_arch(arch)
    conditions = _conditions(preset, latent, text)
    if diffusers:
        emit(json.dumps(_diffusers_config(preset), indent=2), output)
    elif json_ or (output is not None and output.suffix == ".json"):
        emit_json(show_json(preset, conditions), output)
    else:
        emit(show_text(preset, conditions), output)


@app.command(name="diff", epilog=DIFF_EPILOG)
def diff_(
    a: Annotated[str, typer.Argument(metavar="A", help=_ARCH)],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, compared with A.")],
    latent: Latent = None,
    text: Text = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.archs.diff/1).")] = False,
    output: Output = None,
) -> None:
    """What was removed, added and changed from A to B, in words and in a table, and what each change costs."""
    from archsearch.cli.archs_diff import diff_json, diff_text, priced_diff
    from archsearch.cli.common import emit, emit_json
    from archsearch.cli.resolve import resolve_arch

    first, second = resolve_arch(a), resolve_arch(b)
    priced = priced_diff(first, second, _conditions(first, latent, text))
    if json_ or (output is not None and output.suffix == ".json"):
        emit_json(diff_json(priced), output)
    else:
        emit(diff_text(priced, markdown=output is not None and output.suffix == ".md"), output)


def _conditions(preset: Preset, latent: str | None, text: int | None) -> Conditions:
    from archsearch.cli.profile import parse_latent
    from archsearch.cost import Conditions

    size = parse_latent(latent) if latent else preset.latent
    return Conditions(latent=size, text=preset.text if text is None else text)


def _diffusers_config(preset: Preset) -> dict[str, object]:
    from archsearch.arch import UNet, to_diffusers
    from archsearch.errors import ArchError

    if not isinstance(preset.architecture, UNet):
        raise ArchError("only UNets have a diffusers config here", where=preset.name, got=preset.architecture.kind)
    return to_diffusers(preset.architecture)
