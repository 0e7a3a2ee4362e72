"""Bars after SnapFusion's figure 2: what each stage costs, attention and residual blocks apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archsearch.latency.profile import Profile
from archsearch.latency.stages import StageShare, stage_shares
from archsearch.report.figures import Figure, figure, plotly_text
from archsearch.report.palette import GROUPS


@dataclass(frozen=True, slots=True)
class StageBars:
    """One quantity by stage (or by network) and group.  ``values[group]`` is aligned with ``stages``."""

    title: str
    unit: str
    stages: tuple[str, ...]
    values: dict[str, tuple[float, ...]]


def stage_bars_info(profile: Profile) -> tuple[StageBars, ...]:
    """Parameters, and latency on every table (MACs where there is none)."""
    shares = stage_shares(profile)
    stages = tuple(dict.fromkeys(share.stage for share in shares))

    def bars(title: str, unit: str, column: dict[tuple[str, str], float]) -> StageBars:
        values = {group: tuple(column.get((stage, group), 0) for stage in stages) for group in GROUPS}
        return StageBars(title, unit, stages, {g: v for g, v in values.items() if any(v)})

    found = [bars("Parameters", "", {(s.stage, s.group): s.params for s in shares})]
    for i, table in enumerate(profile.tables):
        found.append(bars(f"Latency on {table.name}", "ms", {(s.stage, s.group): s.latency_ms[i] for s in shares}))
    if not profile.tables:
        found.append(bars("MACs", "", {(s.stage, s.group): s.macs for s in shares}))
    return tuple(found)


def network_bars_info(profiles: Sequence[Profile]) -> tuple[StageBars, ...]:
    """Parameters, MACs, and latency on every table, of whole networks; names are made unique."""
    names: list[str] = []
    for profile in profiles:
        twins = sum(name.split(" (")[0] == profile.name for name in names)
        names.append(f"{profile.name} ({twins + 1})" if twins else profile.name)
    shares = [stage_shares(profile) for profile in profiles]

    def bars(title: str, unit: str, amount: Callable[[StageShare], float]) -> StageBars:
        values = {g: tuple(float(sum(amount(s) for s in found if s.group == g)) for found in shares) for g in GROUPS}
        return StageBars(title, unit, tuple(names), {g: v for g, v in values.items() if any(v)})

    found = [bars("Parameters", "", lambda s: s.params), bars("MACs", "", lambda s: s.macs)]
    for i, table in enumerate(profiles[0].tables):
        found.append(bars(f"Latency on {table.name}", "ms", lambda s, i=i: s.latency_ms[i]))  # type: ignore[misc]
    return tuple(found)


def stage_bars_figure(info: StageBars) -> Figure:
    """Horizontal stacked bars, first stage on top."""
    suffix = f" {info.unit}" if info.unit else ""
    number = ".3f" if info.unit == "ms" else ".4s"
    traces = [
        {
            "type": "bar",
            "name": "samplers and ends" if group == "other" else f"{group} blocks",
            "y": [plotly_text(name, 24) for name in info.stages],
            "x": list(values),
            "orientation": "h",
            "marker": {"color": GROUPS[group]},
            "hovertemplate": f"%{{y}}: %{{x:{number}}}{suffix}",
        }
        for group, values in info.values.items()
    ]
    return figure(
        traces,
        barmode="stack",
        height=110 + 24 * len(info.stages),
        bargap=0.25,
        title={"text": plotly_text(info.title), "font": {"size": 14}, "x": 0, "xref": "container"},
        legend={"orientation": "h", "y": -0.16, "x": 0, "traceorder": "normal"},
        margin={"l": 64, "r": 12, "t": 36, "b": 60, "autoexpand": True},
        xaxis={"tickformat": "~s" if not suffix else "", "ticksuffix": suffix, "rangemode": "tozero", "nticks": 6},
        yaxis={"autorange": "reversed", "type": "category", "automargin": True},
    )
