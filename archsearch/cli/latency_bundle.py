"""``archsearch latency bundle``: models for a device that this machine cannot reach."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.workloads import Grain, workloads_of_all

EPILOG = """Examples:

  archsearch latency bundle demo --to litert -o bundles/demo

  archsearch latency bundle mobilediffusion --to coreml -o bundles/iphone --table tables/iphone --limit 200

  archsearch latency bundle sd15 --to litert -o bundles/convs --kind conv2d

README.txt in the bundle says how to fill it; `archsearch latency import` makes rows of it. Interrupted, the same
command continues; into an existing bundle it adds what is missing and keeps the results.
"""


class Target(StrEnum):
    """What the models are for."""

    litert = "litert"
    coreml = "coreml"


def bundle(
    refs: Annotated[list[str], typer.Argument(metavar="SPACE|ARCH...", help="Spaces and architectures.")],
    to: Annotated[Target, typer.Option("--to", help="Format of the models.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the bundle.")],
    table: Annotated[
        str | None, typer.Option("--table", "-t", metavar="T", help="Leave out what this table holds.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only operators or blocks of this kind; repeatable.")
    ] = None,
    grain: Annotated[Grain, typer.Option("--grain", help="Operators, blocks, or both.")] = Grain.all,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N of them.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write single-operator and single-block models, a manifest and a results template for any runner to fill."""
    from archsearch.cli.common import emit, emit_json, note
    from archsearch.errors import LatencyError
    from archsearch.latency.bundle import missing, write_bundle
    from archsearch.latency.bundle_models import estimate_bytes
    from archsearch.latency.table import load_table

    held = load_table(table).rows if table is not None else {}
    units = {key: unit for key, unit in workloads_of_all(refs, grain).items() if key not in held}
    kinds = sorted({unit.kind for unit in units.values()})
    for name in kind or ():
        if name not in kinds:
            raise LatencyError("nothing of this kind is wanted", where="--kind", got=name, allowed=", ".join(kinds))
    chosen = [key for key, unit in units.items() if not kind or unit.kind in kind][:limit]
    units = {key: units[key] for key in chosen}
    todo = missing(units, output)
    size = _size(estimate_bytes(todo, to.value))
    note(f"{len(units)} wanted; {len(todo)} models to write, the reference among them, about {size} in {output}")
    try:
        done = write_bundle(units, output, target=to.value, sources=refs)
    except KeyboardInterrupt:
        note("stopped; finished models are kept, the same command continues")
        raise typer.Exit(130) from None
    if json_:
        emit_json(
            {
                "schema": "archsearch.latency_bundle_written/1",
                "folder": str(output),
                "to": to.value,
                "models": done.models,
                "new": done.new,
                "bytes": done.bytes,
                "failed": dict(done.failed),
            }
        )
    else:
        emit(
            f"{output}: {done.models} models ({done.new} new), {_size(done.bytes)}; README.txt there says how to go on"
        )
        for key, why in done.failed.items():
            emit(f"failed: {key}: {why}")
    if done.failed:
        raise typer.Exit(1)


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
