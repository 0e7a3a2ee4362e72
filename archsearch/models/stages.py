"""Halves of stages as modules, with diffusers' names: ``resnets``, ``attentions``, ``downsamplers``, ``upsamplers``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from archsearch.arch import values
from archsearch.models.blocks import Common, Downsample, Upsample, make_block
from archsearch.models.paths import LISTS


class Blocks(nn.Module):
    """Layers of blocks.  Blocks live in one list per kind, numbered over the whole half as in diffusers."""

    def __init__(self, common: Common) -> None:
        super().__init__()
        self.common = common
        self.resnets = nn.ModuleList()
        self.attentions = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        self.layers: list[list[tuple[str, int]]] = []
        self.gradient_checkpointing = False

    def add(self, layer: int, block: values.Block, in_channels: int) -> str:
        """Append a block to a layer; returns its name inside this module."""
        self.reach(layer)
        name = LISTS[block.kind]
        blocks = getattr(self, name)
        blocks.append(make_block(self.common, block, in_channels))
        self.layers[layer].append((name, len(blocks) - 1))
        return f"{name}.{len(blocks) - 1}"

    def reach(self, layer: int) -> None:
        """Have at least ``layer + 1`` layers (layers may stay empty)."""
        while len(self.layers) <= layer:
            self.layers.append([])

    def run(self, layer: list[tuple[str, int]], x: Tensor, temb: Any, text: Any, attention: dict[str, Any]) -> Tensor:
        """Run one layer."""
        for name, index in layer:
            block = getattr(self, name)[index]
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = self._gradient_checkpointing_func(_Call(block, attention), x, temb, text)  # type: ignore[operator]
            else:
                x = block(x, temb, text, **attention)
        return x


class _Call:
    """A block with its keyword arguments bound (checkpointing passes positional arguments only)."""

    def __init__(self, block: nn.Module, attention: dict[str, Any]) -> None:
        self.block = block
        self.attention = attention

    def __call__(self, *args: Any) -> Tensor:
        return self.block(*args, **self.attention)


class DownBlock(Blocks):
    """Down half of a stage: each layer leaves a skip, and so does the downsampler."""

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self.downsamplers = nn.ModuleList()

    def add_downsample(self, value: values.Downsample, in_channels: int) -> None:
        """End the half with a downsampler."""
        self.downsamplers.append(Downsample(value, in_channels))

    def forward(
        self, x: Tensor, temb: Tensor | None = None, text: Tensor | None = None, **attention: Any
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns the output and the skips in the order they were left."""
        skips = []
        for layer in self.layers:
            x = self.run(layer, x, temb, text, attention)
            skips.append(x)
        for sampler in self.downsamplers:
            x = sampler(x)
            skips.append(x)
        return x, skips


class MidBlock(Blocks):
    """The middle; may be empty."""

    def forward(self, x: Tensor, temb: Tensor | None = None, text: Tensor | None = None, **attention: Any) -> Tensor:
        """[batch, C, H, W] -> [batch, C', H, W]."""
        for layer in self.layers:
            x = self.run(layer, x, temb, text, attention)
        return x


class UpBlock(Blocks):
    """Up half of a stage: each layer joins the latest skip first."""

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self.upsamplers = nn.ModuleList()

    def add_upsample(self, value: values.Upsample, in_channels: int) -> None:
        """End the half with an upsampler."""
        self.upsamplers.append(Upsample(value, in_channels))

    def forward(
        self,
        x: Tensor,
        skips: list[Tensor],
        temb: Tensor | None = None,
        text: Tensor | None = None,
        **attention: Any,
    ) -> Tensor:
        """Takes this half's skips off the end of ``skips``; upsamples to the size of the next one."""
        for layer in self.layers:
            x = torch.cat([x, skips.pop()], dim=1)
            x = self.run(layer, x, temb, text, attention)
        for sampler in self.upsamplers:
            x = sampler(x, (skips[-1].shape[2], skips[-1].shape[3]))
        return x


class DecoderBlock(Blocks):
    """One resolution of an image decoder."""

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self.upsamplers = nn.ModuleList()

    def add_upsample(self, value: values.Upsample, in_channels: int) -> None:
        """End the stage with an upsampler."""
        self.upsamplers.append(Upsample(value, in_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, C, H, W] -> [batch, C', 2H, 2W] (the same size in the last stage)."""
        for layer in self.layers:
            x = self.run(layer, x, None, None, {})
        for sampler in self.upsamplers:
            x = sampler(x)
        return x
