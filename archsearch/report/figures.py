"""What all figures share.  A figure is plain data for plotly.js, without a template; the page sets fonts and grids."""

from __future__ import annotations

from html import escape
from typing import Any, TypeAlias

Figure: TypeAlias = dict[str, Any]


def figure(data: list[dict[str, Any]], **layout: Any) -> Figure:
    """Traces and a layout with a transparent background.

    Built by hand rather than by ``plotly.graph_objects``: a page holds some hundred figures, and validating each costs
    20 ms; the tests validate every kind of figure instead.
    """
    base = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"align": "left"},
        "autosize": True,
    }
    return {"data": data, "layout": base | layout}


def plotly_text(text: str, limit: int = 80) -> str:
    """A name as plotly shows it: as text, never as its pseudo-HTML; long ones are shortened."""
    flat = " ".join(text.split())
    return escape(flat if len(flat) <= limit else flat[: limit - 1] + "…", quote=False)
