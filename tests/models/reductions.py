"""Reductions of a UNet, alone and at random, and a toy task to judge inherited weights by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from archsearch.arch import (
    Attention,
    Block,
    FeedForward,
    Layer,
    ResBlock,
    Separable,
    Shortcut,
    Stage,
    Transformer,
    TransformerBlock,
    UNet,
)

Reduce = Callable[[UNet], UNet]


def map_blocks(unet: UNet, change: Callable[[Block], Block]) -> UNet:
    def layers(old: tuple[Layer, ...]) -> tuple[Layer, ...]:
        return tuple(tuple(change(block) for block in layer) for layer in old)

    stages = tuple(replace(stage, down=layers(stage.down), up=layers(stage.up)) for stage in unet.stages)
    return replace(unet, stages=stages, middle=layers((unet.middle,))[0])


def transformer_blocks(change: Callable[[TransformerBlock], TransformerBlock]) -> Reduce:
    def on(block: Block) -> Block:
        if isinstance(block, Transformer):
            return replace(block, blocks=tuple(change(inner) for inner in block.blocks))
        return block

    return lambda unet: map_blocks(unet, on)


def attentions(**fields: object) -> Reduce:
    def on(slot: object) -> object:
        return replace(slot, **fields) if isinstance(slot, Attention) else slot  # type: ignore[arg-type]

    return transformer_blocks(lambda b: replace(b, first=on(b.first), second=on(b.second)))  # type: ignore[arg-type]


def feed_forward(expansion: float | None) -> Reduce:
    ff = None if expansion is None else FeedForward(expansion=expansion)
    return transformer_blocks(lambda block: replace(block, feed_forward=ff))


def separable(expansion: float = 1.0, bias: bool = True, stages: tuple[int, ...] = (0, 1)) -> Reduce:
    def layers(old: tuple[Layer, ...]) -> tuple[Layer, ...]:
        kind = Separable(expansion=expansion, bias=bias)
        return tuple(
            tuple(replace(block, separable=kind) if isinstance(block, ResBlock) else block for block in layer)
            for layer in old
        )

    def on(unet: UNet) -> UNet:
        found = [
            replace(stage, down=layers(stage.down), up=layers(stage.up)) if s in stages else stage
            for s, stage in enumerate(unet.stages)
        ]
        return replace(unet, stages=tuple(found))

    return on


def widths(change: dict[int, int]) -> Reduce:
    """New channel counts by old ones."""

    def on(block: Block) -> Block:
        if isinstance(block, (ResBlock, Shortcut)):
            return replace(block, channels=change.get(block.channels, block.channels))
        assert isinstance(block, Transformer)
        width = change.get(block.width, block.width)

        def slot(old: object) -> object:
            return replace(old, heads=width // old.head_dim) if isinstance(old, Attention) else old

        inner = tuple(replace(b, first=slot(b.first), second=slot(b.second)) for b in block.blocks)  # type: ignore[arg-type]
        return replace(block, width=width, blocks=inner)

    def samplers(stage: Stage) -> Stage:
        down, up = stage.downsample, stage.upsample
        return replace(
            stage,
            downsample=down and replace(down, channels=change.get(down.channels, down.channels)),
            upsample=up and replace(up, channels=change.get(up.channels, up.channels)),
        )

    def reduce(unet: UNet) -> UNet:
        first = change.get(unet.conv_in_channels, unet.conv_in_channels)
        unet = replace(map_blocks(unet, on), conv_in_channels=first)
        return replace(unet, stages=tuple(samplers(stage) for stage in unet.stages))

    return reduce


def drop_layer(stage: int) -> Reduce:
    """The last down layer of a stage and the second up layer."""

    def on(unet: UNet) -> UNet:
        old = unet.stages[stage]
        new = replace(old, down=old.down[:-1], up=(old.up[0], *old.up[2:]))
        return replace(unet, stages=(*unet.stages[:stage], new, *unet.stages[stage + 1 :]))

    return on


def shortcut(stage: int) -> Reduce:
    """The first up layer loses its residual block to a 1x1 and its transformer."""

    def on(unet: UNet) -> UNet:
        old = unet.stages[stage]
        first = old.up[0][0]
        assert isinstance(first, (ResBlock, Shortcut))
        new = replace(old, up=((Shortcut(channels=first.channels),), *old.up[1:]))
        return replace(unet, stages=(*unet.stages[:stage], new, *unet.stages[stage + 1 :]))

    return on


def no_middle(unet: UNet) -> UNet:
    return replace(unet, middle=())


def random_reductions() -> st.SearchStrategy[Reduce]:
    """One to three reductions at once, in an order in which any of them fits."""
    none = st.just(lambda unet: unet)
    shape = st.sampled_from([drop_layer(1), shortcut(1), no_middle])
    attention = st.sampled_from(
        [attentions(shared_kv=True), attentions(kv_heads=1), attentions(kv_heads=1, shared_kv=True), feed_forward(1.0),
         feed_forward(None), transformer_blocks(lambda block: replace(block, first=None))]
    )  # fmt: skip
    wide = st.sampled_from([separable(), separable(expansion=2, bias=False), widths({24: 16}), widths({16: 12})])

    def chain(steps: tuple[Reduce, ...]) -> Reduce:
        def on(unet: UNet) -> UNet:
            for step in steps:
                unet = step(unet)
            return unet

        return on

    return st.tuples(shape | none, attention | none, wide | none).map(chain)


class Batch(NamedTuple):
    """Noisy images, time steps, text states, and the noise to predict."""

    sample: Tensor
    timestep: Tensor
    text: Tensor
    noise: Tensor


def blobs(count: int, generator: torch.Generator) -> Batch:
    """Coloured blobs of 12x12 pixels whose place and colour the text says, at random noise levels."""
    place = torch.rand(count, 2, generator=generator) * 2 - 1
    colour = torch.randn(count, 3, generator=generator)
    axis = torch.linspace(-1, 1, 12)
    distance = (axis[None, None, :] - place[:, 0, None, None]) ** 2 + (
        axis[None, :, None] - place[:, 1, None, None]
    ) ** 2
    images = torch.exp(-6 * distance)[:, None] * colour[:, :, None, None]
    text = torch.zeros(count, 2, 12)
    text[:, 0, :2], text[:, 1, :3] = place, colour
    steps = torch.randint(1, 1000, (count,), generator=generator)
    signal = torch.cos(steps / 1000 * torch.pi / 2)[:, None, None, None]
    noise = torch.randn(images.shape, generator=generator)
    return Batch(signal * images + (1 - signal**2).sqrt() * noise, steps, text, noise)


def loss(module: nn.Module, batch: Batch) -> Tensor:
    prediction = module(batch.sample, batch.timestep, batch.text, return_dict=False)[0]
    return (prediction - batch.noise).square().mean()


def train(module: nn.Module, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module, blobs(16, generator)).backward()
        optimizer.step()
    module.eval()


@torch.no_grad()
def validation_loss(module: nn.Module) -> float:
    module.eval()
    return float(loss(module, blobs(64, torch.Generator().manual_seed(99))))
