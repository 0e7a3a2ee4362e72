"""``archsearch latency import``: rows that were measured elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Examples:

  archsearch latency import bundles/iphone --table tables/iphone

  archsearch latency import profile.csv --model sd15.tflite --table tables/pixel --device-yaml device.yaml

  archsearch latency import onnxruntime_profile.json --table tables/ort --device-yaml device.yaml

A bundle is checked against its manifest; a profile of LiteRT is joined with the model that ran, a profile of ONNX
Runtime says its shapes itself. A table is made, or continued if it is of the same device and runtime; a row that it
holds with another figure is refused unless --replace. On any error the table stays as it was.
"""


class Format(StrEnum):
    """What is imported."""

    bundle = "bundle"
    op_profile = "op-profile"
    onnxruntime = "onnxruntime"
    phones = "phones"


def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A filled bundle, a profile, published phone data.")],
    table: Annotated[str, typer.Option("--table", "-t", metavar="T", help="Folder of the table; made if need be.")],
    format_: Annotated[Format | None, typer.Option("--format", help="Its format. [default: found out]")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Name of the device, or which one of published phone data.")
    ] = None,
    device_yaml: Annotated[
        Path | None, typer.Option("--device-yaml", metavar="FILE", help="Description of the device, as in a bundle.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="FILE", help="The .tflite model of an op profile.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace rows that the table holds with another figure.")
    ] = False,
    description: Annotated[str, typer.Option("--description", help="One sentence for a new table.")] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make table rows of results that were measured elsewhere; they are marked imported."""
    from archsearch.cli.common import emit, emit_json
    from archsearch.latency.imports import Options, import_rows, read
    from archsearch.latency.table import load_table, writable_folder

    options = Options(
        device=device, device_yaml=device_yaml, model=model, replace=replace, description=description
    )  # fmt: skip
    folder = writable_folder(table)
    done = import_rows(read(path, options, format_.value if format_ else None), folder, options)
    loaded = load_table(folder)
    if json_:
        emit_json(
            {
                "schema": "archsearch.latency_import/1",
                "table": loaded.name,
                "format": done.format,
                "new": done.new,
                "replaced": done.replaced,
                "kept": done.kept,
                "rows": len(loaded.rows),
                "remarks": list(done.remarks),
            }
        )
        return
    emit(
        f"{loaded.name}: {done.new} rows imported, {done.replaced} replaced, {done.kept} held already; "
        f"{len(loaded.rows)} rows in all on {loaded.configuration}"
    )
    for remark in done.remarks:
        emit(remark)
