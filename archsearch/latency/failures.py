"""Operators that a table's device could not run: ``failed.csv`` beside ``ops.csv``, so that the gap has its reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from archsearch.errors import LatencyError
from archsearch.latency.write import replace

FAILED = "failed.csv"
COLUMNS = ("key", "reason")
MAX_BYTES = 16_000_000


def read_failures(folder: Path) -> dict[str, str]:
    """Reasons by operator key; empty where nothing failed.

    Raises:
        LatencyError: a file that is not one of these; names file and line.
    """
    path = folder / FAILED
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LatencyError(f"cannot be read ({error})", where=str(path)) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: dict[str, str] = {}
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if reader.line_num == 1:
                if tuple(cells) != COLUMNS:
                    raise LatencyError("other columns", where=where, got=",".join(cells), allowed=",".join(COLUMNS))
            elif len(cells) != len(COLUMNS) or not cells[0] or cells[0] in found:
                raise LatencyError("must be an operator, once, and a reason", where=where, got=",".join(cells))
            else:
                found[cells[0]] = cells[1]
    except csv.Error as error:
        raise LatencyError(f"not CSV ({error})", where=f"{path}:{reader.line_num}") from None
    return found


def write_failures(folder: Path, failures: Mapping[str, str]) -> None:
    """Put the file in place whole, or take it away when nothing failed."""
    path = folder / FAILED
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((key, " ".join(failures[key].split())) for key in sorted(failures))
    replace(path, text.getvalue().encode())
