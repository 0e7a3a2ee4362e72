"""Lowering: an architecture and conditions -> the operators that it runs, piece by piece.

A *piece* is one step of ``arch.walk``: a block, a sampler, a join or an end.  Pieces repeat within and between
networks, so their traces are cached; every total of this package is a sum over pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, cast

from archsearch.arch.values import (
    Architecture,
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
from archsearch.arch.walk import Place, Step, walk
from archsearch.cost.conditions import Conditions
from archsearch.cost.context import Context, context_of
from archsearch.cost.lower_blocks import (
    lower_residual,
    lower_shortcut,
    lower_spatial_attention,
    lower_transformer,
)
from archsearch.cost.lower_ends import (
    lower_conv_in,
    lower_downsample,
    lower_embed,
    lower_head,
    lower_join,
    lower_text_encoder,
    lower_upsample,
)
from archsearch.cost.op import Op
from archsearch.cost.trace import Trace, TracedOp
from archsearch.errors import CostError


class Piece(NamedTuple):
    """A lowered step."""

    step: Step
    trace: Trace

    @property
    def kind(self) -> str:
        """Block kind (``residual``, ``transformer``, ...) or the step's role."""
        value = self.step.value
        return value.kind if self.step.role == "block" else self.step.role  # type: ignore[union-attr]


class LocatedOp(NamedTuple):
    """An operator and where it stands."""

    place: Place
    piece_kind: str
    traced: TracedOp

    @property
    def op(self) -> Op:
        """The operator."""
        return self.traced.op


@dataclass(frozen=True)
class Lowering:
    """All pieces of a network in the order of execution, pushes of skips included."""

    arch: Architecture
    conditions: Conditions
    context: Context
    pieces: tuple[Piece, ...]

    def ops(self) -> Iterator[LocatedOp]:
        """Every operator of one pass, located."""
        for piece in self.pieces:
            for traced in piece.trace.ops:
                yield LocatedOp(piece.step.place, piece.kind, traced)


EMPTY = Trace((), ((),), frozenset(), 0)


def lower(arch: Architecture, conditions: Conditions | None = None) -> Lowering:
    """Lower a UNet, decoder or text encoder.

    Raises:
        ArchError: the architecture is inconsistent.
        CostError: the conditions do not suit it.
    """
    conditions = conditions or Conditions()
    check_conditions(arch, conditions)
    context = context_of(arch, conditions)
    pieces = tuple(Piece(step, lower_step(arch, context, step)) for step in walk(arch))
    return Lowering(arch, conditions, context, pieces)


def check_conditions(arch: Architecture, conditions: Conditions) -> None:
    """Refuse conditions that do not suit a network.

    Raises:
        CostError: more text than a text encoder has positions for.
    """
    if isinstance(arch, TextEncoder) and conditions.text > arch.positions:
        raise CostError("text longer than the encoder's positions", where="text", got=conditions.text,
                        allowed=f"<= {arch.positions}")  # fmt: skip


def lower_step(arch: Architecture, ctx: Context, step: Step) -> Trace:
    """The trace of one step (empty for a push)."""
    match step.role:
        case "block":
            return lower_block(ctx, cast(Block, step.value), step.in_channels, step.level)
        case "push":
            return EMPTY
        case "join":
            return _join(ctx, step.in_channels, step.skip_channels, step.level)
        case "downsample" | "upsample":
            return _sampler(ctx, cast("Downsample | Upsample", step.value), step.in_channels, step.level)
        case "embed":
            return lower_embed(ctx, cast(UNet, arch))
        case "conv_in":
            kernel = arch.conv_in_kernel if isinstance(arch, UNet) else 3
            return lower_conv_in(ctx, step.in_channels, step.out_channels, kernel)
        case "head":
            assert isinstance(arch, (UNet, Decoder))
            kernel = arch.conv_out_kernel if isinstance(arch, UNet) else 3
            return lower_head(ctx, step.in_channels, step.out_channels, step.level, kernel)
        case "encoder":
            return lower_text_encoder(ctx, cast(TextEncoder, arch))


@lru_cache(maxsize=65536)
def lower_block(ctx: Context, block: Block, channels: int, level: int) -> Trace:
    """The trace of one block between widths, cached by value."""
    if isinstance(block, ResBlock):
        return lower_residual(ctx, block, channels, level)
    if isinstance(block, Transformer):
        return lower_transformer(ctx, block, channels, level)
    if isinstance(block, Shortcut):
        return lower_shortcut(ctx, block, channels, level)
    return lower_spatial_attention(ctx, block, channels, level)


@lru_cache(maxsize=4096)
def _join(ctx: Context, channels: int, skip_channels: int, level: int) -> Trace:
    return lower_join(ctx, channels, skip_channels, level)


@lru_cache(maxsize=4096)
def _sampler(ctx: Context, value: Downsample | Upsample, channels: int, level: int) -> Trace:
    if isinstance(value, Downsample):
        return lower_downsample(ctx, value, channels, level)
    return lower_upsample(ctx, value, channels, level)
