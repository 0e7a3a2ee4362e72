"""Bars after SnapFusion's figure 2: what each stage costs, attention and residual blocks apart."""

from __future__ import annotations

from dataclasses import dataclass

from archsearch.latency.profile import Profile
from archsearch.latency.stages import stage_shares
from archsearch.report.figures import Figure, figure, plotly_text
from archsearch.report.palette import GROUPS


@dataclass(frozen=True, slots=True)
class StageBars:
    """One quantity by stage and group.  ``values[group]`` is aligned with ``stages``."""

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


def stage_bars_figure(info: StageBars) -> Figure:
    """Horizontal stacked bars, first stage on top."""
    suffix = f" {info.unit}" if info.unit else ""
    number = ".3f" if info.unit == "ms" else ".4s"
    traces = [
        {
            "type": "bar",
            "name": "samplers and ends" if group == "other" else f"{group} blocks",
            "y": list(info.stages),
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
        margin={"l": 64, "r": 12, "t": 36, "b": 60},
        xaxis={"ticksuffix": suffix, "rangemode": "tozero", "nticks": 6},
        yaxis={"autorange": "reversed", "type": "category"},
    )
