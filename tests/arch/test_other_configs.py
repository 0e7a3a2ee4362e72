from __future__ import annotations

from typing import Any

import pytest

from archsearch.arch import load_preset
from archsearch.arch.other_configs import decoder_from_diffusers, text_encoder_from_transformers
from archsearch.cost import Conditions, count
from archsearch.errors import ArchError

SD_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "act_fn": "silu",
}
CLIP_L: dict[str, Any] = {"model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072,
                          "num_hidden_layers": 12, "num_attention_heads": 12}  # fmt: skip


def test_the_presets_are_what_their_configs_say() -> None:
    assert decoder_from_diffusers(SD_VAE) == load_preset("sd-decoder").architecture
    assert text_encoder_from_transformers(CLIP_L) == load_preset("clip-vit-l14").architecture


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"block_out_channels": [8, 16], "up_block_types": ["UpDecoderBlock2D"] * 2, "layers_per_block": 1},
        {"block_out_channels": [8, 24, 16], "up_block_types": ["UpDecoderBlock2D"] * 3, "latent_channels": 8},
        {"block_out_channels": [16], "up_block_types": ["UpDecoderBlock2D"], "mid_block_add_attention": False},
    ],
)
def test_decoders_count_as_diffusers_runs_them(change: dict[str, Any]) -> None:
    import torch
    from diffusers.models.autoencoders.vae import Decoder
    from torch.utils.flop_counter import FlopCounterMode

    config = {**SD_VAE, "norm_num_groups": 4, **change}
    decoder = decoder_from_diffusers(config)
    with torch.device("meta"), torch.no_grad():
        module = Decoder(
            in_channels=config["latent_channels"],
            out_channels=3,
            up_block_types=config["up_block_types"],
            block_out_channels=config["block_out_channels"],
            layers_per_block=config["layers_per_block"],
            norm_num_groups=4,
            mid_block_add_attention=config.get("mid_block_add_attention", True),
        ).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            module(torch.empty(1, config["latent_channels"], 6, 4))
    totals = count(decoder, Conditions(latent=(6, 4)))
    assert totals.params == sum(p.numel() for p in module.parameters())
    assert 2 * totals.macs == counter.get_total_flops()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"up_block_types": ["AttnUpDecoderBlock2D"] * 4}, "up_block_types[0]: block type not covered"),
        ({"act_fn": "relu"}, "act_fn: not covered"),
        ({"block_out_channels": []}, "block_out_channels: must be a list with entries"),
        ({"latent_channels": True}, "latent_channels: must be an integer"),
        ({"mid_block_add_attention": 1}, "mid_block_add_attention: must be a boolean"),
        ({"norm_num_groups": 3}, "norm_groups must divide the channels"),
    ],
)
def test_refused_decoders(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ArchError) as caught:
        decoder_from_diffusers({**SD_VAE, **change}, "config.json")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_act": "relu"}, "hidden_act: not covered"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: out of range"),
        ({"num_attention_heads": 7}, "heads must divide the width"),
    ],
)
def test_refused_text_encoders(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ArchError) as caught:
        text_encoder_from_transformers({**CLIP_L, **change}, "config.json")
    assert expected in str(caught.value)
