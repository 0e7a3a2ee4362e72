"""Inheritance of whole networks: embeddings, first and last convolutions, text encoders, and every block between."""

from __future__ import annotations

import torch
from torch import Tensor

from archsearch.arch import Architecture, Decoder, TextEncoder, UNet
from archsearch.models import cuts
from archsearch.models.inherit_blocks import Shared, inherit_part, silence_part
from archsearch.models.matching import match
from archsearch.models.paths import located_steps
from archsearch.models.transfer import Transfer


def inherit_network(transfer: Transfer, target: Architecture, source: Architecture) -> None:
    """Transfer everything that has a counterpart."""
    if isinstance(target, UNet) and isinstance(source, UNet):
        shared = _shared(target, source)
        _embeddings(transfer, target, source, shared)
    elif isinstance(target, Decoder) and isinstance(source, Decoder):
        groups = cuts.common_groups(source.norm_groups, target.norm_groups)
        shared = Shared(groups, torch.empty(0), None, torch.empty(0))
    else:
        assert isinstance(target, TextEncoder)
        assert isinstance(source, TextEncoder)
        _text_encoder(transfer, target, source)
        return
    _ends(transfer, target, source, shared.groups)
    for part, counterpart in match(target, source):
        if counterpart is None:
            silence_part(transfer, part)
        else:
            inherit_part(transfer, shared, part, counterpart)


def _shared(target: UNet, source: UNet) -> Shared:
    same_text = target.text_width == source.text_width
    text = torch.arange(target.text_width or 0)
    return Shared(
        cuts.common_groups(source.norm_groups, target.norm_groups),
        cuts.plain(source.time.width, target.time.width),
        target.time_shift if target.time_shift == source.time_shift else None,
        text if same_text else torch.full_like(text, -1),
    )


def _embeddings(transfer: Transfer, target: UNet, source: UNet, shared: Shared) -> None:
    features = cuts.sinusoid(source.time.input_width, target.time.input_width)
    transfer.linear("time_embedding.linear_1", "time_embedding.linear_1", shared.time, features)
    transfer.linear("time_embedding.linear_2", "time_embedding.linear_2", shared.time, shared.time)
    if target.time.cond_width is not None and target.time.cond_width == source.time.cond_width:
        condition = torch.arange(target.time.cond_width)
        transfer.linear("time_embedding.cond_proj", "time_embedding.cond_proj", features, condition)
    if target.added is not None and source.added is not None:
        added, old = target.added, source.added
        pooled = torch.arange(added.pooled_width)
        if added.pooled_width != old.pooled_width:
            pooled = torch.full_like(pooled, -1)
        numbers = cuts.sinusoid(old.time_width, added.time_width, min(added.ids, old.ids))
        numbers = torch.where(numbers >= 0, numbers + old.pooled_width, -1)
        spare = torch.full((added.input_width - len(pooled) - len(numbers),), -1)
        columns = torch.cat([pooled, numbers, spare])
        transfer.linear("add_embedding.linear_1", "add_embedding.linear_1", shared.time, columns)
        transfer.linear("add_embedding.linear_2", "add_embedding.linear_2", shared.time, shared.time)
    text, old_text = target.text_projection, source.text_projection
    if text is not None and old_text is not None and text.input_width == old_text.input_width:
        names = [f"encoder_hid_proj{'.0' if projection.norm else ''}" for projection in (text, old_text)]
        transfer.linear(names[0], names[1], shared.text, torch.arange(text.input_width))
        if text.norm is not None and old_text.norm is not None:
            transfer.affine("encoder_hid_proj.1", "encoder_hid_proj.1", shared.text)


def _ends(transfer: Transfer, target: UNet | Decoder, source: UNet | Decoder, groups: int) -> None:
    latent = [arch.in_channels if isinstance(arch, UNet) else arch.latent_channels for arch in (source, target)]
    first = cuts.grouped(source.conv_in_channels, target.conv_in_channels, groups)
    transfer.convolution("conv_in", "conv_in", cuts.plain(latent[0], latent[1]), first)
    last = cuts.grouped(_last_channels(source), _last_channels(target), groups)
    transfer.affine("conv_norm_out", "conv_norm_out", last)
    transfer.convolution("conv_out", "conv_out", last, cuts.plain(source.out_channels, target.out_channels))


def _last_channels(arch: UNet | Decoder) -> int:
    return next(step.in_channels for step, _ in located_steps(arch) if step.role == "head")


def _text_encoder(transfer: Transfer, target: TextEncoder, source: TextEncoder) -> None:
    """Layers are kept at even distances; heads and inner channels are sliced."""
    width = cuts.plain(source.width, target.width)
    inner = cuts.heads(*((arch.heads, arch.width // arch.heads) for arch in (source, target)))
    for name, rows in (
        ("token_embedding", cuts.plain(source.vocab, target.vocab)),
        ("position_embedding", cuts.plain(source.positions, target.positions)),
    ):
        weight = f"embeddings.{name}.weight"
        transfer.put(weight, transfer.take(weight), rows, width)
    for i, j in enumerate(_even(source.layers, target.layers)):
        if j is not None:
            _text_layer(transfer, f"encoder.layers.{i}.", f"encoder.layers.{j}.", width, inner)
    transfer.affine("final_layer_norm", "final_layer_norm", width)


def _text_layer(transfer: Transfer, new: str, old: str, width: Tensor, inner: Tensor) -> None:
    for norm in ("layer_norm1", "layer_norm2"):
        transfer.affine(f"{new}{norm}", f"{old}{norm}", width)
    for name in ("q_proj", "k_proj", "v_proj"):
        transfer.linear(f"{new}self_attn.{name}", f"{old}self_attn.{name}", inner, width)
    transfer.linear(f"{new}self_attn.out_proj", f"{old}self_attn.out_proj", width, inner)
    first, second = transfer.take(f"{old}mlp.fc1.weight"), transfer.take(f"{old}mlp.fc2.weight")
    importance = first.float().norm(dim=1) * second.float().norm(dim=0)
    kept = cuts.most_important(importance, transfer.target[f"{new}mlp.fc1.weight"].shape[0])
    transfer.linear(f"{new}mlp.fc1", f"{old}mlp.fc1", kept, width)
    transfer.linear(f"{new}mlp.fc2", f"{old}mlp.fc2", width, kept)


def _even(source: int, target: int) -> list[int | None]:
    """Which source layer each target layer takes; the last ones are new where there are too few."""
    if target >= source:
        return [i if i < source else None for i in range(target)]
    return [round(i * (source - 1) / max(target - 1, 1)) for i in range(target)]
