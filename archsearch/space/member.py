"""Taking an architecture apart along the sites of a space, and saying where it departs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from archsearch.arch.values import (
    Attention,
    Downsample,
    ResBlock,
    Shortcut,
    Transformer,
    UNet,
    Upsample,
)
from archsearch.errors import SpaceError
from archsearch.space.machine import Emission
from archsearch.space.skeleton import Site


def take_apart(unet: UNet, sites: Sequence[Site]) -> list[tuple[Emission, str]]:
    """For each site what the network has there (None where nothing), and the key path of it.

    Raises:
        SpaceError: more stages or layers than the space has.
    """
    slots = [0] * (max(site.stage for site in sites) + 1)
    for site in sites:
        if site.role == "down":
            slots[site.stage] = max(slots[site.stage], site.slot + 1)
    if len(unet.stages) > len(slots):
        raise SpaceError("more stages than the space has", where="stages", got=len(unet.stages), allowed=len(slots))
    for s, stage in enumerate(unet.stages):
        if len(stage.down) > slots[s] or len(stage.up) != len(stage.down) + 1:
            got = f"{len(stage.down)} down, {len(stage.up)} up"
            allowed = f"at most {slots[s]} down"
            raise SpaceError("other numbers of layers", where=f"stages[{s}]", got=got, allowed=allowed)
    return [_part(unet, site) for site in sites]


def _part(unet: UNet, site: Site) -> tuple[Emission, str]:
    s = site.stage
    if site.role == "stem":
        return replace(unet, stages=(), middle=()), "the header"
    if site.role == "head":
        return (), "the head"
    if site.role == "middle":
        return unet.middle, "middle"
    if s >= len(unet.stages):
        return None, f"stages[{s}]"
    stage = unet.stages[s]
    if site.role == "downsample":
        return stage.downsample, f"stages[{s}].downsample"
    if site.role == "upsample":
        return stage.upsample, f"stages[{s}].upsample"
    if site.role == "down":
        return (stage.down[site.slot] if site.slot < len(stage.down) else None), f"stages[{s}].down[{site.slot}]"
    index = len(stage.down) - 1 - site.slot if site.slot >= 0 else len(stage.down)
    return (stage.up[index] if 0 <= index < len(stage.up) else None), f"stages[{s}].up[{index}]"


def departure(space: str, place: str, part: Emission, options: Sequence[Emission]) -> SpaceError:
    """The error of an architecture that is not a member."""
    allowed: list[str] = list(dict.fromkeys(describe(option) for option in options))
    if isinstance(part, UNet):
        allowed = _header_differences(part, [option for option in options if isinstance(option, UNet)])
        got = None
    else:
        got = describe(part)
    shown = " | ".join(allowed[:4]) + (f" | {len(allowed) - 4} more" if len(allowed) > 4 else "")
    return SpaceError(f"not a member of the space {space}: departs here", where=place, got=got, allowed=shown)


def _header_differences(part: UNet, options: Sequence[UNet]) -> list[str]:
    def different(option: UNet) -> list[str]:
        names = [name for name in UNet.__dataclass_fields__ if getattr(option, name) != getattr(part, name)]
        return [f"{name} {getattr(option, name)} instead of {getattr(part, name)}" for name in names]

    return min((different(option) for option in options), key=len, default=[])


def describe(part: Any) -> str:
    """A layer, sampler or absence in a few words: ``residual 640, transformer 640 (self 8x80 + text 8x80, ff 4)``."""
    if part is None:
        return "nothing"
    if isinstance(part, UNet):
        return f"in {part.in_channels}, out {part.out_channels}, conv_in {part.conv_in_channels}"
    if isinstance(part, (Downsample, Upsample)):
        return f"{'separable ' if part.separable else ''}{part.channels}"
    return ", ".join(map(_block, part)) or "an empty layer"


def _block(block: Any) -> str:
    if isinstance(block, ResBlock):
        kind = "residual" if block.separable is None else f"separable residual (x{block.separable.expansion:g})"
        return f"{kind} {block.channels}"
    if isinstance(block, Shortcut):
        return f"1x1 shortcut {block.channels}"
    if not isinstance(block, Transformer):
        return str(block.kind)
    inner: list[str] = []
    for one in block.blocks:
        parts = [_slot(slot) for slot in (one.first, one.second) if slot is not None]
        if one.feed_forward is not None:
            parts.append(f"ff {one.feed_forward.expansion:g} {one.feed_forward.activation}")
        inner.append(" + ".join(parts) or "nothing")
    same = len(set(inner)) == 1
    text = f"{len(inner)} x {inner[0]}" if same and len(inner) > 1 else "; ".join(inner)
    return f"transformer {block.width} ({text or 'no blocks'})"


def _slot(slot: Any) -> str:
    if not isinstance(slot, Attention):
        return "norm"
    extras = [word for word, there in (("shared kv", slot.shared_kv), ("relu", slot.scores == "relu")) if there]
    if slot.kv_heads not in (None, slot.heads):
        extras.append(f"{slot.kv_heads} kv heads")
    return " ".join([slot.to, f"{slot.heads}x{slot.head_dim}", *extras])
