"""What the procedural images show: arrays of scenes, drawn from a seed and an index alone.

A scene holds one to three objects (a shape in a colour, at a place, of a size) on a ground that the caption names.
Most kinds tie far parts of the image together, so that a network that looks only around each pixel does worse:

* ``single``: one object at a named place;
* ``places``: two objects at named places;
* ``count``: two or three objects of one shape and colour;
* ``left``, ``above``: two objects in a named relation;
* ``pair``: two objects of one colour, which the caption does not tell;
* ``alike``: two or three tiles with one random pattern, which the caption does not tell;
* ``mirror``: an object and its mirror image.

Combinations of shape and colour for which :func:`is_held_out` holds are never drawn in the ``train`` split; in the
``held_out`` split the first object is always one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from archsearch.quality.draws import Draws

if TYPE_CHECKING:
    from archsearch.quality.draws import Floats, Ints

Split: TypeAlias = Literal["train", "held_out"]
Kind: TypeAlias = Literal["single", "places", "count", "left", "above", "pair", "alike", "mirror"]

KINDS: tuple[Kind, ...] = ("single", "places", "count", "left", "above", "pair", "alike", "mirror")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "tile")
TILE = SHAPES.index("tile")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.95, 0.25, 0.20),
    "green": (0.20, 0.80, 0.30),
    "blue": (0.25, 0.40, 1.00),
    "yellow": (1.00, 0.90, 0.25),
    "purple": (0.70, 0.30, 0.90),
    "white": (1.00, 1.00, 1.00),
}
GROUNDS: dict[str, tuple[float, float, float]] = {
    "black": (0.03, 0.03, 0.03),
    "grey": (0.45, 0.45, 0.45),
    "navy": (0.08, 0.10, 0.38),
    "brown": (0.38, 0.24, 0.10),
}
MAX_OBJECTS = 3
TILE_CELLS = 3  # a tile is TILE_CELLS x TILE_CELLS two-tone cells
GRID = 3  # objects stand in different cells of a coarse grid
JITTER = 0.2  # of a cell
RADIUS = (0.10, 0.133)  # half width, of the image's side


@dataclass(frozen=True, eq=False)
class Scenes:
    """A batch of scenes: arrays over samples [N] or objects [N, MAX_OBJECTS]; unused objects have ``shape`` -1.

    ``x``, ``y`` (centre, from the top left) and ``radius`` are in units of the image's side.  ``pattern`` holds the
    bits of a tile's cells, row by row; ``cell`` is the place on the coarse grid, row * GRID + column.
    """

    kind: Ints
    ground: Ints
    number: Ints
    shape: Ints
    colour: Ints
    x: Floats
    y: Floats
    radius: Floats
    pattern: Ints
    cell: Ints


def is_held_out(shape: int, colour: int) -> bool:
    """Whether a combination (indices into SHAPES and COLOURS) is kept from training."""
    return (shape + 2 * colour) % 5 == 0


def draw_scenes(seed: int, indices: Ints, split: Split) -> Scenes:
    """The scenes of these indices (>= 0), the same in every batch."""
    import numpy as np

    draws = Draws(f"shapes/{seed}/{split}", indices)
    kind = draws.below("kind", len(KINDS))
    is_ = {name: kind == i for i, name in enumerate(KINDS)}
    more = 2 + draws.below("number", MAX_OBJECTS - 1)
    number = np.where(is_["single"], 1, np.where(is_["count"] | is_["alike"], more, 2))
    used = np.arange(MAX_OBJECTS) < number[:, None]
    shape, colour = _combinations(draws, split, is_)

    cell = _cells(draws, is_)
    x = (cell % GRID + 0.5 + JITTER * (draws.uniforms("x", MAX_OBJECTS) - 0.5)) / GRID
    y = (cell // GRID + 0.5 + JITTER * (draws.uniforms("y", MAX_OBJECTS) - 0.5)) / GRID
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * draws.uniforms("radius", MAX_OBJECTS)
    pattern = (draws.uniforms("pattern", MAX_OBJECTS) * 2 ** (TILE_CELLS**2)).astype(np.int64)

    mirror, alike = is_["mirror"], is_["alike"]
    radius = np.where((mirror | alike)[:, None], radius[:, :1], radius)
    pattern = np.where((mirror | alike)[:, None], pattern[:, :1], pattern)
    x[:, 1] = np.where(mirror, 1 - x[:, 0], x[:, 1])
    y[:, 1] = np.where(mirror, y[:, 0], y[:, 1])
    pattern[:, 1] = np.where(mirror, mirrored_bits(pattern[:, 0]), pattern[:, 1])
    return Scenes(
        kind,
        draws.below("ground", len(GROUNDS)),
        number,
        np.where(used, shape, -1),
        colour,
        x,
        y,
        radius,
        pattern,
        cell,
    )


def mirrored_bits(pattern: Ints) -> Ints:
    """Tile patterns with left and right exchanged."""
    result = pattern * 0
    for row in range(TILE_CELLS):
        for column in range(TILE_CELLS):
            bit = pattern >> (row * TILE_CELLS + column) & 1
            result |= bit << (row * TILE_CELLS + TILE_CELLS - 1 - column)
    return result


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    """Allowed combinations [n, 2] of each split, the partners of a colour, and the colours of tiles."""
    import numpy as np

    pairs = [(s, c) for s in range(len(SHAPES)) for c in range(len(COLOURS))]
    train = [pair for pair in pairs if not is_held_out(*pair)]
    held_out = [pair for pair in pairs if is_held_out(*pair)]
    partners = [[s for s in range(len(SHAPES)) if not is_held_out(s, c)] for c in range(len(COLOURS))]
    return {
        "all": np.array(pairs),
        "train": np.array(train),
        "held_out": np.array(held_out),
        "partners": partners,
        "train_tiles": np.array([c for s, c in train if s == TILE]),
        "held_out_tiles": np.array([c for s, c in held_out if s == TILE]),
    }


def _combinations(draws: Draws, split: Split, is_: dict[Kind, Any]) -> tuple[Ints, Ints]:
    """Shapes and colours [N, MAX_OBJECTS] under the rules of the split and the kinds."""
    import numpy as np

    tables = _tables()
    rest = tables["train"] if split == "train" else tables["all"]
    first = tables[split][draws.below("combination0", len(tables[split]))]
    others = [rest[draws.below(f"combination{k}", len(rest))] for k in range(1, MAX_OBJECTS)]
    shape, colour = (np.stack([first[:, i], *(other[:, i] for other in others)], axis=1) for i in (0, 1))

    tiles = tables[f"{split}_tiles"]
    shape[:, 0] = np.where(is_["alike"], TILE, shape[:, 0])
    colour[:, 0] = np.where(is_["alike"], tiles[draws.below("tile", len(tiles))], colour[:, 0])
    one_kind = (is_["count"] | is_["alike"] | is_["mirror"])[:, None]
    shape = np.where(one_kind, shape[:, :1], shape)
    colour = np.where(one_kind | is_["pair"][:, None], colour[:, :1], colour)
    partner = draws.uniform("partner")
    for i in np.flatnonzero(is_["pair"]):  # another shape that this colour may have
        options = tables["partners"][colour[i, 0]] if split == "train" else range(len(SHAPES))
        options = [s for s in options if s != shape[i, 0]]
        shape[i, 1] = options[int(partner[i] * len(options))]
    return shape, colour


def _cells(draws: Draws, is_: dict[Kind, Any]) -> Ints:
    """Different cells [N, MAX_OBJECTS] of the coarse grid, ordered where the kind asks for an order."""
    import numpy as np

    cell = np.argsort(draws.uniforms("cell", GRID * GRID), axis=1)[:, :MAX_OBJECTS]
    lines = np.array([(a, b) for a in range(GRID) for b in range(a + 1, GRID)])
    ordered = lines[draws.below("order", len(lines))]
    free = (draws.uniforms("line", 2) * GRID).astype(np.int64)
    left = free * GRID + ordered
    above = ordered * GRID + free
    side = draws.below("side", 2) * (GRID - 1)
    cell[:, :2] = np.where(is_["left"][:, None], left, np.where(is_["above"][:, None], above, cell[:, :2]))
    cell[:, 0] = np.where(is_["mirror"], free[:, 0] * GRID + side, cell[:, 0])
    cell[:, 1] = np.where(is_["mirror"], free[:, 0] * GRID + GRID - 1 - side, cell[:, 1])
    return cell
