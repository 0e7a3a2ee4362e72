"""Where in a module the pieces of an architecture stand.  Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from archsearch.arch import Architecture, Decoder, Step, UNet, walk
from archsearch.arch.values import Block

LISTS: dict[str, str] = {
    "residual": "resnets",
    "transformer": "attentions",
    "spatial_attention": "attentions",
    "shortcut": "shortcuts",
}


class Located(NamedTuple):
    """A step of the walk and the path of its module, with a dot at the end (empty for the ends of a network).

    ``Located.path`` + the name of one of the step's traced operators is the path of the module that runs it.
    """

    step: Step
    path: str


def located_steps(arch: Architecture) -> Iterator[Located]:
    """The steps of ``arch`` with their module paths, in the order of execution."""
    counts: dict[str, int] = {}
    for step in walk(arch):
        if step.role == "block":
            prefix = f"{_half(arch, step)}.{LISTS[cast(Block, step.value).kind]}"
            number = counts.get(prefix, 0)
            counts[prefix] = number + 1
            yield Located(step, f"{prefix}.{number}.")
        elif step.role in ("downsample", "upsample"):
            yield Located(step, f"{_half(arch, step)}.{step.role}rs.0.")
        else:
            yield Located(step, "")


def _half(arch: Architecture, step: Step) -> str:
    place = step.place
    if place.half == "middle":
        return "mid_block"
    if isinstance(arch, Decoder):
        return f"up_blocks.{place.stage}"
    assert isinstance(arch, UNet)
    if place.half == "down":
        return f"down_blocks.{place.stage}"
    return f"up_blocks.{len(arch.stages) - 1 - place.stage}"
