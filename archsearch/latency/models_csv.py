"""``models.csv`` of a table: whole networks, converted and measured end to end on the table's device.

One row a measurement; a network measured twice has two, which says how well it repeats.  A name is that of a preset,
``SPACE:0.2.1...`` (a candidate by its encoding), or whatever a user gave; ``arch_id`` says what it was.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple, get_args

from archsearch.errors import LatencyError
from archsearch.latency.rows import Timing

MODELS = "models.csv"
MAX_BYTES = 16_000_000


class ModelRow(NamedTuple):
    """One measurement of a whole network under its conditions, one pass.

    Times as in :class:`archsearch.latency.rows.OpRow`; ``graph`` lists the nodes of the flatbuffer.
    """

    name: str
    arch_id: str
    latent: str
    text: int
    batch: int
    latency_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    dropped: int
    timing: Timing
    ratio: float
    reference_ms: float
    cpu_ms: float
    graph: str
    measured_at: str


COLUMNS = ModelRow._fields
_POSITIVE = ("latency_ms", "p10_ms", "p90_ms", "ratio", "reference_ms", "cpu_ms")
_COUNTS = ("text", "batch", "runs", "dropped")


def models_bytes(rows: list[ModelRow]) -> bytes:
    """The content of ``models.csv``, in the order of measuring."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
    return text.getvalue().encode()


def read_models(folder: Path) -> list[ModelRow]:
    """The rows of a table's ``models.csv``; none where there is no such file.

    Raises:
        LatencyError: a malformed file; names file, line and column.
    """
    path = folder / MODELS
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LatencyError("too large for a table", where=str(path), got=path.stat().st_size, allowed=MAX_BYTES)
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LatencyError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except UnicodeDecodeError:
        raise LatencyError("not UTF-8", where=str(path)) from None
    if not text.endswith("\n"):
        raise LatencyError("the last row is cut off", where=f"{path}:{text.count(chr(10)) + 1}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        header = next(reader)
        if tuple(header) != COLUMNS:
            raise LatencyError("other columns", where=f"{path}:1", got=",".join(header), allowed=",".join(COLUMNS))
        for cells in reader:
            rows.append(_parse(cells, f"{path}:{reader.line_num}"))
    except csv.Error as error:
        raise LatencyError(f"not CSV ({error})", where=f"{path}:{reader.line_num}") from None
    return rows


def _parse(cells: list[str], where: str) -> ModelRow:
    if len(cells) != len(COLUMNS):
        raise LatencyError("another number of cells", where=where, got=len(cells), allowed=len(COLUMNS))
    values: dict[str, object] = dict(zip(COLUMNS, cells, strict=True))
    for name in _POSITIVE:
        try:
            number = float(str(values[name]))
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise LatencyError("must be a positive number", where=f"{where}: {name}", got=values[name])
        values[name] = number
    for name in _COUNTS:
        cell = str(values[name])
        if not (cell.isascii() and cell.isdigit() and len(cell) < 10):
            raise LatencyError("must be a whole number", where=f"{where}: {name}", got=cell)
        values[name] = int(cell)
    if not values["p10_ms"] <= values["latency_ms"] <= values["p90_ms"]:  # type: ignore[operator]
        raise LatencyError("p10_ms <= latency_ms <= p90_ms must hold", where=where,
                           got=f"{values['p10_ms']}, {values['latency_ms']}, {values['p90_ms']}")  # fmt: skip
    if values["timing"] not in get_args(Timing):
        raise LatencyError("unknown timing", where=f"{where}: timing", got=values["timing"])
    if not values["name"] or not values["arch_id"]:
        raise LatencyError("must not be empty", where=f"{where}: name, arch_id")
    return ModelRow(**values)  # type: ignore[arg-type]
