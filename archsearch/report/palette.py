"""Colours that colour-blind readers can tell apart: Okabe and Ito's eight, and nine steps of cividis for shares."""

from __future__ import annotations

BLUE = "#0072B2"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8A8F98"

GROUPS: dict[str, str] = {"attention": ORANGE, "residual": BLUE, "other": GREY}

# Cividis (Nunez, Anderton, Renslow 2018), without its darkest tenth, which a dark page would swallow.
CIVIDIS: tuple[str, ...] = (
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
SCALE: list[list[float | str]] = [[i / (len(CIVIDIS) - 1), colour] for i, colour in enumerate(CIVIDIS)]

# Light to dark, so that the eye goes to the expensive boxes; index i is a share up to STEPS[i] of the whole.
STEPS: tuple[float, ...] = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.09, 0.13, 1.0)


def step(share: float) -> int:
    """Index of the colour step of a share (0 to 1)."""
    return next((i for i, upper in enumerate(STEPS) if share <= upper), len(STEPS) - 1)


def blend(share: float) -> str:
    """The colour of a share (0 to 1) on the scale of the figures."""
    place = min(max(share, 0.0), 1.0) * (len(CIVIDIS) - 1)
    low = min(int(place), len(CIVIDIS) - 2)
    parts = [
        round(
            int(CIVIDIS[low][i : i + 2], 16) * (low + 1 - place) + int(CIVIDIS[low + 1][i : i + 2], 16) * (place - low)
        )
        for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in parts)
