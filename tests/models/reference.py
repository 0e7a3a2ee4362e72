"""diffusers' own modules with our weights' names: the independent reference of what a network computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from archsearch.arch import UNet, to_diffusers
from archsearch.cost import Conditions
from archsearch.models import example_inputs


def diffusers_unet(config: dict[str, Any]) -> nn.Module:
    """diffusers' UNet of a config with ``_class_name``, in eval mode."""
    import diffusers

    cls = getattr(diffusers, config["_class_name"])
    return cls(**{key: value for key, value in config.items() if not key.startswith("_")}).eval()


def inputs_of(unet: UNet, conditions: Conditions) -> dict[str, Any]:
    """Inputs for our module and for diffusers', which wants pooled text even where its width is zero."""
    inputs = example_inputs(unet, conditions)
    inputs["encoder_hidden_states"] = inputs["encoder_hidden_states"] if unet.text_width else torch.zeros(1, 1, 1)
    return inputs


def reduced(unet: UNet, by: int = 10) -> dict[str, Any]:
    """The diffusers config of a preset with all widths divided, its structure kept."""
    config = to_diffusers(unet)
    config["block_out_channels"] = [8 * max(1, round(c / by / 8)) for c in config["block_out_channels"]]
    config["norm_num_groups"] = 4
    config["cross_attention_dim"] = 24
    if config.get("encoder_hid_dim"):
        config["encoder_hid_dim"] = 20
    if config.get("addition_embed_type"):
        old = config["addition_time_embed_dim"]
        config["addition_time_embed_dim"] = 8
        ids = (
            6
            if config["addition_embed_type"] == "text_time"
            else config["projection_class_embeddings_input_dim"] // old
        )
        pooled = 10 if config["addition_embed_type"] == "text_time" else 0
        config["projection_class_embeddings_input_dim"] = 8 * ids + pooled
    if config["_class_name"] == "DreamLiteUNetModel":  # heads must divide the channels there
        config["attention_head_dim"] = [c // 8 for c in config["block_out_channels"]]
    return config
