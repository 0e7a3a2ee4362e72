"""Counting modules that the vocabulary does not cover: any torch module, any diffusers model on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.cost import Conditions
from archsearch.errors import CostError, ModelError, unknown_name

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """What one submodule has and does itself, without its children; rows add up to the totals."""

    name: str
    kind: str
    params: int
    macs: int
    macs_without_attention: int


@dataclass(frozen=True, slots=True)
class ModuleCount:
    """Counts of one forward pass of a module.  ``macs_without_attention`` leaves products of activations out."""

    params: int
    macs: int
    macs_without_attention: int
    rows: tuple[ModuleRow, ...]


def count_module(module: nn.Module, inputs: Mapping[str, Any]) -> ModuleCount:
    """Count any torch module with ``FlopCounterMode`` on the meta device.

    Args:
        module: on any device, in eval mode where that matters; it is not changed and its weights are not read.
        inputs: keyword arguments of one forward pass, tensors on any device.

    Raises:
        CostError: the module runs an operator that may multiply and for which torch has no formula, or does not run
            on the meta device.
    """
    from torch import Tensor
    from torch.utils._pytree import tree_map

    from archsearch.models.counters import ModuleMacs, torch_macs

    state = {name: t.to("meta") for name, t in (*module.named_parameters(), *module.named_buffers())}
    on_meta = tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, dict(inputs))
    try:
        found = torch_macs(module, on_meta, state)
    except CostError:
        raise
    except Exception as error:  # whatever a foreign forward raises
        raise CostError("the module does not run on the meta device with these inputs", where=type(module).__name__,
                        got=f"{type(error).__name__}: {error}") from error  # fmt: skip
    own = dict(found)
    for path, macs in found.items():
        if path:
            parent = _nearest(path, found)
            above = own[parent]
            own[parent] = ModuleMacs(above.weighted - macs.weighted, above.products - macs.products)
    rows = []
    seen: set[int] = set()
    for path, part in module.named_modules():
        fresh = [p for p in part.parameters(recurse=False) if id(p) not in seen]
        seen.update(id(p) for p in fresh)
        params = sum(p.numel() for p in fresh)
        macs = own.get(path, ModuleMacs(0, 0))
        if params or any(macs):
            rows.append(ModuleRow(path, type(part).__name__, params, sum(macs), macs.weighted))
    total = found.get("", ModuleMacs(0, 0))
    count = ModuleCount(sum(row.params for row in rows), sum(total), total.weighted, tuple(rows))
    if sum(row.macs for row in rows) != count.macs:
        raise CostError("rows do not add up to the total", where=type(module).__name__,
                        got=sum(row.macs for row in rows), allowed=count.macs)  # fmt: skip
    return count


def _nearest(path: str, found: Mapping[str, Any]) -> str:
    while path:
        path = path.rpartition(".")[0]
        if path in found:
            return path
    return ""


def diffusers_module(path: Path) -> nn.Module:
    """The model of a diffusers ``config.json`` (or the folder that holds it), on the meta device, in eval mode.

    Raises:
        ModelError: no such file, not a diffusers configuration, or one that diffusers refuses.
    """
    config = _read_config(path)
    name = config.get("_class_name")
    import diffusers
    import torch

    cls = getattr(diffusers, name, None) if isinstance(name, str) and name.isidentifier() else None
    if not (isinstance(cls, type) and issubclass(cls, diffusers.ModelMixin)):
        raise ModelError(unknown_name("diffusers model class", str(name), _INPUTS), where=f"{path}: _class_name")
    try:
        with torch.device("meta"):
            return cls.from_config(config).eval()
    except Exception as error:  # diffusers raises anything on a bad configuration
        raise ModelError("diffusers cannot build this configuration", where=str(path),
                         got=f"{type(error).__name__}: {error}") from error  # fmt: skip


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ModelError("not a readable config.json", where=str(file), got=str(error)) from error
    if not isinstance(config, dict):
        raise ModelError(
            "not a diffusers configuration", where=str(file), got=type(config).__name__, allowed="a mapping"
        )
    return config


def diffusers_inputs(module: nn.Module, conditions: Conditions) -> dict[str, Any]:
    """Keyword arguments, on the meta device, of one forward pass of a diffusers model under ``conditions``.

    Raises:
        ModelError: a class whose inputs are not known here.
    """
    name = next((cls.__name__ for cls in type(module).__mro__ if cls.__name__ in _INPUTS), None)
    if name is None:
        raise ModelError(
            "the inputs of this class are not known",
            where=type(module).__name__,
            allowed=", ".join(sorted(_INPUTS)),
            next_step="call archsearch.models.foreign.count_module(module, inputs) with inputs of your own",
        )
    return _INPUTS[name](dict(module.config), conditions)  # type: ignore[arg-type]


def _noise(*shape: int) -> Any:
    import torch

    return torch.randn(*shape, device="meta")


def _ids(batch: int) -> Any:
    import torch

    return torch.zeros(batch, dtype=torch.long, device="meta")


def _unet_2d_condition(config: dict[str, Any], conditions: Conditions) -> dict[str, Any]:
    batch = conditions.batch
    width = config.get("encoder_hid_dim") or config["cross_attention_dim"]
    width = width[0] if isinstance(width, (list, tuple)) else width
    inputs: dict[str, Any] = {
        "sample": _noise(batch, config["in_channels"], *conditions.latent),
        "timestep": _ids(batch),
        "encoder_hidden_states": _noise(batch, conditions.text, width),
        "return_dict": False,
    }
    if config.get("time_cond_proj_dim"):
        inputs["timestep_cond"] = _noise(batch, config["time_cond_proj_dim"])
    if config.get("class_embed_type") in ("projection", "simple_projection"):
        inputs["class_labels"] = _noise(batch, config["projection_class_embeddings_input_dim"])
    elif config.get("class_embed_type") == "timestep" or config.get("num_class_embeds"):
        inputs["class_labels"] = _ids(batch)
    added: dict[str, Any] = {}
    kind = config.get("addition_embed_type")
    if kind in ("text_time", "time"):
        numbers = 6
        pooled = config["projection_class_embeddings_input_dim"] - numbers * config["addition_time_embed_dim"]
        if kind == "time":
            numbers = config["projection_class_embeddings_input_dim"] // config["addition_time_embed_dim"]
        else:
            added["text_embeds"] = _noise(batch, pooled)
        added["time_ids"] = _noise(batch, numbers)
    if kind in ("text_image", "image", "image_hint") or config.get("encoder_hid_dim_type") in (
        "text_image_proj",
        "image_proj",
    ):
        added["image_embeds"] = _noise(batch, width)
    if added:
        inputs["added_cond_kwargs"] = added
    return inputs


def _unet_2d(config: dict[str, Any], conditions: Conditions) -> dict[str, Any]:
    batch = conditions.batch
    inputs = {"sample": _noise(batch, config["in_channels"], *conditions.latent), "timestep": _ids(batch)}
    if config.get("num_class_embeds"):
        inputs["class_labels"] = _ids(batch)
    return inputs


def _controlnet(config: dict[str, Any], conditions: Conditions) -> dict[str, Any]:
    inputs = _unet_2d_condition(config, conditions)
    scale = 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)
    height, width = conditions.latent
    inputs["controlnet_cond"] = _noise(
        conditions.batch, config.get("conditioning_channels", 3), height * scale, width * scale
    )
    return inputs


def _autoencoder(config: dict[str, Any], conditions: Conditions) -> dict[str, Any]:
    scale = 2 ** (len(config["block_out_channels"]) - 1)
    height, width = conditions.latent
    return {"sample": _noise(conditions.batch, config["in_channels"], height * scale, width * scale)}


_INPUTS = {
    "UNet2DConditionModel": _unet_2d_condition,
    "UNet2DModel": _unet_2d,
    "ControlNetModel": _controlnet,
    "AutoencoderKL": _autoencoder,
}
