"""What a network in the making remembers: widths and skips.  One transition a site, as ``arch.walk`` would run it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from archsearch.arch.values import Downsample, Layer, UNet, Upsample
from archsearch.cost.runs import out_channels
from archsearch.space.blocks import Part, Parts
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


def settle(entries: Entries, channels: int, joined: bool, parts: Parts) -> tuple[Part, ...]:
    """A layer with its removed residual blocks resolved for the width that comes in."""
    settled: list[Part] = []
    for entry in entries:
        if isinstance(entry, Removed):
            if entry.channels == channels and not (joined and not settled):
                continue
            entry = parts.shortcut(entry.channels)
        settled.append(entry)
        channels = out_channels(entry.block, channels)
    return tuple(settled)


class Outcome(NamedTuple):
    """All of an emission that the state after it depends on; ``header`` is given at the stem."""

    channels: int
    empty: bool = False
    header: int = -1


def outcome(emission: Emission, around: Local, header: int) -> Outcome | None:
    """The outcome of an emission (None where nothing is emitted)."""
    if emission is None:
        return None
    if isinstance(emission, UNet):
        return Outcome(emission.conv_in_channels, header=header)
    if isinstance(emission, (Downsample, Upsample)):
        return Outcome(emission.channels)
    channels = around.channels + around.skip_channels
    for block in emission:
        channels = out_channels(block, channels)
    return Outcome(channels, not emission)


def advance(machine: Machine, role: SiteRole, reached: Outcome | None) -> Machine:
    """The state after a site."""
    if reached is None:
        return machine
    header, level, _, is_skip, skips = machine
    channels = reached.channels
    match role:
        case "stem":
            return Machine(reached.header, 0, channels, True, (Skip(channels, 0, False),))
        case "down":
            skip = Skip(channels, level, is_skip and reached.empty)
            return Machine(header, level, channels, True, (*skips, skip))
        case "downsample":
            return Machine(header, level + 1, channels, True, (*skips, Skip(channels, level + 1, False)))
        case "middle":
            return Machine(header, level, channels, is_skip and reached.empty, skips)
        case "up":
            return Machine(header, level, channels, False, skips[:-1])
        case "upsample":
            return Machine(header, level - 1, channels, False, skips)
        case "head":
            return START
