"""The networks whose published latencies fit and check the tables: presets, and two that are made from SD 1.5."""

from __future__ import annotations

import dataclasses
from itertools import takewhile

from archsearch.arch import Transformer, UNet, load_preset
from archsearch.cost import Conditions, lower
from archsearch.cost.lowering import Lowering
from archsearch.cost.op import Op

CONTROLNET = "controlnet"
EFFICIENT = "sd15 without 64x64 transformers"
_HINT = ((3, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 96, 2), (96, 96, 1), (96, 256, 2), (256, 320, 1))


def lowering(name: str) -> Lowering:
    """A preset under its own conditions, or Clockwork's *Efficient UNet* (arXiv 2312.08128)."""
    preset = load_preset("sd15" if name == EFFICIENT else name)
    arch = preset.architecture
    if name == EFFICIENT:
        assert isinstance(arch, UNet)
        first = arch.stages[0]
        without = dataclasses.replace(first, down=_without(first.down), up=_without(first.up))
        arch = dataclasses.replace(arch, stages=(without, *arch.stages[1:]))
    return lower(arch, Conditions(latent=preset.latent, text=preset.text))


def ops(name: str) -> list[Op]:
    """Every operator of one pass."""
    if name != CONTROLNET:
        return [located.op for located in lowering(name).ops()]
    half = list(takewhile(lambda piece: piece.step.role != "join", lowering("sd15").pieces))
    found = [traced.op for piece in half for traced in piece.trace.ops]
    side, hint = 512, []
    for channels, out, stride in _HINT:
        hint.append(_conv(channels, out, side, 3, stride))
        side //= stride
    skips = [(320, 64)] * 3 + [(320, 32)] + [(640, 32)] * 2 + [(640, 16)] + [(1280, 16)] * 2 + [(1280, 8)] * 4
    return found + hint + [_conv(channels, channels, side, 1, 1) for channels, side in skips]


def _conv(channels: int, out: int, side: int, k: int, stride: int) -> Op:
    attrs = (("bias", 1), ("g", 1), ("k", k), ("out", out), ("s", stride))
    return Op("conv2d", ((1, channels, side, side),), attrs)


def _without(layers: tuple[tuple[object, ...], ...]) -> tuple[tuple[object, ...], ...]:
    return tuple(tuple(block for block in layer if not isinstance(block, Transformer)) for layer in layers)
