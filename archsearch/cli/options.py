"""Options that several commands share, each said once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Grain(StrEnum):
    """Grain of the rows."""

    stage = "stage"
    block = "block"
    op = "op"


class Format(StrEnum):
    """Output format."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    html = "html"


Tables = Annotated[
    list[str] | None, typer.Option("--table", "-t", metavar="T", help="Latency table: name or folder; repeatable.")
]
Latent = Annotated[
    str | None, typer.Option("--latent", metavar="HxW", help="Latent size. [default: 64x64, or what the preset states]")
]
Text = Annotated[int | None, typer.Option("--text", help="Text tokens. [default: 77, or what the preset states]")]
Batch = Annotated[int, typer.Option("--batch", help="Batch size.")]
Passes = Annotated[int, typer.Option("--passes", help="Guidance passes, run one after the other: 1 or 2.")]
BytesAt = Annotated[str, typer.Option("--precision", help="Bytes are counted at fp32, fp16 or int8.")]
Fused = Annotated[
    bool, typer.Option("--fused-attention", help="Count memory as if attention scores were never stored.")
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Output format.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write here; .json, .csv, .md and .html choose the format."),
]


def chosen_format(json_: bool, format_: Format, output: Path | None) -> Format:
    """``--json`` wins, then ``--format``, then the output's suffix."""
    if json_:
        return Format.json
    if format_ is Format.table and output is not None:
        suffixes = {".json": Format.json, ".csv": Format.csv, ".md": Format.markdown, ".html": Format.html}
        return suffixes.get(output.suffix.lower(), Format.table)
    return format_
