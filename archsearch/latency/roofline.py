"""Where each operator stands under a roofline: arithmetic intensity, attainable and reached rates.

The roof of a table is empirical: the best MAC rate and the best byte rate that any of its rows reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from archsearch.cost import Op
from archsearch.latency.profile import Profile
from archsearch.latency.table import LatencyTable


@dataclass(frozen=True, slots=True)
class Roof:
    """Best rates seen in a table: GMAC/s and GB/s."""

    gmacs_per_s: float
    gbytes_per_s: float


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """One distinct operator of a profile.

    ``intensity`` is MACs per byte moved; ``bound`` is what the roof says limits it; ``share`` is the reached part of
    the attainable rate (1 is on the roof), None without a table.
    """

    op: Op
    count: int
    intensity: float
    latency_ms: float | None
    provenance: str
    gmacs_per_s: float | None
    bound: Literal["compute", "memory", "unknown"]
    share: float | None


def op_bytes(op: Op, bytes_per_value: int) -> int:
    """Bytes that a fused kernel has to move: activations in and out, weights once."""
    return (op.moved + op.params) * bytes_per_value


def roof_of(table: LatencyTable) -> Roof | None:
    """The empirical roof, or None for a table without operator rows that say how long they took."""
    size = table.value_bytes
    gmacs = gbytes = 0.0
    for key, row in table.op_rows.items():
        op = Op.parse(key)
        gmacs = max(gmacs, op.macs / row.latency_ms / 1e6)
        gbytes = max(gbytes, op_bytes(op, size) / row.latency_ms / 1e6)
    return Roof(gmacs, gbytes) if gmacs and gbytes else None


def roofline(profile: Profile, table_index: int | None = None) -> tuple[RooflinePoint, ...]:
    """Every distinct operator of a profile, most expensive first (by latency, else by MACs)."""
    size = profile.conditions.bytes_per_value
    roof = roof_of(profile.tables[table_index]) if table_index is not None else None
    points: dict[str, RooflinePoint] = {}
    for row in profile.rows:
        op = row.op
        if op is None:  # overhead
            continue
        seen = points.get(op.key)
        count = (seen.count if seen else 0) + profile.conditions.passes
        intensity = op.macs / op_bytes(op, size)
        latency_ms = rate = share = None
        provenance = ""
        bound: Literal["compute", "memory", "unknown"] = "unknown"
        if table_index is not None:
            latency_ms = row.latency_ms[table_index] / profile.conditions.passes
            provenance = row.provenance[table_index]
        if roof is not None and latency_ms:
            bound = "compute" if intensity * roof.gbytes_per_s >= roof.gmacs_per_s else "memory"
            rate = op.macs / latency_ms / 1e6
            if bound == "compute":
                share = rate / roof.gmacs_per_s
            else:
                share = op_bytes(op, size) / latency_ms / 1e6 / roof.gbytes_per_s
        points[op.key] = RooflinePoint(op, count, intensity, latency_ms, provenance, rate, bound, share)
    return tuple(
        sorted(points.values(), key=lambda p: ((p.latency_ms or 0.0) * p.count, p.op.macs * p.count), reverse=True)
    )
