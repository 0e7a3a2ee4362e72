"""``archsearch spaces``: list the search spaces, show what one contains and costs, check a file."""

from __future__ import annotations

from typing import Annotated

import typer

from archsearch.cli.options import Latent, Output, Passes, Tables, Text

app = typer.Typer(
    help="Search spaces: list them, show what one contains and costs, check a file.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SPACE = "A shipped space's name, or a YAML file."

LIST_EPILOG = """Examples:

  archsearch spaces list

  archsearch spaces list --json
"""
SHOW_EPILOG = """Least and largest values are exact; medians are those of a uniform sample whose size is told.

Examples:

  archsearch spaces show demo

  archsearch spaces show mobilediffusion --table host-xnnpack-fp32

  archsearch spaces show path/to/space.yaml --latent 96x96 --json
"""
CHECK_EPILOG = """Exit code 0: the file is a search space and its sampled candidates pass; 1: a candidate fails; 2: the
file is malformed (the message names file, line and key).

Examples:

  archsearch spaces check path/to/space.yaml

  archsearch spaces check demo --samples 1000
"""


@app.command(name="list", epilog=LIST_EPILOG)
def list_(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.spaces.list/1).")] = False,
    output: Output = None,
) -> None:
    """Every shipped space with its number of candidates."""
    from archsearch.cli.common import emit, emit_json
    from archsearch.cli.spaces_show import list_json, list_table
    from archsearch.space import load_space, space_names

    spaces = [load_space(name) for name in space_names()]
    if json_ or (output is not None and output.suffix == ".json"):
        emit_json(list_json(spaces), output)
    else:
        table = list_table(spaces)
        emit(table.markdown() if output is not None and output.suffix == ".md" else table.text(), output)


@app.command(epilog=SHOW_EPILOG)
def show(
    space: Annotated[str, typer.Argument(metavar="SPACE", help=_SPACE)],
    table: Tables = None,
    latent: Latent = None,
    text: Text = None,
    passes: Passes = 1,
    samples: Annotated[int, typer.Option(min=1, max=1_000_000, help="Uniform draws behind the medians.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.spaces.show/1).")] = False,
    output: Output = None,
) -> None:
    """Candidates, decisions, rules, the range of every cost, operators and members of a space."""
    from dataclasses import replace

    from archsearch.cli.common import emit, emit_json
    from archsearch.cli.profile import parse_latent
    from archsearch.cli.spaces_show import describe, show_json, show_text
    from archsearch.latency.table import load_table
    from archsearch.space import load_space

    found = load_space(space)
    conditions = replace(found.conditions, passes=passes)
    if latent is not None:
        conditions = replace(conditions, latent=parse_latent(latent))
    if text is not None:
        conditions = replace(conditions, text=text)
    tables = {loaded.name: loaded for loaded in map(load_table, dict.fromkeys(table or ()))}
    described = describe(found, conditions, tables, samples, seed)
    if json_ or (output is not None and output.suffix == ".json"):
        emit_json(show_json(described), output)
    else:
        emit(show_text(described, markdown=output is not None and output.suffix == ".md"), output)


@app.command(epilog=CHECK_EPILOG)
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help=_SPACE)],
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="Candidates to decode and check.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.spaces.check/1).")] = False,
) -> None:
    """Check a space file: that it is well formed, and that candidates drawn from it are sound."""
    from archsearch.cli.common import emit, emit_json
    from archsearch.space import load_space
    from archsearch.space.soundness import soundness

    space = load_space(file)
    result = soundness(space, samples, seed)
    if json_:
        emit_json({"schema": "archsearch.spaces.check/1", "space": space.name, "file": str(space.path),
                   "candidates": space.size(), "sampled": result.sampled, "sound": not result.failures,
                   "failures": list(result.failures), "without_effect": list(result.without_effect)})  # fmt: skip
    else:
        lines = [f"{space.path}: {space.size():,} candidates, {len(space.decisions)} decisions"]
        lines += [f"never chosen by any candidate: {name}" for name in result.without_effect]
        lines += list(result.failures)
        lines.append(f"{result.sampled} candidates sampled: {'sound' if not result.failures else 'NOT SOUND'}")
        emit("\n".join(lines))
    if result.failures:
        raise typer.Exit(1)
