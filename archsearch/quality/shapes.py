"""Procedural captioned shapes: the embedded data set.  Samples are pure functions of (seed, split, index)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.errors import QualityError
from archsearch.quality.scenes import COLOURS, GRID, GROUNDS, KINDS, SHAPES, Kind, Scenes, Split, draw_scenes

if TYPE_CHECKING:
    from archsearch.quality.draws import Ints
    from archsearch.quality.raster import Images

MIN_SIZE, MAX_SIZE = 32, 256
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "centre", "right")
NUMBERS = ("no", "one", "two", "three")
PLURALS = {shape: shape + ("es" if shape.endswith("s") else "s") for shape in SHAPES}
_COLOUR_NAMES = tuple(COLOURS)
_GROUND_NAMES = tuple(GROUNDS)


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: centre (from the top left) and half width in units of the image's side; bits of a tile's cells."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    pattern: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What a sample shows, and its caption."""

    kind: Kind
    ground: str
    caption: str
    things: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class ShapesData:
    """Captioned shapes.

    Args:
        seed: any integer; another seed gives other samples.
        size: side of the images in pixels, 32 to 256.  The scene of an index does not depend on it.

    Raises:
        QualityError: a size out of range.
    """

    seed: int = 0
    size: int = 32

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise QualityError("image size out of range", where="size", got=self.size,
                               allowed=f"{MIN_SIZE} to {MAX_SIZE}")  # fmt: skip

    def batch(self, indices: Ints, split: Split = "train") -> tuple[Images, list[str]]:
        """Images [N, 3, size, size] in [-1, 1] and captions of the samples with these indices (>= 0)."""
        from archsearch.quality.raster import draw

        scenes = draw_scenes(self.seed, indices, split)
        return draw(scenes, self.size), captions(scenes)

    def describe(self, index: int, split: Split = "train") -> Scene:
        """The structured description of one sample."""
        import numpy as np

        scenes = draw_scenes(self.seed, np.array([index]), split)
        things = []
        for k in range(int(scenes.number[0])):
            shape = SHAPES[scenes.shape[0, k]]
            things.append(
                Thing(
                    shape,
                    _COLOUR_NAMES[scenes.colour[0, k]],
                    float(scenes.x[0, k]),
                    float(scenes.y[0, k]),
                    float(scenes.radius[0, k]),
                    int(scenes.pattern[0, k]) if shape == "tile" else None,
                )
            )
        return Scene(KINDS[scenes.kind[0]], _GROUND_NAMES[scenes.ground[0]], captions(scenes)[0], tuple(things))


def captions(scenes: Scenes) -> list[str]:
    """One caption a scene."""
    result = []
    for i, (kind, ground, number) in enumerate(
        zip(scenes.kind.tolist(), scenes.ground.tolist(), scenes.number.tolist(), strict=True)
    ):
        things = [(SHAPES[s], _COLOUR_NAMES[c]) for s, c in zip(scenes.shape[i], scenes.colour[i], strict=True)]
        cells = [f"{ROWS[cell // GRID]} {COLUMNS[cell % GRID]}" for cell in scenes.cell[i]]
        result.append(f"{_caption(KINDS[kind], number, things, cells)} on {_GROUND_NAMES[ground]}")
    return result


def _caption(kind: Kind, number: int, things: list[tuple[str, str]], cells: list[str]) -> str:
    (shape, colour), (shape1, colour1) = things[:2]
    match kind:
        case "single":
            return f"a {colour} {shape} {cells[0]}"
        case "places":
            return f"a {colour} {shape} {cells[0]} and a {colour1} {shape1} {cells[1]}"
        case "count":
            return f"{NUMBERS[number]} {colour} {PLURALS[shape]}"
        case "left":
            return f"a {colour} {shape} left of a {colour1} {shape1}"
        case "above":
            return f"a {colour} {shape} above a {colour1} {shape1}"
        case "pair":
            return f"a {shape} and a {shape1} of the same colour"
        case "alike":
            return f"{NUMBERS[number]} {colour} {PLURALS[shape]} all alike"
        case "mirror":
            return f"a {colour} {shape} and its mirror image"
