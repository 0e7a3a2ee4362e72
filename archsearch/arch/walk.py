"""One walk over a network in the order of execution; checking, counting, building and drawing all follow it.

``walk(arch)`` yields :class:`Step` tuples.  Widths are threaded through joins and samplers on the way, and what
does not fit raises :class:`ArchError` with the key path of the value at fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from archsearch.arch.values import (
    Architecture,
    Attention,
    Block,
    Decoder,
    Downsample,
    ResBlock,
    Shortcut,
    TextEncoder,
    Transformer,
    UNet,
    Upsample,
)
from archsearch.errors import ArchError

Role: TypeAlias = Literal["embed", "conv_in", "push", "join", "block", "downsample", "upsample", "head", "encoder"]


class Place(NamedTuple):
    """Where a step stands: ``stage`` counts resolutions from the finest, ``layer`` and ``index`` from 0."""

    half: Literal["stem", "down", "middle", "up", "head"]
    stage: int = 0
    layer: int = 0
    index: int = 0  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on a place

    @property
    def stage_name(self) -> str:
        """``down.0``, ``middle``, ``up.2``, ... as printed in rows."""
        return f"{self.half}.{self.stage}" if self.half in ("down", "up") else self.half


class Step(NamedTuple):
    """One piece of a network with the widths around it.

    ``level`` counts halvings of the resolution since the input (negative after a decoder's upsamplers).
    ``push`` keeps the current tensor as a skip; ``join`` concatenates the latest skip (``skip_channels``).
    """

    role: Role
    place: Place
    value: Block | Downsample | Upsample | TextEncoder | None
    in_channels: int
    skip_channels: int
    out_channels: int
    level: int


def walk(arch: Architecture) -> Iterator[Step]:
    """Yield the steps of ``arch`` in the order of execution.

    Raises:
        ArchError: a width, count or sampler does not fit; names the key path.
    """
    if isinstance(arch, UNet):
        return _walk_unet(arch)
    if isinstance(arch, Decoder):
        return _walk_decoder(arch)
    return iter([Step("encoder", Place("stem"), arch, arch.width, 0, arch.width, 0)])


def _walk_unet(unet: UNet) -> Iterator[Step]:
    stages = unet.stages
    if not stages:
        raise ArchError("a UNet needs at least one stage", where="stages", got=0)
    last = len(stages) - 1
    channels = unet.conv_in_channels
    stem = Place("stem")
    yield Step("embed", stem, None, unet.time.input_width, 0, unet.time.width, 0)
    yield Step("conv_in", stem, None, unet.in_channels, 0, channels, 0)
    yield Step("push", stem, None, channels, 0, channels, 0)
    skips = [channels]
    for s, stage in enumerate(stages):
        if len(stage.up) != len(stage.down) + 1:
            raise ArchError(
                "a stage has one up layer more than down layers",
                where=f"stages[{s}].up",
                got=len(stage.up),
                allowed=len(stage.down) + 1,
            )
        for j, layer in enumerate(stage.down):
            for i, block in enumerate(layer):
                place = Place("down", s, j, i)
                out = block_out(unet, block, channels, place)
                yield Step("block", place, block, channels, 0, out, s)
                channels = out
            skips.append(channels)
            yield Step("push", Place("down", s, j, len(layer)), None, channels, 0, channels, s)
        if (stage.downsample is None) != (s == last):
            raise ArchError(
                "every stage but the last ends its down half with a downsample",
                where=f"stages[{s}].downsample",
                got=stage.downsample,
                allowed="null" if s == last else "a downsample",
            )
        if stage.downsample is not None:
            place = Place("down", s, len(stage.down))
            out = stage.downsample.channels
            _positive(out, f"stages[{s}].downsample.channels")
            yield Step("downsample", place, stage.downsample, channels, 0, out, s)
            channels = out
            skips.append(channels)
            yield Step("push", place, None, channels, 0, channels, s + 1)
    for i, block in enumerate(unet.middle):
        place = Place("middle", last, 0, i)
        out = block_out(unet, block, channels, place)
        yield Step("block", place, block, channels, 0, out, last)
        channels = out
    for s in range(last, -1, -1):
        stage = stages[s]
        for j, layer in enumerate(stage.up):
            skip = skips.pop()
            joined = channels + skip
            if not layer or not isinstance(layer[0], (ResBlock, Shortcut)):
                raise ArchError(
                    "an up layer starts with a residual block or the 1x1 shortcut that is left of it",
                    where=f"stages[{s}].up[{j}]",
                    got=layer[0].kind if layer else "an empty layer",
                    allowed="residual, shortcut",
                )
            yield Step("join", Place("up", s, j), None, channels, skip, joined, s)
            channels = joined
            for i, block in enumerate(layer):
                place = Place("up", s, j, i)
                out = block_out(unet, block, channels, place)
                yield Step("block", place, block, channels, 0, out, s)
                channels = out
        if (stage.upsample is None) != (s == 0):
            raise ArchError(
                "every stage but the first ends its up half with an upsample",
                where=f"stages[{s}].upsample",
                got=stage.upsample,
                allowed="null" if s == 0 else "an upsample",
            )
        if stage.upsample is not None:
            out = stage.upsample.channels
            _positive(out, f"stages[{s}].upsample.channels")
            yield Step("upsample", Place("up", s, len(stage.up)), stage.upsample, channels, 0, out, s)
            channels = out
    _groups(channels, unet.norm_groups, "stages[0].up (the output norm)")
    yield Step("head", Place("head"), None, channels, 0, unet.out_channels, 0)


def _walk_decoder(decoder: Decoder) -> Iterator[Step]:
    channels = decoder.conv_in_channels
    yield Step("conv_in", Place("stem"), None, decoder.latent_channels, 0, channels, 0)
    for i, block in enumerate(decoder.middle):
        place = Place("middle", 0, 0, i)
        out = block_out(decoder, block, channels, place)
        yield Step("block", place, block, channels, 0, out, 0)
        channels = out
    level = 0
    for s, stage in enumerate(decoder.stages):
        for i, block in enumerate(stage.blocks):
            place = Place("up", s, 0, i)
            out = block_out(decoder, block, channels, place)
            yield Step("block", place, block, channels, 0, out, level)
            channels = out
        if stage.upsample is not None:
            out = stage.upsample.channels
            _positive(out, f"stages[{s}].upsample.channels")
            yield Step("upsample", Place("up", s, 1), stage.upsample, channels, 0, out, level)
            channels = out
            level -= 1
    _groups(channels, decoder.norm_groups, f"stages[{len(decoder.stages) - 1}] (the output norm)")
    yield Step("head", Place("head"), None, channels, 0, decoder.out_channels, level)


def key_path(arch: Architecture, place: Place) -> str:
    """The key path of a block in the architecture file, for messages."""
    if place.half == "middle":
        return f"middle[{place.index}]"
    if isinstance(arch, Decoder):
        return f"stages[{place.stage}].blocks[{place.index}]"
    return f"stages[{place.stage}].{place.half}[{place.layer}][{place.index}]"


def block_out(arch: UNet | Decoder, block: Block, channels: int, place: Place) -> int:
    """The width after a block that stands at ``place`` of ``arch``.

    Raises:
        ArchError: the block does not fit the width that comes in.
    """
    groups = arch.norm_groups
    if isinstance(block, ResBlock):
        if channels % groups or block.channels % groups or block.channels <= 0 or block.separable is not None:
            _check_residual(arch, block, channels, place)
        return block.channels
    if isinstance(block, Transformer):
        _check_transformer(arch, block, channels, place)
        return channels
    if isinstance(block, Shortcut):
        if block.channels <= 0:
            _positive(block.channels, key_path(arch, place) + ".channels")
        return block.channels
    where = key_path(arch, place)
    _groups(channels, groups, where)
    if block.heads < 1 or channels % block.heads:
        raise ArchError("heads must divide the channels", where=f"{where}.heads", got=block.heads, allowed=channels)
    return channels


def _check_residual(arch: UNet | Decoder, block: ResBlock, channels: int, place: Place) -> None:
    where = key_path(arch, place)
    _positive(block.channels, f"{where}.channels")
    _groups(channels, arch.norm_groups, f"{where} (its input norm)")
    hidden = hidden_channels(block)
    _positive(hidden, f"{where}.separable.expansion")
    _groups(hidden, arch.norm_groups, f"{where} (its second norm)")


def _check_transformer(arch: UNet | Decoder, block: Transformer, channels: int, place: Place) -> None:
    if channels % arch.norm_groups:
        _groups(channels, arch.norm_groups, key_path(arch, place))
    if block.width <= 0:
        _positive(block.width, key_path(arch, place) + ".width")
    for b, inner in enumerate(block.blocks):
        for name, slot in (("first", inner.first), ("second", inner.second)):
            if isinstance(slot, Attention):
                if slot.heads < 1 or slot.head_dim < 1 or slot.heads % (slot.kv_heads or slot.heads):
                    raise ArchError(
                        "heads and head_dim are positive, and kv_heads divides heads",
                        where=f"{key_path(arch, place)}.blocks[{b}].{name}",
                        got=f"heads={slot.heads}, head_dim={slot.head_dim}, kv_heads={slot.kv_heads}",
                    )
                if slot.to == "text" and (isinstance(arch, Decoder) or arch.text_width is None):
                    raise ArchError(
                        "attention to the text needs a text width",
                        where=f"{key_path(arch, place)}.blocks[{b}].{name}",
                        got="text_width: null",
                        allowed="a positive text_width",
                    )
        ff = inner.feed_forward
        if ff is not None and int(block.width * ff.expansion) < 1:
            raise ArchError(
                "a feed-forward needs at least one inner channel",
                where=f"{key_path(arch, place)}.blocks[{b}].feed_forward.expansion",
                got=ff.expansion,
            )


def hidden_channels(block: ResBlock) -> int:
    """Channels between the two convolutions of a residual block."""
    return block.channels if block.separable is None else int(block.channels * block.separable.expansion)


def _positive(value: int, where: str) -> None:
    if value <= 0:
        raise ArchError("must be positive", where=where, got=value, allowed=">= 1")


def _groups(channels: int, groups: int, where: str) -> None:
    if groups < 1 or channels % groups:
        allowed = f"a multiple of {groups}" if groups >= 1 else "norm_groups >= 1"
        raise ArchError("norm_groups must divide the channels", where=where, got=channels, allowed=allowed)


__all__ = ["Place", "Role", "Step", "block_out", "hidden_channels", "key_path", "walk"]
