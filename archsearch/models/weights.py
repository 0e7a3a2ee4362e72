"""Weights in: from diffusers, from another architecture, whole or reduced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from archsearch.arch import Architecture, Decoder, TextEncoder, UNet, resolve
from archsearch.errors import ModelError
from archsearch.models.report import Inheritance

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIXES = ("unet.", "decoder.", "text_model.", "model.diffusion_model.")
WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "model.safetensors")


def inherit(module: nn.Module, source: Architecture, state: Mapping[str, Tensor]) -> Inheritance:
    """Fill ``module`` with what it can take from the weights of another architecture.

    Layers match in order (see ``matching``); channels, heads and feed-forwards are sliced, each part of an up block's
    concatenated input and each norm group by itself; keys and values are averaged into shared ones, grouped heads
    into their group's; full convolutions become the nearest separable ones.  What has no counterpart keeps its
    initialisation, except that the last layer of a new block is zero: it starts as the identity where it can.

    Args:
        module: what ``build`` returned; its weights are overwritten in place.
        source: the architecture that ``state`` belongs to.
        state: its weights, by the names of its module (diffusers' names).

    Raises:
        ModelError: a tensor of ``source`` is missing or has another shape, or the two are networks of other kinds.
    """
    from archsearch.models.inherit_ends import inherit_network
    from archsearch.models.transfer import Transfer

    target = cast(Architecture, module.arch)
    if type(target) is not type(source):
        raise ModelError("weights come from a network of the same kind", where="source", got=source.kind,
                         allowed=target.kind)  # fmt: skip
    _check_state(source, state)
    transfer = Transfer(dict(module.named_parameters()), state)
    inherit_network(transfer, target, source)
    dropped = tuple(sorted(transfer.unused()))
    return Inheritance(transfer.reports(), dropped, sum(state[name].numel() for name in dropped))


def load_diffusers(module: nn.Module, state: Mapping[str, Tensor], source: Architecture | None = None) -> Inheritance:
    """Load a diffusers (or transformers, or our own) state dict, whole or reduced.

    Args:
        module: what ``build`` returned.
        state: the state dict; prefixes such as ``decoder.`` are understood.
        source: the architecture of ``state`` where it is not the module's own.

    Raises:
        ModelError: tensors are missing or have other shapes; names the first few.
    """
    return inherit(module, source or cast(Architecture, module.arch), normalised(state))


def normalised(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without prefixes, buffers and the names that old checkpoints had."""
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in state)), "")
    found = {}
    for name, tensor in state.items():
        if not name.startswith(prefix) or name.endswith("position_ids"):
            continue  # an autoencoder's encoder, for instance
        short = name.removeprefix(prefix)
        for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
            short = short.replace(f"attentions.0.{old}.", f"attentions.0.{new}.")
        squeezed = ".to_" in short and short.endswith(".weight") and tensor.dim() == 4
        found[short] = tensor[:, :, 0, 0] if squeezed else tensor
    return found


def read_weights(folder: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """The architecture and weights of a diffusers, transformers or archsearch model folder (safetensors only).

    Raises:
        ArchError: a configuration outside the vocabulary.
        ModelError: no weights, or weights that are not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    arch = resolve(str(folder)).architecture
    state: dict[str, Tensor] = {}
    for path in _weight_paths(folder):
        try:
            state |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError("not a readable safetensors file", where=str(path), got=str(error)) from error
    return arch, normalised(state)


def _weight_paths(folder: Path) -> list[Path]:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise ModelError("not a readable index of shards", where=str(index), got=str(error)) from error
            if not all(isinstance(shard, str) and Path(shard).name == shard for shard in shards):
                raise ModelError("shards lie beside their index", where=str(index), got=shards)
            return [folder / shard for shard in shards]
    raise ModelError("no weights here", where=str(folder), allowed=", ".join(WEIGHT_FILES),
                     next_step="pickled weights (.bin, .ckpt) are not read; save them as safetensors")  # fmt: skip


def _check_state(source: Architecture, state: Mapping[str, Tensor]) -> None:
    """Every parameter of ``source`` is there in its shape."""
    from archsearch.models.factory import build

    expected: dict[str, Any] = {name: tuple(p.shape) for name, p in build(source, device="meta").named_parameters()}
    missing = [name for name in expected if name not in state]
    if missing:
        raise ModelError(
            "the weights lack tensors of their architecture",
            where=missing[0],
            got=f"{len(missing)} missing",
            next_step="name the architecture that the weights belong to as `source`",
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise ModelError("a tensor has another shape", where=name, got=tuple(state[name].shape), allowed=shape)


__all__ = ["Decoder", "Inheritance", "TextEncoder", "UNet", "inherit", "load_diffusers", "normalised", "read_weights"]
