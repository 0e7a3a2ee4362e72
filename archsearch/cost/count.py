"""Counting: exact totals of a lowering, and rows that add up to them."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from archsearch.arch.values import Architecture, UNet
from archsearch.cost.conditions import Conditions
from archsearch.cost.context import Context
from archsearch.cost.lowering import Lowering, Piece, lower


class Totals(NamedTuple):
    """Totals of one forward pass times the guidance passes (parameters and memory are counted once).

    ``macs`` counts convolutions, linear layers and both attention products; ``macs_without_attention`` leaves the
    products out, as thop does.  ``elements`` are output elements of everything else.
    """

    params: int
    macs: int
    macs_without_attention: int
    elements: int
    weight_bytes: int
    peak_activation_bytes: int


def count(arch: Architecture, conditions: Conditions | None = None) -> Totals:
    """Count an architecture by full lowering.

    Raises:
        ArchError: the architecture is inconsistent.
        CostError: the conditions do not suit it.
    """
    return totals(lower(arch, conditions))


def totals(lowering: Lowering) -> Totals:
    """Sum a lowering."""
    params = macs = attention = elements = 0
    for piece in lowering.pieces:
        for traced in piece.trace.ops:
            op = traced.op
            params += op.params
            macs += op.macs
            attention += op.attention_macs
            elements += op.elements
    conditions = lowering.conditions
    passes = conditions.passes
    return Totals(
        params,
        macs * passes,
        (macs - attention) * passes,
        elements * passes,
        params * conditions.bytes_per_value,
        peak_elements(lowering) * conditions.bytes_per_value,
    )


def held_elements(arch: Architecture, ctx: Context) -> int:
    """Activations that a UNet keeps from start to end: the time embedding and the text states."""
    if not isinstance(arch, UNet):
        return 0
    return ctx.batch * (ctx.time_width + ctx.text_tokens * ctx.text_width)


def peak_elements(lowering: Lowering) -> int:
    """Largest number of live activation elements over a pass: held tensors + skips + the piece at work.

    Composed from each piece's (peak, live) pair.  The input of a piece that is also the latest skip is counted
    with the skips, once; layers without blocks push the same tensor again, which is one tensor.
    """
    base = held_elements(lowering.arch, lowering.context)
    unfused = lowering.conditions.attention == "unfused"
    skips: list[tuple[int, bool]] = []  # elements, pushed anew (not an alias of the skip below)
    skip_sum = 0
    is_skip = False  # the current tensor is the latest skip
    peak = 0
    for piece in lowering.pieces:
        role = piece.step.role
        if role == "push":
            size = 0 if is_skip else piece_output(lowering.context, piece)
            skips.append((size, is_skip))
            skip_sum += size
            is_skip = True
            continue
        own = piece.trace.peak(held=is_skip, workspace=unfused)
        peak = max(peak, base + skip_sum + own)
        if role == "join":
            skip_sum -= skips.pop()[0]
        is_skip = False
    return peak


def piece_output(ctx: Context, piece: Piece) -> int:
    """Elements of the tensor that a push keeps."""
    return ctx.batch * piece.step.out_channels * prod(ctx.side(piece.step.level))
