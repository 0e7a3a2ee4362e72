"""Which tensors a part has, under which name a supernet shares them, and how narrower networks slice them.

A dimension is a tuple of segments: one width, or several that are sliced apart (the two inputs after a join, the two
halves of a gated feed-forward, the heads of an attention).  A narrower tensor takes the first entries of each segment
of the widest one.  Alternatives that are not slices of each other (full or separable convolutions, activations, kinds
of scores) carry different shared names: each is a path of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple, TypeAlias

from archsearch.arch.values import (
    Attention,
    Downsample,
    FeedForward,
    NormOnly,
    ResBlock,
    Separable,
    Shortcut,
    Slot,
    Transformer,
    TransformerBlock,
    UNet,
    Upsample,
)
from archsearch.arch.walk import hidden_channels
from archsearch.quality.parts import Part, Segments

Dims: TypeAlias = tuple[Segments, ...]


class Tensor(NamedTuple):
    """A tensor of a part: its name in the part's module, its shared name in the supernet, its dimensions."""

    local: str
    shared: str
    dims: Dims


def tensors(header: UNet, part: Part) -> Iterator[Tensor]:
    """The tensors of a part; ``header`` gives what all networks of a space have in common."""
    value, spot, out = part.value, part.spot, (part.out_channels,)
    match part.role:
        case "embed":
            yield from _linear("linear_1", f"{spot}/linear_1", out, part.segments)
            yield from _linear("linear_2", f"{spot}/linear_2", out, out)
        case "conv_in":
            yield from _conv("conv_in", spot, out, part.segments, header.conv_in_kernel)
        case "head":
            yield from _norm("conv_norm_out", f"{spot}/conv_norm_out", part.segments)
            yield from _conv("conv_out", f"{spot}/conv_out", out, part.segments, header.conv_out_kernel)
        case "downsample" | "upsample":
            assert isinstance(value, (Downsample, Upsample))
            yield from _conv3x3("conv", f"{spot}/conv", out, part.segments, Separable() if value.separable else None)
        case "block" if isinstance(value, ResBlock):
            yield from _residual(header, part, value)
        case "block" if isinstance(value, Shortcut):
            yield from _conv("conv_shortcut", f"{spot}/conv_shortcut", out, part.segments, 1)
        case "block":
            assert isinstance(value, Transformer)
            yield from _transformer(header, part, value)


def widest(dims: Dims, other: Dims) -> Dims:
    """The dimensions that both fit into."""
    return tuple(
        tuple(max(a, b) for a, b in zip_longest(first, second, fillvalue=0))
        for first, second in zip(dims, other, strict=True)
    )


def ranges(segments: Segments, full: Segments) -> tuple[tuple[int, int], ...] | None:
    """(start, length) of what ``segments`` take of ``full``, neighbours joined; None for all of it.

    Raises:
        ValueError: they do not fit.
    """
    if len(segments) > len(full) or any(a > b for a, b in zip(segments, full, strict=False)):
        raise ValueError(f"{segments} does not fit into {full}")
    if segments == full:
        return None
    found: list[tuple[int, int]] = []
    start = 0
    for length, room in zip_longest(segments, full, fillvalue=0):
        if length and found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + length)
        elif length:
            found.append((start, length))
        start += room
    return tuple(found)


def _norm(local: str, shared: str, width: Segments) -> Iterator[Tensor]:
    yield Tensor(f"{local}.weight", f"{shared}/weight", (width,))
    yield Tensor(f"{local}.bias", f"{shared}/bias", (width,))


def _linear(local: str, shared: str, out: Segments, into: Segments, bias: bool = True) -> Iterator[Tensor]:
    yield Tensor(f"{local}.weight", f"{shared}/weight", (out, into))
    if bias:
        yield Tensor(f"{local}.bias", f"{shared}/bias", (out,))


def _conv(local: str, shared: str, out: Segments, into: Segments, kernel: int, bias: bool = True) -> Iterator[Tensor]:
    yield Tensor(f"{local}.weight", f"{shared}/weight", (out, into, (kernel,), (kernel,)))
    if bias:
        yield Tensor(f"{local}.bias", f"{shared}/bias", (out,))


def _conv3x3(local: str, shared: str, out: Segments, into: Segments, separable: Separable | None) -> Iterator[Tensor]:
    if separable is None:
        yield from _conv(local, f"{shared}/full", out, into, 3)
        return
    bias = separable.bias
    yield Tensor(f"{local}.depthwise.weight", f"{shared}/depthwise/weight", (into, (1,), (3,), (3,)))
    if bias:
        yield Tensor(f"{local}.depthwise.bias", f"{shared}/depthwise/bias", (into,))
    yield from _conv(f"{local}.pointwise", f"{shared}/pointwise", out, into, 1, bias)


def _residual(header: UNet, part: Part, block: ResBlock) -> Iterator[Tensor]:
    spot, into, out, hidden = part.spot, part.segments, (block.channels,), (hidden_channels(block),)
    yield from _norm("norm1", f"{spot}/norm1", into)
    yield from _conv3x3("conv1", f"{spot}/conv1", hidden, into, block.separable)
    time = hidden * 2 if header.time_shift == "scale_shift" else hidden
    yield from _linear("time_emb_proj", f"{spot}/time_emb_proj", time, (header.time.width,))
    yield from _norm("norm2", f"{spot}/norm2", hidden)
    yield from _conv3x3("conv2", f"{spot}/conv2", out, hidden, block.separable)
    if sum(into) != block.channels:
        yield from _conv("conv_shortcut", f"{spot}/conv_shortcut", out, into, 1)


def _transformer(header: UNet, part: Part, block: Transformer) -> Iterator[Tensor]:
    spot, channels, width = part.spot, part.segments, (block.width,)
    yield from _norm("norm", f"{spot}/norm", channels)
    for name, out, into in (("proj_in", width, channels), ("proj_out", channels, width)):
        if block.linear_projection:
            yield from _linear(name, f"{spot}/{name}/linear", out, into)
        else:
            yield from _conv(name, f"{spot}/{name}/conv", out, into, 1)
    for b, inner in enumerate(block.blocks):
        yield from _inner(header, f"transformer_blocks.{b}", f"{spot}/blocks/{b}", inner, width)


def _inner(header: UNet, local: str, shared: str, block: TransformerBlock, width: Segments) -> Iterator[Tensor]:
    seen: dict[str, int] = {}
    for n, slot in enumerate((block.first, block.second), 1):
        if slot is None:
            continue
        # A lone attention means the same in either slot, so a slot is known by what it does.
        name = _slot_name(slot)
        seen[name] = seen.get(name, 0) + 1
        path = f"{shared}/{name}{seen[name] if seen[name] > 1 else ''}"
        yield from _norm(f"{local}.norm{n}", f"{path}/norm", width)
        if isinstance(slot, Attention):
            yield from _attention(header, f"{local}.attn{n}", path, slot, width)
    if block.feed_forward is not None:
        yield from _norm(f"{local}.norm3", f"{shared}/ff/norm", width)
        yield from _feed_forward(
            f"{local}.ff", f"{shared}/ff/{block.feed_forward.activation}", block.feed_forward, width
        )


def _slot_name(slot: Slot) -> str:
    if isinstance(slot, NormOnly):
        return "norm_only"
    return slot.to if slot.scores == "softmax" else f"{slot.to}_{slot.scores}"


def _attention(header: UNet, local: str, path: str, slot: Attention, width: Segments) -> Iterator[Tensor]:
    heads = (slot.head_dim,) * slot.heads
    kv = (slot.head_dim,) * (slot.kv_heads or slot.heads)
    source = width if slot.to == "self" or header.text_width is None else (header.text_width,)
    yield from _linear(f"{local}.to_q", f"{path}/to_q", heads, width, bias=False)
    # Keys and values in one take the values' weights: what the stream expects stays, attention has to adapt.
    yield from _linear(f"{local}.to_k", f"{path}/{'to_v' if slot.shared_kv else 'to_k'}", kv, source, bias=False)
    if not slot.shared_kv:
        yield from _linear(f"{local}.to_v", f"{path}/to_v", kv, source, bias=False)
    yield from _linear(f"{local}.to_out.0", f"{path}/to_out", width, heads)
    for name in ("norm_q", "norm_k") if slot.qk_norm else ():
        yield Tensor(f"{local}.{name}.weight", f"{path}/{name}/{slot.qk_norm}/weight", ((slot.head_dim,),))
        if slot.qk_norm == "layer_norm":
            yield Tensor(f"{local}.{name}.bias", f"{path}/{name}/{slot.qk_norm}/bias", ((slot.head_dim,),))


def _feed_forward(local: str, path: str, ff: FeedForward, width: Segments) -> Iterator[Tensor]:
    inner = (int(sum(width) * ff.expansion),)
    gated = inner * 2 if ff.activation in ("geglu", "swiglu") else inner
    yield from _linear(f"{local}.net.0.proj", f"{path}/in", gated, width)
    yield from _linear(f"{local}.net.2", f"{path}/out", width, inner)
