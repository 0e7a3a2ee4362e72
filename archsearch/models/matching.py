"""Which part of one network is the counterpart of which part of another.  Imports no torch.

Stages match by resolution; layers and blocks match in order, so that the widths around them fit best (of SD 1.5's
three up layers, two that are left are the first and the last, as in BK-SDM).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from archsearch.arch import Architecture
from archsearch.arch.values import Block, Downsample, ResBlock, SpatialAttention, Transformer, Upsample
from archsearch.models.paths import located_steps

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """A block or sampler with its module path (ending in a dot) and the widths around it.

    ``inputs`` has two entries where the input is a join: the stream's channels and the skip's.  ``sampled`` says that
    the joined skip was left by a sampler or by conv_in rather than by a layer.
    """

    path: str
    value: Block | Downsample | Upsample
    inputs: tuple[int, ...]
    channels: int
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class Half:
    """Parts of one half of a stage (or of the middle): layers of blocks, and its sampler."""

    layers: tuple[tuple[Part, ...], ...]
    sampler: Part | None = None


def halves(arch: Architecture) -> dict[tuple[str, int], Half]:
    """The parts of ``arch`` by half name (down, middle, up) and stage (0 for the middle)."""
    layers: dict[tuple[str, int], dict[int, list[Part]]] = {}
    samplers: dict[tuple[str, int], Part] = {}
    skips: list[bool] = []
    joined: tuple[int, ...] = ()
    sampled = False
    for step, path in located_steps(arch):
        place = step.place
        key = (place.half, 0 if place.half == "middle" else place.stage)
        if step.role == "push":
            skips.append(place.half == "stem" or step.level != place.stage)
        elif step.role == "join":
            joined, sampled = (step.in_channels, step.skip_channels), skips.pop()
        elif step.role == "block":
            inputs = joined or (step.in_channels,)
            part = Part(path, cast(Block, step.value), inputs, step.out_channels, bool(joined) and sampled)
            layers.setdefault(key, {}).setdefault(place.layer, []).append(part)
            joined = ()
        elif step.role in ("downsample", "upsample"):
            sampler = cast("Downsample | Upsample", step.value)
            samplers[key] = Part(path, sampler, (step.in_channels,), step.out_channels)
    return {
        key: Half(tuple(tuple(parts) for _, parts in sorted(layers.get(key, {}).items())), samplers.get(key))
        for key in dict.fromkeys([*layers, *samplers])
    }


def match(target: Architecture, source: Architecture) -> list[tuple[Part, Part | None]]:
    """Every block and sampler of ``target`` with its counterpart in ``source``, or None."""
    theirs = halves(source)
    found: list[tuple[Part, Part | None]] = []
    for key, half in halves(target).items():
        other = theirs.get(key, Half(()))
        counterparts = align(half.layers, other.layers, _layers_fit)
        for layer, counterpart in zip(half.layers, counterparts, strict=True):
            found += _match_blocks(layer, counterpart or ())
        if half.sampler is not None:
            found.append((half.sampler, other.sampler))
    return found


def _match_blocks(target: tuple[Part, ...], source: tuple[Part, ...]) -> list[tuple[Part, Part | None]]:
    """Match the blocks of two layers; the block after a join only matches the block after a join."""
    found: list[tuple[Part, Part | None]] = []
    if target and len(target[0].inputs) == 2:
        first = source[0] if source and len(source[0].inputs) == 2 else None
        found.append((target[0], first))
        target, source = target[1:], source[1:]
    counterparts: list[Part | None] = align(target, source, _blocks_fit)
    for i in range(1, len(target)):  # a block that repeats the one before it starts as its copy (SnapFusion)
        if counterparts[i] is None and target[i].value == target[i - 1].value and _same_widths(target[i - 1]):
            counterparts[i] = counterparts[i - 1]
    return [*found, *zip(target, counterparts, strict=True)]


def _same_widths(part: Part) -> bool:
    return part.inputs == (part.channels,)


def align(target: Sequence[T], source: Sequence[T], fit: Callable[[T, T, bool], float]) -> list[T | None]:
    """The counterpart of each target item: in order, each source item at most once, best total ``fit``.

    ``fit(target item, source item, both first)`` is positive where the two may be counterparts.  Among equals the
    earlier source items win.
    """
    rows, columns = len(target), len(source)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            gain = fit(target[i], source[j], i == 0 and j == 0)
            matched = gain + best[i + 1][j + 1] if gain > 0 else 0.0
            best[i][j] = max(matched, best[i + 1][j], best[i][j + 1])
    found: list[T | None] = []
    i = j = 0
    while i < rows:
        gain = fit(target[i], source[j], i == 0 and j == 0) if j < columns else 0.0
        if gain > 0 and best[i][j] == gain + best[i + 1][j + 1]:
            found.append(source[j])
            i, j = i + 1, j + 1
        elif j < columns and best[i][j] == best[i][j + 1]:
            j += 1
        else:
            found.append(None)
            i += 1
    return found


def _ratio(a: int, b: int) -> float:
    return min(a, b) / max(a, b)


def _blocks_fit(target: Part, source: Part, both_first: bool) -> float:
    """0 for different kinds; widths that agree and places that agree count."""
    if isinstance(target.value, Transformer) != isinstance(source.value, Transformer):
        return 0.0
    if isinstance(target.value, SpatialAttention) != isinstance(source.value, SpatialAttention):
        return 0.0
    same = isinstance(target.value, ResBlock) == isinstance(source.value, ResBlock)
    widths = [_ratio(a, b) for a, b in zip(target.inputs, source.inputs, strict=False)]
    return 1.0 + same + min(widths) + _ratio(target.channels, source.channels) + 0.5 * both_first


def _layers_fit(target: tuple[Part, ...], source: tuple[Part, ...], both_first: bool) -> float:
    if not target or not source:
        return 0.5 if len(target) == len(source) else 0.1
    pairs = [(a, b) for a, b in _match_blocks(target, source) if b is not None]
    blocks = sum(_blocks_fit(a, b, False) for a, b in pairs) / max(len(target), len(source))
    return 0.1 + blocks + 0.5 * both_first + 0.5 * (target[0].sampled == source[0].sampled)
