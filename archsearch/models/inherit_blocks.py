"""Inheritance block by block: residual blocks, transformers, attention, samplers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from archsearch.arch import values
from archsearch.arch.values import Attention, FeedForward, NormOnly, ResBlock, SpatialAttention, Transformer
from archsearch.arch.walk import hidden_channels
from archsearch.models import cuts
from archsearch.models.matching import Part, align
from archsearch.models.transfer import Transfer


class Shared(NamedTuple):
    """Cuts that all blocks of a network share."""

    groups: int
    time: Tensor
    time_shift: str | None
    """The common way of adding the time embedding; None where the networks differ."""
    text: Tensor
    """All -1 where the text widths differ: another encoder's states mean something else."""


def inherit_part(transfer: Transfer, shared: Shared, target: Part, source: Part) -> None:
    """Transfer one block or sampler to its counterpart."""
    inputs = cuts.joined(source.inputs, target.inputs, shared.groups)
    outputs = cuts.grouped(source.channels, target.channels, shared.groups)
    value, old = target.value, source.value
    if isinstance(value, (ResBlock, values.Shortcut)):
        _shortcut(transfer, target, source, inputs, outputs)
        if isinstance(value, ResBlock) and isinstance(old, ResBlock):
            _residual(transfer, shared, target.path, source.path, value, old, inputs, outputs)
    elif isinstance(value, Transformer) and isinstance(old, Transformer):
        _transformer(transfer, shared, target.path, source.path, value, old, inputs)
    elif isinstance(value, SpatialAttention) and isinstance(old, SpatialAttention):
        _spatial_attention(transfer, target, source, value, old, inputs)
    else:
        transfer.convolution(f"{target.path}conv", f"{source.path}conv", inputs, outputs)


def silence_part(transfer: Transfer, part: Part) -> None:
    """A block without counterpart starts as the identity where its widths allow it."""
    if isinstance(part.value, ResBlock):
        if part.inputs == (part.channels,):
            transfer.silence(f"{part.path}conv2")
            transfer.silence(f"{part.path}conv2.pointwise")
    elif isinstance(part.value, Transformer):
        transfer.silence(f"{part.path}proj_out")
    elif isinstance(part.value, SpatialAttention):
        transfer.silence(f"{part.path}to_out.0")


def _shortcut(transfer: Transfer, target: Part, source: Part, inputs: Tensor, outputs: Tensor) -> None:
    new, old = f"{target.path}conv_shortcut", f"{source.path}conv_shortcut"
    if f"{new}.weight" not in transfer.target:
        return
    if transfer.has(f"{old}.weight"):
        transfer.linear(new, old, outputs, inputs)
    else:  # the source adds its input as it is: a 1x1 convolution by the identity
        identity = torch.eye(source.channels)[:, :, None, None]
        transfer.put(f"{new}.weight", identity, outputs, inputs, transformed=True)
        transfer.bias(new, torch.zeros(source.channels), outputs, given=False)


def _residual(
    transfer: Transfer, shared: Shared, new: str, old: str, target: ResBlock, source: ResBlock, inputs: Tensor,
    outputs: Tensor,
) -> None:  # fmt: skip
    width, wanted = hidden_channels(source), hidden_channels(target)
    rank = 1
    if target.separable is not None and source.separable is None and wanted > width and wanted % width == 0:
        rank = wanted // width
    hidden = torch.arange(width).repeat_interleave(rank) if rank > 1 else cuts.grouped(width, wanted, shared.groups)
    transfer.affine(f"{new}norm1", f"{old}norm1", inputs)
    transfer.convolution(f"{new}conv1", f"{old}conv1", inputs, hidden)
    if f"{new}time_emb_proj.weight" in transfer.target and shared.time_shift is not None:
        rows = cuts.halves(width, wanted, hidden) if shared.time_shift == "scale_shift" else hidden
        transfer.linear(f"{new}time_emb_proj", f"{old}time_emb_proj", rows, shared.time)
        if shared.time_shift == "add":
            lost = transfer.lost_bias(f"{new}conv1", f"{old}conv1")
            transfer.fold(f"{new}time_emb_proj", f"{old}time_emb_proj", lost, hidden)
    transfer.affine(f"{new}norm2", f"{old}norm2", hidden)
    transfer.convolution(f"{new}conv2", f"{old}conv2", hidden, outputs, rank)
    if f"{new}conv_shortcut.bias" in transfer.target:
        lost = transfer.lost_bias(f"{new}conv2", f"{old}conv2")
        transfer.fold(f"{new}conv_shortcut", f"{old}conv_shortcut", lost, outputs)


def _transformer(
    transfer: Transfer, shared: Shared, new: str, old: str, target: Transformer, source: Transformer, channels: Tensor
) -> None:
    width = cuts.plain(source.width, target.width)
    transfer.affine(f"{new}norm", f"{old}norm", channels)
    transfer.linear(f"{new}proj_in", f"{old}proj_in", width, channels)
    transfer.linear(f"{new}proj_out", f"{old}proj_out", channels, width)
    numbered = list(enumerate(source.blocks))
    found = align(list(enumerate(target.blocks)), numbered, lambda a, b, first: 1.0)
    for (i, block), counterpart in zip(enumerate(target.blocks), found, strict=True):
        path = f"{new}transformer_blocks.{i}."
        if counterpart is None:
            for layer in ("attn1.to_out.0", "attn2.to_out.0", "ff.net.2"):
                transfer.silence(f"{path}{layer}")
        else:
            j, other = counterpart
            _transformer_block(transfer, shared, (path, f"{old}transformer_blocks.{j}."), block, other, width)


def _transformer_block(
    transfer: Transfer, shared: Shared, paths: tuple[str, str], target: values.TransformerBlock,
    source: values.TransformerBlock, width: Tensor,
) -> None:  # fmt: skip
    new, old = paths
    free = {1: source.first, 2: source.second}
    for number, slot in ((1, target.first), (2, target.second)):
        counterpart = _slot_like(slot, number, free)
        if slot is None:
            continue
        if counterpart is None:
            transfer.silence(f"{new}attn{number}.to_out.0")
            continue
        other = free.pop(counterpart)
        transfer.affine(f"{new}norm{number}", f"{old}norm{counterpart}", width)
        if isinstance(slot, Attention) and isinstance(other, Attention):
            names = (f"{new}attn{number}", f"{old}attn{counterpart}")
            _attention(transfer, names, slot, other, width, shared.text if slot.to == "text" else width)
    if target.feed_forward is not None and source.feed_forward is not None:
        transfer.affine(f"{new}norm3", f"{old}norm3", width)
        _feed_forward(transfer, (f"{new}ff", f"{old}ff"), target.feed_forward, source.feed_forward, width)
    elif target.feed_forward is not None:
        transfer.silence(f"{new}ff.net.2")


def _slot_like(slot: values.Slot | None, number: int, free: dict[int, values.Slot | None]) -> int | None:
    """The source slot that a target slot takes its weights from: of the same kind, in the same place if possible."""
    places = sorted(free, key=lambda place: place != number)
    for place in places:
        other = free[place]
        if isinstance(slot, Attention) and isinstance(other, Attention) and slot.to == other.to:
            return place
        if isinstance(slot, NormOnly) and isinstance(other, NormOnly):
            return place
    if isinstance(slot, NormOnly):  # what is left of a removed attention is its norm
        return next((place for place in places if place == number and free[place] is not None), None)
    return None


def _attention(
    transfer: Transfer, names: tuple[str, str], target: Attention, source: Attention, width: Tensor, context: Tensor
) -> None:
    new, old = names
    inner = cuts.heads((source.heads, source.head_dim), (target.heads, target.head_dim))
    transfer.linear(f"{new}.to_q", f"{old}.to_q", inner, width)
    transfer.linear(f"{new}.to_out.0", f"{old}.to_out.0", width, inner)
    for norm in ("norm_q", "norm_k"):
        if target.qk_norm is not None and target.qk_norm == source.qk_norm:
            transfer.affine(f"{new}.{norm}", f"{old}.{norm}", cuts.plain(source.head_dim, target.head_dim))
    keys, values_ = f"{old}.to_k.weight", f"{old}.to_k.weight" if source.shared_kv else f"{old}.to_v.weight"
    if target.shared_kv and not source.shared_kv:
        mean = (transfer.take(keys).float() + transfer.take(values_).float()) / 2
        _key_value(transfer, f"{new}.to_k.weight", mean, target, source, context, averaged=True)
        return
    _key_value(transfer, f"{new}.to_k.weight", transfer.take(keys), target, source, context)
    if not target.shared_kv:
        _key_value(transfer, f"{new}.to_v.weight", transfer.take(values_), target, source, context)


def _key_value(
    transfer: Transfer, name: str, weight: Tensor, target: Attention, source: Attention, context: Tensor,
    *, averaged: bool = False,
) -> None:  # fmt: skip
    """Keys or values: each target head takes the mean of the source heads that its queries used."""
    old_heads, new_heads = source.kv_heads or source.heads, target.kv_heads or target.heads
    if source.heads != target.heads and source.heads * source.head_dim == target.heads * target.head_dim:
        if old_heads * source.head_dim == new_heads * target.head_dim:  # queries stayed as they were
            transfer.put(name, weight, torch.arange(len(weight)), context, transformed=averaged)
        return
    served, serving = target.heads // new_heads, source.heads // old_heads
    groups = [
        sorted({q // serving for q in range(j * served, (j + 1) * served) if q < source.heads})
        for j in range(new_heads)
    ]
    if any(len(group) > 1 for group in groups):
        split = weight.float().unflatten(0, (old_heads, source.head_dim))
        weight = torch.cat([split[group].mean(0) for group in groups if group])
        groups = [[i] if group else [] for i, group in enumerate(groups)]
        averaged = True
    first = torch.tensor([group[0] if group else -1 for group in groups])
    within = cuts.plain(source.head_dim, target.head_dim)
    rows = first[:, None] * source.head_dim + within
    rows = torch.where((first[:, None] >= 0) & (within >= 0), rows, -1).flatten()
    transfer.put(name, weight, rows, context, transformed=averaged)


def _feed_forward(
    transfer: Transfer, names: tuple[str, str], target: FeedForward, source: FeedForward, width: Tensor
) -> None:
    """Keep the inner channels that weigh most; the halves of a gated projection are cut alike."""
    new, old = names
    proj, out = transfer.take(f"{old}.net.0.proj.weight"), transfer.take(f"{old}.net.2.weight")
    from_gated = source.activation in ("geglu", "swiglu")
    to_gated = target.activation in ("geglu", "swiglu")
    old_inner, new_inner = out.shape[1], transfer.target[f"{new}.net.2.weight"].shape[1]
    rows_norm = proj.float().norm(dim=1).unflatten(0, (-1, old_inner)).prod(0)
    kept = cuts.most_important(rows_norm * out.float().norm(dim=0), new_inner)
    if from_gated and to_gated:
        rows = cuts.halves(old_inner, new_inner, kept)
    elif from_gated:  # the gate has the activation
        rows = torch.where(kept >= 0, kept + old_inner, -1)
    elif to_gated:
        rows = torch.cat([torch.full_like(kept, -1), kept])
    else:
        rows = kept
    transfer.linear(f"{new}.net.0.proj", f"{old}.net.0.proj", rows, width)
    transfer.linear(f"{new}.net.2", f"{old}.net.2", width, kept)


def _spatial_attention(
    transfer: Transfer, target: Part, source: Part, new: SpatialAttention, old: SpatialAttention, channels: Tensor
) -> None:
    shapes = [(part.heads, width // part.heads) for part, width in ((old, source.channels), (new, target.channels))]
    inner = cuts.heads(shapes[0], shapes[1])
    transfer.affine(f"{target.path}group_norm", f"{source.path}group_norm", channels)
    for name in ("to_q", "to_k", "to_v"):
        transfer.linear(f"{target.path}{name}", f"{source.path}{name}", inner, channels)
    transfer.linear(f"{target.path}to_out.0", f"{source.path}to_out.0", channels, inner)
