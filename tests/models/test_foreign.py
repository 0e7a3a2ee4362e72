"""Counting what the vocabulary does not cover."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from archsearch.cost import Conditions
from archsearch.errors import CostError, ModelError
from archsearch.models.foreign import count_module, diffusers_inputs, diffusers_module


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(8, 5, bias=False))
        self.scale = nn.Parameter(torch.ones(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,cd->bdhw", self.head(self.conv(x)), self.scale)


def test_any_module_by_hand() -> None:
    net = Net()
    count = count_module(net, {"x": torch.randn(2, 3, 6, 8)})
    conv, linear, product = 2 * 4 * 6 * 8 * 27, 2 * 4 * 6 * 8 * 5, 2 * 6 * 5 * 4 * 4
    assert count.params == 4 * 27 + 4 + 40 + 16
    assert {row.name: row.macs for row in count.rows} == {"": product, "conv": conv, "head.1": linear}
    assert count.macs == conv + linear + product
    assert count.params == sum(row.params for row in count.rows)
    assert all(p.device.type == "cpu" for p in net.parameters())


def test_what_torch_cannot_count_is_an_error() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(x).real

    with pytest.raises(CostError, match="no formula"):
        count_module(Odd(), {"x": torch.randn(4)})
    with pytest.raises(CostError, match="does not run"):
        count_module(nn.Linear(3, 4), {"input": torch.randn(2, 5)})


@pytest.mark.parametrize("kind", ["unet", "class_unet", "controlnet", "unconditional", "autoencoder"])
def test_diffusers_folders(kind: str, tmp_path: Path) -> None:
    import diffusers

    small = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    cross = {**small, "cross_attention_dim": 12, "attention_head_dim": 2, "layers_per_block": 1}
    down = ("CrossAttnDownBlock2D", "DownBlock2D")
    up = ("UpBlock2D", "CrossAttnUpBlock2D")
    cls, options = {
        "unet": (diffusers.UNet2DConditionModel, {**cross, "down_block_types": down, "up_block_types": up}),
        "class_unet": (
            diffusers.UNet2DConditionModel,
            {
                **cross,
                "class_embed_type": "timestep",
                "down_block_types": ("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
                "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
                "up_block_types": ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
            },
        ),
        "controlnet": (
            diffusers.ControlNetModel,
            {**cross, "down_block_types": down, "conditioning_embedding_out_channels": (4, 8)},
        ),
        "unconditional": (
            diffusers.UNet2DModel,
            {
                **small,
                "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            },
        ),
        "autoencoder": (diffusers.AutoencoderKL, {"block_out_channels": (8,), "norm_num_groups": 4}),
    }[kind]
    real = cls(**options)
    real.save_config(tmp_path)
    module = diffusers_module(tmp_path)
    count = count_module(module, diffusers_inputs(module, Conditions(latent=(8, 8), text=3)))
    assert count.params == sum(p.numel() for p in real.parameters())
    assert 0 < count.macs_without_attention < count.macs
    assert sum(row.macs for row in count.rows) == count.macs


def test_hostile_folders(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for text in ("", "[1]", '{"_class_name": "os"}', '{"_class_name": "Pipeline"}', '{"_class_name": ["a"]}', "{}"):
        config.write_text(text)
        with pytest.raises(ModelError):
            diffusers_module(tmp_path)
    config.write_text('{"_class_name": "UNet2DConditionModel", "down_block_types": ["Nope"]}')
    with pytest.raises(ModelError, match="cannot build"):
        diffusers_module(tmp_path)
    with pytest.raises(ModelError, match="not a readable"):
        diffusers_module(tmp_path / "absent")


def test_inputs_of_an_unknown_class_are_refused() -> None:
    with pytest.raises(ModelError, match="count_module"):
        diffusers_inputs(nn.Linear(1, 1), Conditions())
