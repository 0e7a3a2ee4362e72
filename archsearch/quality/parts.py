"""The parts of a network that hold weights, and where in a supernet they live.

A *spot* is a place that the networks of a space share: ``down/1/0/residual/0`` is the first residual block of the
first down layer at the second resolution, ``up/2/outer/...`` belongs to the up layer that joins the skip from outside
the stage.  Blocks are numbered by kind within their layer, so removing a transformer moves no other block, and what
is left of a removed residual block (its 1x1) stands where the block stood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from archsearch.arch.values import Block, Downsample, ResBlock, Shortcut, Transformer, UNet, Upsample
from archsearch.arch.walk import key_path, walk
from archsearch.errors import QualityError

if TYPE_CHECKING:
    from archsearch.space import Space

Role: TypeAlias = Literal["embed", "conv_in", "push", "join", "block", "downsample", "upsample", "head"]
Segments: TypeAlias = tuple[int, ...]


class Part(NamedTuple):
    """One step of a network.

    ``segments`` are the widths that come in: one number, or two (stream, skip) right after a join.  They are kept
    apart because a narrower candidate takes the first channels of each.
    """

    role: Role
    spot: str
    value: Block | Downsample | Upsample | None
    segments: Segments
    out_channels: int


def parts(unet: UNet) -> Iterator[Part]:
    """The parts of a network in the order of execution.

    Raises:
        ArchError: the network is inconsistent.
        QualityError: a block that a supernet has no place for.
    """
    segments: Segments = ()
    numbers: dict[str, int] = {}
    for step in walk(unet):
        place = step.place
        if step.role == "join":
            segments = (step.in_channels, step.skip_channels)
            yield Part("join", "", None, segments, step.out_channels)
            continue
        if step.role == "block":
            if place.half == "middle":
                layer = "middle"
            elif place.half == "down":
                layer = f"down/{place.stage}/{place.layer}"
            else:
                layer = _up(place.stage, len(unet.stages[place.stage].down) - 1 - place.layer)
            spot = _spot(layer, step.value, numbers, key_path(unet, place))  # type: ignore[arg-type]
        elif step.role in ("downsample", "upsample"):
            spot = f"{step.role}/{place.stage}"
        else:
            spot = str(step.role)
        widths = segments if step.role == "block" and sum(segments) == step.in_channels else (step.in_channels,)
        yield Part(step.role, spot, step.value, widths, step.out_channels)  # type: ignore[arg-type]
        segments = _after(step.value, widths) if step.role == "block" else (step.out_channels,)  # type: ignore[arg-type]


def space_parts(space: Space) -> Iterator[Part]:
    """Every part that some network of a space has (a few that none has may be among them), without enumeration.

    Raises:
        QualityError: a block that a supernet has no place for.
    """
    for header in space.chain.headers:
        yield Part("embed", "embed", None, (header.time.input_width,), header.time.width)
        yield Part("conv_in", "conv_in", None, (header.in_channels,), header.conv_in_channels)
    for step in space.chain.steps:
        site = step.site
        for around, number in step.pieces:
            emission = step.emissions[number]
            segments: Segments = (around.channels,)
            if site.role == "head":
                yield Part("head", "head", None, segments, space.chain.headers[around.header].out_channels)
            elif isinstance(emission, (Downsample, Upsample)):
                yield Part(site.role, f"{site.role}/{site.stage}", emission, segments, emission.channels)  # type: ignore[arg-type]
            elif isinstance(emission, tuple):
                if site.role == "up":
                    segments = (around.channels, around.skip_channels)
                    layer = _up(site.stage, site.slot)
                else:
                    layer = "middle" if site.role == "middle" else f"down/{site.stage}/{site.slot}"
                numbers: dict[str, int] = {}
                for block in emission:
                    spot = _spot(layer, block, numbers, f"{space.name}: {site.name}")
                    out = block.channels if isinstance(block, (ResBlock, Shortcut)) else sum(segments)
                    yield Part("block", spot, block, segments, out)
                    segments = _after(block, segments)


def _up(stage: int, slot: int) -> str:
    return f"up/{stage}/{'outer' if slot < 0 else slot}"


def _after(block: Block, segments: Segments) -> Segments:
    return (block.channels,) if isinstance(block, (ResBlock, Shortcut)) else segments


def _spot(layer: str, block: Block, numbers: dict[str, int], where: str) -> str:
    if not isinstance(block, (ResBlock, Shortcut, Transformer)):
        raise QualityError("a supernet has no place for this block", where=where, got=block.kind,
                           allowed="residual, shortcut, transformer")  # fmt: skip
    kind = f"{layer}/{'transformer' if isinstance(block, Transformer) else 'residual'}"
    number = numbers.get(kind, 0)
    numbers[kind] = number + 1
    return f"{kind}/{number}"
