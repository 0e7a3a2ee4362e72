"""Stretches of ``arch.walk`` that stand for themselves: a stem, a layer, a sampler, a head between given widths.

What counts layers instead of whole networks (scorers, search spaces) lowers these.
"""

from __future__ import annotations

from archsearch.arch.values import Block, Downsample, Layer, ResBlock, Shortcut, UNet, Upsample
from archsearch.arch.walk import Place, Step

_MIDDLE = Place("middle")


def out_channels(block: Block, channels: int) -> int:
    """The width after a block."""
    return block.channels if isinstance(block, (ResBlock, Shortcut)) else channels


def stem_steps(unet: UNet) -> list[Step]:
    """Embeddings and the first convolution."""
    stem = Place("stem")
    return [
        Step("embed", stem, None, unet.time.input_width, 0, unet.time.width, 0),
        Step("conv_in", stem, None, unet.in_channels, 0, unet.conv_in_channels, 0),
    ]


def layer_steps(layer: Layer, channels: int, skip_channels: int, level: int) -> list[Step]:
    """The blocks of a layer, after the join with a skip where ``skip_channels`` is not 0."""
    steps = []
    if skip_channels:
        joined = channels + skip_channels
        steps.append(Step("join", Place("up"), None, channels, skip_channels, joined, level))
        channels = joined
    for block in layer:
        after = out_channels(block, channels)
        steps.append(Step("block", _MIDDLE, block, channels, 0, after, level))
        channels = after
    return steps


def sampler_steps(sampler: Downsample | Upsample, channels: int, level: int) -> list[Step]:
    """A sampler; ``level`` is the one it starts from."""
    if isinstance(sampler, Downsample):
        return [Step("downsample", _MIDDLE, sampler, channels, 0, sampler.channels, level)]
    return [Step("upsample", _MIDDLE, sampler, channels, 0, sampler.channels, level)]


def head_steps(unet: UNet, channels: int) -> list[Step]:
    """Output norm and last convolution."""
    return [Step("head", Place("head"), None, channels, 0, unet.out_channels, 0)]
