"""Rows that cannot well be true: slower with less work, or faster than the device can be.

Both are judged by the table's own rows, so they hold for tables of any device, measured or modelled.  A peak that the
user states (from a data sheet) is a limit of its own.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from archsearch.cost.block import BlockOp, Workload
from archsearch.latency.fit import family, features
from archsearch.latency.rows import OpRow

MORE_WORK = 1.5
FASTER = 0.5
MIN_ROWS = 12  # so few say nothing about a device's peak
QUANTILE = 0.9
OVER_ALL = 2.0  # times the rate that nine rows in ten stay below
OVER_FAMILY = 3.0  # times the median rate of the rows of one family
OVER_BYTES = 3.0  # caches make bytes far faster than memory does
MIN_FAMILY = 5


class Judged(NamedTuple):
    """A row with its work: multiply-accumulates, and bytes moved between kernels and memory."""

    row: OpRow
    family: str
    macs: float
    num_bytes: float

    @property
    def gmacs_per_s(self) -> float:
        """Rate of multiply-accumulates."""
        return self.macs / self.row.latency_ms / 1e6

    @property
    def gbytes_per_s(self) -> float:
        """Rate of bytes."""
        return self.num_bytes / self.row.latency_ms / 1e6


def judged(row: OpRow, workload: Workload, bytes_per_value: int) -> Judged:
    """A row of an operator or a block with its work."""
    if isinstance(workload, BlockOp):
        attrs = dict(workload.attrs)
        name = ":".join(
            str(part) for part in (workload.kind, attrs.get("sep"), attrs.get("scores")) if part is not None
        )
        parts = [features(op, bytes_per_value) for op in workload.ops]
        return Judged(row, name, float(workload.macs), sum(part[2] for part in parts))
    _, macs, moved = features(workload, bytes_per_value)
    return Judged(row, family(workload), macs, moved)


class Peak(NamedTuple):
    """The most that a device can do, as a data sheet states it; None: not stated."""

    gmacs_per_s: float | None = None
    gbytes_per_s: float | None = None


def above_peak(rows: Iterable[Judged], peak: Peak) -> dict[str, str]:
    """By key, why a row is faster than the stated peak (of bytes: of the fastest memory or cache)."""
    found: dict[str, str] = {}
    for each in rows:
        if peak.gmacs_per_s is not None and each.gmacs_per_s > peak.gmacs_per_s:
            found[each.row.key] = f"{each.gmacs_per_s:.4g} GMAC/s, above the stated peak of {peak.gmacs_per_s:g}"
        elif peak.gbytes_per_s is not None and each.gbytes_per_s > peak.gbytes_per_s:
            found[each.row.key] = f"{each.gbytes_per_s:.4g} GB/s, above the stated peak of {peak.gbytes_per_s:g}"
    return found


def above_roof(rows: list[Judged]) -> dict[str, str]:
    """By key, why a row is faster than the table's other rows make plausible.

    Multiply-accumulates: more than twice the rate that nine operators in ten stay below, and more than three times the
    median of its family (a kernel may be of another kind, as Winograd's is).  Bytes, of operators that do nothing
    else: more than three times the rate that nine in ten of them stay below.
    """
    found: dict[str, str] = {}
    working = [each for each in rows if each.macs > 0]
    ops = [each for each in working if not each.family.startswith("block.")]
    if len(ops) >= MIN_ROWS:
        limit = OVER_ALL * _quantile([each.gmacs_per_s for each in ops])
        families = _families(working)
        for each in working:
            own = [other.gmacs_per_s for other in families[each.family]]
            most = max(limit, OVER_FAMILY * statistics.median(own)) if len(own) >= MIN_FAMILY else limit
            if each.gmacs_per_s > most:
                found[each.row.key] = (
                    f"{each.gmacs_per_s:.4g} GMAC/s, above the roofline: the table's other rows make at most "
                    f"{most:.3g} plausible"
                )
    moving = [each for each in rows if each.macs == 0 and each.num_bytes > 0]
    if len(moving) >= MIN_ROWS:
        most = OVER_BYTES * _quantile([each.gbytes_per_s for each in moving])
        for each in moving:
            if each.gbytes_per_s > most:
                found[each.row.key] = (
                    f"{each.gbytes_per_s:.4g} GB/s, above the roofline: the table's other rows make at most "
                    f"{most:.3g} plausible"
                )
    return found


def slower_with_less_work(rows: Iterable[Judged]) -> dict[str, str]:
    """By key, why a row is implausible: it takes over twice as long as one of its family with half as much work again.

    Pass no rows that are too fast themselves: they would make others look slow.
    """
    found: dict[str, str] = {}
    for members in _families(rows).values():
        for slow in members:
            for fast in members:
                more = fast.num_bytes >= MORE_WORK * slow.num_bytes and fast.macs >= MORE_WORK * slow.macs
                if more and fast.row.latency_ms < FASTER * slow.row.latency_ms:
                    found[slow.row.key] = (
                        f"{slow.row.latency_ms:.3g} ms, but {fast.row.key} with more work takes "
                        f"{fast.row.latency_ms:.3g} ms"
                    )
                    break
    return found


def _families(rows: Iterable[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = defaultdict(list)
    for each in rows:
        found[each.family].append(each)
    return found


def _quantile(values: list[float]) -> float:
    return sorted(values)[int(QUANTILE * (len(values) - 1))]
