"""The view of SnapFusion's figure 2: parameters and latency per stage, attention and residual blocks apart."""

from __future__ import annotations

from dataclasses import dataclass

from archsearch.latency.profile import Profile

ATTENTION = frozenset({"transformer", "spatial_attention", "encoder"})
RESIDUAL = frozenset({"residual", "shortcut"})


@dataclass(frozen=True, slots=True)
class StageShare:
    """One stage (arXiv 2306.00980, figure 2).  Latency in nanoseconds, aligned with the profile's tables."""

    stage: str
    group: str
    blocks: int
    params: int
    macs: int
    latency_ns: tuple[int, ...]


def stage_shares(profile: Profile) -> tuple[StageShare, ...]:
    """Sums per stage and group (``attention``, ``residual``, ``other``), in the order of execution."""
    sums: dict[tuple[str, str], list[int]] = {}
    tables = len(profile.tables)
    for row in profile.by("block"):
        group = "attention" if row.kind in ATTENTION else "residual" if row.kind in RESIDUAL else "other"
        entry = sums.setdefault((row.stage, group), [0, 0, 0] + [0] * tables)
        entry[0] += 1
        entry[1] += row.params
        entry[2] += row.macs
        for i, ns in enumerate(row.latency_ns):
            entry[3 + i] += ns
    return tuple(StageShare(stage, group, e[0], e[1], e[2], tuple(e[3:])) for (stage, group), e in sums.items())
