"""The view of SnapFusion's figure 2: parameters and latency per stage, attention and residual blocks apart."""

from __future__ import annotations

from dataclasses import dataclass

from archsearch.latency.profile import Profile, Row

ATTENTION = frozenset({"transformer", "spatial_attention", "encoder"})
RESIDUAL = frozenset({"residual", "shortcut"})


@dataclass(frozen=True, slots=True)
class StageShare:
    """One stage (arXiv 2306.00980, figure 2).  Latency in ms, aligned with the profile's tables."""

    stage: str
    group: str
    blocks: int
    params: int
    macs: int
    latency_ms: tuple[float, ...]


def stage_shares(profile: Profile) -> tuple[StageShare, ...]:
    """Sums per stage and group (``attention``, ``residual``, ``other``), in the order of execution."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in profile.by("block"):
        group = "attention" if row.kind in ATTENTION else "residual" if row.kind in RESIDUAL else "other"
        groups.setdefault((row.stage, group), []).append(row)
    return tuple(
        StageShare(
            stage,
            group,
            len(rows),
            sum(row.params for row in rows),
            sum(row.macs for row in rows),
            tuple(map(sum, zip(*(row.latency_ms for row in rows), strict=True))),
        )
        for (stage, group), rows in groups.items()
    )
