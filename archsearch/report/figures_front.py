"""The Pareto front: every candidate by status, axes that the page can exchange, error bars where they are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from archsearch.report.figures import Figure, figure, plotly_text
from archsearch.report.palette import BLUE, GREY, SCALE, SKY, VERMILION
from archsearch.search.front import front, hypervolume_history, knee
from archsearch.search.objectives import LABELS, Objective
from archsearch.search.study import Study
from archsearch.search.trial import Trial

Status: TypeAlias = Literal["front", "dominated", "infeasible", "unscored"]
MAX_DOMINATED = 4000
TICKS: dict[str, tuple[str, str]] = {"latency": ("~g", " ms"), "quality": ("~g", "")}


@dataclass(frozen=True, slots=True)
class Axis:
    """One quantity that a candidate has; objectives come first."""

    name: str
    label: str
    objective: bool
    unit: str
    tick_format: str
    tick_suffix: str


@dataclass(frozen=True, slots=True)
class Point:
    """One distinct candidate.  ``low`` and ``high`` bound a value where an interval or standard error is known."""

    number: int
    status: Status
    values: dict[str, float | None]
    low: dict[str, float]
    high: dict[str, float]


@dataclass(frozen=True, slots=True)
class FrontInfo:
    """Candidates by status.  ``thinned`` dominated candidates are left out of the drawing, never out of the front."""

    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    knee: int | None
    baseline: int | None
    thinned: int

    def of(self, status: Status) -> tuple[Point, ...]:
        """The points of a status."""
        return tuple(point for point in self.points if point.status == status)


def front_info(study: Study, max_dominated: int = MAX_DOMINATED) -> FrontInfo:
    """All distinct candidates of a study by status."""
    names = study.config.objectives
    members = front(study.trials, names)
    numbers = {trial.number for trial in members}
    chosen = knee(members, names)
    distinct = [trial for trial in study.trials if trial.duplicate_of is None]
    points = [_point(trial, _status(trial, names, numbers)) for trial in distinct]
    kept, thinned = _thin(points, max_dominated)
    return FrontInfo(axes(study), kept, chosen.number if chosen else None, 0 if study.trials else None, thinned)


def axes(study: Study) -> tuple[Axis, ...]:
    """The objectives, then every other quantity that trials have."""
    known = {objective.name: objective for objective in study.objectives}
    for trial in study.trials[:1]:
        for name in trial.values:
            quantity, _, table = name.partition(":")
            if name not in known and quantity in LABELS:
                known[name] = Objective(quantity, table or None)
    return tuple(_axis(objective, objective in study.objectives) for objective in known.values())


def _axis(objective: Objective, searched: bool) -> Axis:
    tick_format, suffix = TICKS.get(objective.quantity, ("~s", "B" if objective.unit == "bytes" else ""))
    unit = f" {objective.unit}" if objective.unit else ""
    return Axis(objective.name, objective.label, searched, unit, tick_format, suffix)


def _status(trial: Trial, names: Sequence[str], members: set[int]) -> Status:
    if trial.vector(names) is None:
        return "unscored"
    if not trial.feasible:
        return "infeasible"
    return "front" if trial.number in members else "dominated"


def _point(trial: Trial, status: Status) -> Point:
    low = {name: pair[0] for name, pair in trial.intervals.items()}
    high = {name: pair[1] for name, pair in trial.intervals.items()}
    for name, error in trial.errors.items():
        value = trial.values.get(name)
        if value is not None and math.isfinite(error):
            low[name], high[name] = value - error, value + error
    return Point(trial.number, status, dict(trial.values), low, high)


def _thin(points: list[Point], limit: int) -> tuple[tuple[Point, ...], int]:
    """Every k-th dominated or infeasible point, so that a large study stays quick to draw; the first is kept."""
    crowd = [point.number for point in points if point.status in ("dominated", "infeasible")]
    if len(crowd) <= limit:
        return tuple(points), 0
    every = -(-len(crowd) // limit)
    kept = {*crowd[::every], *crowd[:1]}
    return tuple(p for p in points if p.status not in ("dominated", "infeasible") or p.number in kept), len(
        crowd
    ) - len(kept)


def default_axes(info: FrontInfo) -> tuple[str, str, str]:
    """(across, up, colour): latency, quality and what is left, as far as they were searched for."""
    searched = [axis.name for axis in info.axes if axis.objective]
    others = [axis.name for axis in info.axes if not axis.objective]
    y = "quality" if "quality" in searched else (searched + others)[-1 if len(searched) > 1 else 0]
    left = [name for name in (*searched, *others) if name != y] or [y]
    x = next((name for name in left if name.startswith("latency:")), left[0])
    left = [name for name in left if name != x] or [y]
    return x, y, left[0]


def front_figure(info: FrontInfo, x: str, y: str, colour: str) -> Figure:
    """The scatter; each trace's ``customdata`` are trial numbers, from which the page redraws other axes."""
    by_name = {axis.name: axis for axis in info.axes}
    members = info.of("front")
    thin = {"symbol": "x-thin", "size": 6, "line": {"width": 1.2, "color": GREY}}
    traces = [
        _trace("over a limit", info.of("infeasible"), x, y, thin),
        _trace("dominated", info.of("dominated"), x, y, {"symbol": "circle-open", "size": 6, "color": SKY}),
        _trace("Pareto front", members, x, y, _member_marker(members, by_name[colour])),
    ]
    traces[-1] |= {"error_x": error_bar(members, x), "error_y": error_bar(members, y)}
    for label, number, symbol, shade in (
        ("baseline", info.baseline, "diamond-open", GREY),
        ("knee: the suggested choice", info.knee, "star-open", VERMILION),
    ):
        found = tuple(p for p in info.points if p.number == number and p.status != "unscored")
        marker = {"symbol": symbol, "size": 17, "color": shade, "line": {"width": 2}}
        traces.append(_trace(label, found, x, y, marker))
    return figure(
        [trace for trace in traces if trace["x"]],
        height=470,
        margin={"l": 70, "r": 10, "t": 10, "b": 50},
        xaxis=_axis_layout(by_name[x]),
        yaxis=_axis_layout(by_name[y]),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        clickmode="event",
        dragmode="zoom",
    )


def _member_marker(members: Sequence[Point], axis: Axis) -> dict[str, Any]:
    title = {"text": plotly_text(axis.label, 40), "side": "right"}
    ticks = {"tickformat": axis.tick_format, "ticksuffix": axis.tick_suffix}
    return {
        "size": 10,
        "line": {"width": 1, "color": "rgba(128,128,128,0.8)"},
        "color": [point.values.get(axis.name) for point in members],
        "colorscale": SCALE,
        "showscale": True,
        "colorbar": {"title": title, "thickness": 12, **ticks},
    }


def _axis_layout(axis: Axis) -> dict[str, Any]:
    ticks = {"tickformat": axis.tick_format, "ticksuffix": axis.tick_suffix, "nticks": 7}
    return {"title": {"text": plotly_text(axis.label, 60)}, "zeroline": False, "automargin": True, **ticks}


def _trace(name: str, points: Sequence[Point], x: str, y: str, marker: dict[str, Any]) -> dict[str, Any]:
    hover = "trial %{customdata}<br>%{xaxis.title.text}: %{x:.5~g}<br>%{yaxis.title.text}: %{y:.5~g}<extra></extra>"
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [p.values.get(x) for p in points],
        "y": [p.values.get(y) for p in points],
        "customdata": [p.number for p in points],
        "marker": marker,
        "hovertemplate": hover,
    }


def error_bar(points: Sequence[Point], name: str) -> dict[str, Any]:
    """Distances from each value to its bounds; not visible where none is known."""
    plus, minus = [], []
    for point in points:
        value = point.values.get(name)
        plus.append(point.high[name] - value if value is not None and name in point.high else 0.0)
        minus.append(value - point.low[name] if value is not None and name in point.low else 0.0)
    return {"type": "data", "symmetric": False, "array": plus, "arrayminus": minus, "thickness": 1, "width": 0,
            "color": "rgba(128,128,128,0.45)", "visible": any(plus) or any(minus)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HistoryInfo:
    """Hypervolume after so many trials, on the scale of all feasible trials."""

    trials: tuple[int, ...]
    hypervolume: tuple[float, ...]


def history_info(study: Study) -> HistoryInfo:
    """Hypervolume over the study's trials."""
    pairs = hypervolume_history(study.trials, study.config.objectives)
    return HistoryInfo(tuple(n for n, _ in pairs), tuple(v for _, v in pairs))


def history_figure(info: HistoryInfo) -> Figure:
    """Hypervolume as a staircase."""
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": list(info.trials),
        "y": list(info.hypervolume),
        "line": {"shape": "hv", "color": BLUE},
        "hovertemplate": "after %{x} trials: %{y:.4f}<extra></extra>",
    }
    return figure(
        [line],
        height=240,
        margin={"l": 70, "r": 10, "t": 10, "b": 45},
        xaxis={"title": {"text": "trials"}, "nticks": 8, "rangemode": "tozero"},
        yaxis={"title": {"text": "hypervolume"}, "nticks": 5},
    )
