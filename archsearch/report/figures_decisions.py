"""What the front members decide: parallel coordinates where they differ, and what they agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archsearch.report.figures import Figure, figure, plotly_text
from archsearch.report.palette import blend
from archsearch.search.objectives import Objective
from archsearch.search.study import Study
from archsearch.search.trial import Trial
from archsearch.space.decisions import choice_text

MAX_LINES = 120
SPREAD = 0.26


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision as the front members took it; ``chosen`` is aligned with the members (indices of choices)."""

    name: str
    help: str
    choices: tuple[str, ...]
    default: int
    chosen: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DecisionsInfo:
    """Decisions that differ on the front, those on which all members agree, and the colour of each member's line."""

    members: tuple[int, ...]
    varied: tuple[Decided, ...]
    agreed: tuple[Decided, ...]
    objective: str
    label: str
    values: tuple[float, ...]


def decisions_info(study: Study, members: list[Trial]) -> DecisionsInfo:
    """The decisions of front members; lines are coloured by the last objective (quality, if it is searched for)."""
    space = study.space
    objective: Objective = study.objectives[-1]
    decided = [
        Decided(
            decision.name,
            decision.help,
            tuple(choice_text(choice) for choice in decision.choices),
            decision.default,
            tuple(trial.encoding[i] for trial in members),
        )
        for i, decision in enumerate(space.decisions)
    ]
    return DecisionsInfo(
        tuple(trial.number for trial in members),
        tuple(d for d in decided if len(set(d.chosen)) > 1),
        tuple(d for d in decided if len(set(d.chosen)) == 1),
        objective.name,
        objective.label,
        tuple(float(trial.values[objective.name] or 0.0) for trial in members),
    )


def decisions_figure(info: DecisionsInfo) -> Figure:
    """One line a member, drawn in SVG (no WebGL needed); members are spread a little around each choice.

    Lines are ordered by value, so that those of similar value lie side by side; the ends of the colour scale are left
    out, because a thin line of them is lost on a light or a dark page.
    """
    ordered = sorted(range(len(info.members)), key=lambda i: (info.values[i], info.members[i]))
    shown = ordered[:: max(1, -(-len(ordered) // MAX_LINES))]
    low, high = min(info.values, default=0.0), max(info.values, default=0.0)
    spread = min(SPREAD, 0.02 * len(shown))
    traces = []
    for place, i in enumerate(shown):
        offset = spread * (place / max(1, len(shown) - 1) - 0.5)
        share = (info.values[i] - low) / (high - low) if high > low else 0.5
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(len(info.varied))),
                "y": [round(_height(d, d.chosen[i]) + offset / max(2, len(d.choices)), 4) for d in info.varied],
                "line": {"color": blend(0.12 + 0.73 * share), "width": 1.6},
                "marker": {"size": 5},
                "customdata": [info.members[i]] * len(info.varied),
                "text": [plotly_text(f"{d.name}: {d.choices[d.chosen[i]]}") for d in info.varied],
                "hovertemplate": f"trial {info.members[i]}<br>%{{text}}<extra></extra>",
                "showlegend": False,
            }
        )
    names = [plotly_text(d.name, 18) for d in info.varied]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "tickangle": 25}
    return figure(
        traces,
        height=400,
        margin={"l": 20, "r": 70, "t": 16, "b": 80},
        hovermode="closest",
        annotations=[
            _choice_label(column, decided, index)
            for column, decided in enumerate(info.varied)
            for index in range(len(decided.choices))
        ],
        xaxis={**ticks, "zeroline": False, "range": [-0.35, len(names) - 0.35], "fixedrange": True},
        yaxis={"visible": False, "range": [-0.16, 1.16], "fixedrange": True},
    )


def _choice_label(column: int, decided: Decided, index: int) -> dict[str, Any]:
    """The name of a choice beside its place on the axis; the page gives it a background."""
    return {
        "x": column,
        "y": _height(decided, index),
        "text": plotly_text(decided.choices[index], 16),
        "showarrow": False,
        "xanchor": "left",
        "xshift": 8,
        "borderpad": 1,
        "font": {"size": 11},
    }


def _height(decided: Decided, choice: int) -> float:
    return choice / max(1, len(decided.choices) - 1)
