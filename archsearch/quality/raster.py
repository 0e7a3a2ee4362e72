"""Drawing scenes: every shape is a signed distance, so edges are smooth at any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from archsearch.quality.scenes import COLOURS, GROUNDS, MAX_OBJECTS, SHAPES, TILE, TILE_CELLS, Scenes

if TYPE_CHECKING:
    import numpy as np

    Images: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

SHADE = 0.3  # brightness of a tile's dark cells, as a fraction of its colour
CHUNK = 1 << 22  # pixels drawn at once


def draw(scenes: Scenes, size: int) -> Images:
    """Images [N, 3, size, size] in [-1, 1]."""
    import numpy as np

    count = len(scenes.kind)
    images = np.empty((count, 3, size, size), dtype=np.float32)
    chunk = max(1, CHUNK // (size * size))
    for start in range(0, count, chunk):
        _draw(scenes, slice(start, start + chunk), images[start : start + chunk])
    return images


def _draw(scenes: Scenes, samples: slice, images: Images) -> None:
    import numpy as np

    size = images.shape[-1]
    palette = np.array(list(COLOURS.values()), dtype=np.float32)
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    images[...] = np.array(list(GROUNDS.values()), dtype=np.float32)[scenes.ground[samples]][:, :, None, None]
    for k in range(MAX_OBJECTS):
        shape = scenes.shape[samples, k]
        for s in range(len(SHAPES)):
            which = np.flatnonzero(shape == s)
            if len(which) == 0:
                continue
            radius = scenes.radius[samples, k][which].astype(np.float32)[:, None, None]
            dx = axis[None, None, :] - scenes.x[samples, k][which].astype(np.float32)[:, None, None]
            dy = axis[None, :, None] - scenes.y[samples, k][which].astype(np.float32)[:, None, None]
            cover = np.clip(0.5 - _distance(s, dx, dy, radius) * size, 0, 1)[:, None]
            colour = palette[scenes.colour[samples, k][which]][:, :, None, None]
            if s == TILE:
                colour = colour * _tile(scenes.pattern[samples, k][which], dx, dy, radius)[:, None]
            images[which] += cover * (colour - images[which])
    images *= 2
    images -= 1


def _distance(shape: int, dx: Any, dy: Any, radius: Any) -> Any:
    """Signed distance [n, H, W] (negative inside) in units of the image's side."""
    import numpy as np

    match SHAPES[shape]:
        case "circle":
            return np.hypot(dx, dy) - radius
        case "square" | "tile":
            return np.maximum(np.abs(dx), np.abs(dy)) - radius * 0.9
        case "diamond":
            return (np.abs(dx) + np.abs(dy) - radius * 1.15) * np.float32(0.5**0.5)
        case "triangle":  # upright: base at +radius, apex at -radius
            return np.maximum(dy - radius * 0.8, (2 * np.abs(dx) - dy - radius) * np.float32(0.2**0.5))
        case "cross":
            far, near = np.maximum(np.abs(dx), np.abs(dy)), np.minimum(np.abs(dx), np.abs(dy))
            return np.maximum(far - radius, near - radius * 0.36)
    raise AssertionError(shape)


def _tile(pattern: Any, dx: Any, dy: Any, radius: Any) -> Any:
    """Brightness [n, H, W] of the cells of tiles."""
    import numpy as np

    def cell(offset: Any) -> Any:
        return np.clip((offset / (radius * 1.8) + 0.5) * TILE_CELLS, 0, TILE_CELLS - 1).astype(np.int64)

    bit = pattern[:, None, None] >> (cell(dy) * TILE_CELLS + cell(dx)) & 1
    return np.where(bit, np.float32(1), np.float32(SHADE))
