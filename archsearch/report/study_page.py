"""The page of a study: the front, its members explained, what they decide, and where every number comes from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.report.figures import Figure, plotly_text
from archsearch.report.figures_decisions import decisions_figure
from archsearch.report.figures_front import FrontInfo, Point, default_axes, front_figure, history_figure
from archsearch.report.figures_stages import stage_bars_figure
from archsearch.report.render import render, write_page
from archsearch.report.study_info import StudyInfo, study_info

if TYPE_CHECKING:
    from archsearch.search.study import Study

PAGE = "index.html"


def study_page(study: Path | Study, output: Path) -> Path:
    """Write the page of a study.

    Args:
        study: a study or its folder.
        output: the HTML file; its folder is made.

    Raises:
        SearchError: not a study.
        ReportError: the page cannot be written.
    """
    from archsearch.search.study import open_study

    opened = open_study(study) if isinstance(study, Path) else study
    return write_page(study_html(study_info(opened), str(opened.folder)), output)


def study_html(info: StudyInfo, folder: str) -> str:
    """The page as text."""
    figures: dict[str, Figure] = {}
    selects: tuple[tuple[str, str, str], ...] = ()
    if info.front.points:
        x, y, colour = default_axes(info.front)
        figures["front"] = front_figure(info.front, x, y, colour)
        selects = (("x", "across", x), ("y", "up", y), ("c", "colour", colour))
    if len(info.history.trials) > 1:
        figures["history"] = history_figure(info.history)
    if info.decisions is not None and info.decisions.varied:
        figures["decisions"] = decisions_figure(info.decisions)
    data = {
        "study": folder,
        "chosen": info.chosen,
        "axes": [{**asdict(axis), "title": plotly_text(axis.label, 60), "unit": axis.unit} for axis in info.front.axes],
        "points": columns(info.front),
        "figures": figures,
        "bars": {number: [stage_bars_figure(bar) for bar in c.bars] for number, c in info.candidates.items()},
    }
    return render("study.html.j2", data, title=f"Study {info.name}", info=info, selects=selects)


def columns(front: FrontInfo) -> dict[str, Any]:
    """Points as columns, which take a fraction of the space of rows."""

    def column(side: str, name: str) -> list[float | None]:
        return [getattr(point, side).get(name) for point in front.points]

    bounded = [axis.name for axis in front.axes if any(_bounded(point, axis.name) for point in front.points)]
    return {
        "number": [point.number for point in front.points],
        "status": [point.status for point in front.points],
        "values": {axis.name: column("values", axis.name) for axis in front.axes},
        "low": {name: column("low", name) for name in bounded},
        "high": {name: column("high", name) for name in bounded},
    }


def _bounded(point: Point, name: str) -> bool:
    return name in point.low or name in point.high
