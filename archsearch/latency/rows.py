"""Rows of a latency table as text: one operator a line, strict in both directions.

Times are milliseconds.  ``p10_ms`` and ``p90_ms`` are quantiles over the counted runs of a measured row, and the ends
of the error band of a modelled one.  ``ratio`` is the row's time over that of the table's reference operator, which ran
between the same runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

from archsearch.errors import LatencyError

RowProvenance: TypeAlias = Literal["measured", "imported", "interpolated", "modelled"]
FROM_DEVICE: frozenset[str] = frozenset({"measured", "imported"})
_PROVENANCE = get_args(RowProvenance)
Timing: TypeAlias = Literal["", "steady", "paired", "scaled", "unsteady", "cpu"]
_TIMING = get_args(Timing)
SOUND: frozenset[str] = frozenset({"steady", "paired", "scaled"})  # timings that load does not bias


class OpRow(NamedTuple):
    """The latency of one operator.

    ``runs`` were counted and ``dropped`` were not.  ``timing`` says which were: ``steady``, wall time while the
    reference operator ran at its quiet level; ``paired``, a block in turns with its operators, the ratio times their
    rows; ``scaled``, a whole network with a watched model run amid its runs, corrected by how much slower that was than
    on a quiet machine; ``unsteady``, wall time under whatever load there was; ``cpu``,
    processor time, because the scheduler never left the core alone; empty where nothing was timed here.  ``cpu_ms``
    is the median processor time of the counted runs, ``reference_ms`` the reference operator's beside them.  ``graph``
    lists the nodes of the single-operator model that was timed (``CONV_2D``, ``2 MEAN + SUB + ...``).
    """

    key: str
    kind: str
    latency_ms: float
    p10_ms: float
    p90_ms: float
    provenance: RowProvenance
    runs: int = 0
    dropped: int = 0
    timing: Timing = ""
    ratio: float | None = None
    reference_ms: float | None = None
    cpu_ms: float | None = None
    graph: str = ""
    measured_at: str = ""


COLUMNS: tuple[str, ...] = OpRow._fields


def quiet_level(rows: Iterable[OpRow]) -> float | None:
    """What the reference operator took beside the quietest rows, in ms; None where no row was steady."""
    levels = sorted(row.reference_ms for row in rows if row.timing == "steady" and row.reference_ms)
    return levels[len(levels) // 20] if levels else None


def format_row(row: OpRow) -> list[str]:
    """The cells of a row; :func:`parse_row` reads them back to the same value at printed precision."""
    return [value if isinstance(value, str) else _text(value) for value in row]


def _text(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


def parse_row(cells: Sequence[str], where: str) -> OpRow:
    """Read and check one row.

    Raises:
        LatencyError: wrong number of cells, a time that is not a positive finite number, quantiles out of order,
            an unknown provenance, a key of another kind.
    """
    if len(cells) != len(COLUMNS):
        raise LatencyError("a row has another number of cells (truncated?)", where=where, got=len(cells),
                           allowed=len(COLUMNS))  # fmt: skip
    key, kind, latency, p10, p90, provenance, runs, dropped, timing, ratio, reference, cpu, graph, measured_at = cells
    if not key.startswith(kind + "[") or not kind:
        raise LatencyError("the key is not an operator of the row's kind", where=where, got=f"{kind}: {key}",
                           allowed="kind[shapes](attributes)@layout")  # fmt: skip
    if provenance not in _PROVENANCE:
        raise LatencyError("unknown provenance", where=where, got=provenance, allowed=", ".join(_PROVENANCE))
    if timing not in _TIMING:
        raise LatencyError("unknown timing", where=where, got=timing, allowed=", ".join(_TIMING[1:]))
    row = OpRow(
        key,
        kind,
        positive(latency, "latency_ms", where),
        positive(p10, "p10_ms", where),
        positive(p90, "p90_ms", where),
        cast(RowProvenance, provenance),
        _whole(runs, "runs", where),
        _whole(dropped, "dropped", where),
        cast(Timing, timing),
        positive(ratio, "ratio", where) if ratio else None,
        positive(reference, "reference_ms", where) if reference else None,
        positive(cpu, "cpu_ms", where) if cpu else None,
        graph,
        measured_at,
    )
    if not row.p10_ms <= row.latency_ms <= row.p90_ms:
        raise LatencyError("p10_ms <= latency_ms <= p90_ms must hold", where=where, got=f"{p10}, {latency}, {p90}")
    if provenance == "measured" and row.runs < 1:
        raise LatencyError("a measured row has runs", where=where, got=row.runs, allowed=">= 1")
    return row


def positive(text: str, name: str, where: str) -> float:
    """A positive finite number.

    Raises:
        LatencyError: anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0.0 < value < math.inf):
        raise LatencyError(f"{name} must be a positive finite number", where=where, got=text or "nothing")
    return value


def _whole(text: str, name: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise LatencyError(f"{name} must be a whole number", where=where, got=text or "nothing")
    return int(text)


def sort_rows(rows: Iterable[OpRow]) -> list[OpRow]:
    """By kind, then key: a table reads the same whatever order it was measured in."""
    return sorted(rows, key=lambda row: (row.kind, row.key))
