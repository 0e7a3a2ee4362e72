"""Rows that cannot well be true: slower with less work, or faster than the device can be.

Both are judged by the table's own rows, so they hold for tables of any device, measured or modelled.  A peak that the
user states (from a data sheet) is a limit of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from archsearch.cost.block import PREFIX, BlockOp, Workload
from archsearch.latency.fit import family, features
from archsearch.latency.rows import FROM_DEVICE, OpRow

MORE_WORK = 1.5
FASTER = 0.5
MIN_ROWS = 12  # so few say nothing about a device's peak
SET_ASIDE = 3  # rows that may be wrong, or this share of them
SET_ASIDE_SHARE = 0.03
OVER_MACS = 2.0
OVER_BYTES = 3.0  # caches make bytes far faster than memory does


class Judged(NamedTuple):
    """A row with its work: multiply-accumulates, and bytes moved between kernels and memory."""

    row: OpRow
    family: str
    macs: float
    num_bytes: float

    @property
    def is_block(self) -> bool:
        """Whether the row is one of a block."""
        return self.family.startswith(PREFIX)

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

    The roof is the rate of the fastest operator once the ``SET_ASIDE`` fastest are set aside (a few wrong rows do not
    lift it, many fast ones do, as the large convolutions of a GPU).  A row may stand at twice the roof of
    multiply-accumulates; one without any that was timed, at three times the roof of bytes (a model may price what a
    runtime merges into its neighbours at nothing).
    """
    working = [each for each in rows if each.macs > 0]
    moving = [each for each in rows if each.macs == 0 and each.row.provenance in FROM_DEVICE]
    macs_per_s = _beyond(working, OVER_MACS, "GMAC/s", lambda each: each.gmacs_per_s)
    return {**macs_per_s, **_beyond(moving, OVER_BYTES, "GB/s", lambda each: each.gbytes_per_s)}


def _beyond(rows: list[Judged], over: float, unit: str, rate: Callable[[Judged], float]) -> dict[str, str]:
    ops = [rate(each) for each in rows if not each.is_block]
    if len(ops) < MIN_ROWS:
        return {}
    aside = max(SET_ASIDE, int(SET_ASIDE_SHARE * len(ops)))
    most = over * sorted(ops)[-1 - aside]
    return {
        each.row.key: f"{rate(each):.4g} {unit}, above the roofline: the table's other rows make at most {most:.3g} "
        "plausible"
        for each in rows
        if rate(each) > most
    }


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
