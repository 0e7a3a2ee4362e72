"""What a network in the making remembers: widths and skips.  One transition a site, as ``arch.walk`` would run it."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from archsearch.arch.values import Block, Downsample, Layer, ResBlock, Shortcut, UNet, Upsample
from archsearch.space.skeleton import Entries, Removed, SiteRole

Emission: TypeAlias = "UNet | Layer | Downsample | Upsample | None"


class Skip(NamedTuple):
    """A tensor on the skip stack.  An alias is the same tensor as the skip below it and takes no memory."""

    channels: int
    level: int
    alias: bool


class Machine(NamedTuple):
    """The state between two sites; ``is_skip`` says that the current tensor is the latest skip."""

    header: int
    level: int
    channels: int
    is_skip: bool
    skips: tuple[Skip, ...]


class Local(NamedTuple):
    """All of a machine that decides what one site costs (memory of the skips apart)."""

    header: int
    level: int
    channels: int
    is_skip: bool
    skip_channels: int


START = Machine(-1, 0, 0, False, ())


def local(machine: Machine, role: SiteRole) -> Local:
    """The part of the state that a site of this role sees."""
    header, level, channels, is_skip, skips = machine
    return Local(header, level, channels, is_skip, skips[-1].channels if role == "up" and skips else 0)


def settle(entries: Entries, channels: int, joined: bool) -> Layer:
    """A layer with its removed residual blocks resolved for the width that comes in."""
    blocks: list[Block] = []
    for entry in entries:
        if isinstance(entry, Removed):
            if entry.channels == channels and not (joined and not blocks):
                continue
            entry = Shortcut(channels=entry.channels)
        blocks.append(entry)
        channels = out_channels(entry, channels)
    return tuple(blocks)


def out_channels(block: Block, channels: int) -> int:
    """The width after a block."""
    return block.channels if isinstance(block, (ResBlock, Shortcut)) else channels


def advance(machine: Machine, role: SiteRole, emission: Any, header: int) -> Machine:
    """The state after a site that emitted a layer, a sampler or nothing; ``header`` is the id of a stem's header."""
    if emission is None:
        return machine
    _, level, channels, is_skip, skips = machine
    match role:
        case "stem":
            width = emission.conv_in_channels
            return Machine(header, 0, width, True, (Skip(width, 0, False),))
        case "down":
            for block in emission:
                channels = out_channels(block, channels)
            alias = is_skip and not emission
            return machine._replace(channels=channels, is_skip=True, skips=(*skips, Skip(channels, level, alias)))
        case "downsample":
            width = emission.channels
            skip = Skip(width, level + 1, False)
            return machine._replace(level=level + 1, channels=width, is_skip=True, skips=(*skips, skip))
        case "middle" | "up":
            if role == "up":
                channels, is_skip, skips = channels + skips[-1].channels, False, skips[:-1]
            for block in emission:
                channels = out_channels(block, channels)
            return machine._replace(channels=channels, is_skip=is_skip and not emission, skips=skips)
        case "upsample":
            return machine._replace(level=level - 1, channels=emission.channels, is_skip=False)
        case "head":
            return START
