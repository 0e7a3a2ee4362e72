"""Small networks for the tests of this folder."""

from __future__ import annotations

from archsearch.arch import (
    Attention,
    Downsample,
    FeedForward,
    Layer,
    ResBlock,
    Stage,
    TimeEmbedding,
    Transformer,
    TransformerBlock,
    UNet,
    Upsample,
)


def transformer(width: int, *, head_dim: int = 8, depth: int = 1) -> Transformer:
    heads = width // head_dim
    block = TransformerBlock(
        first=Attention(to="self", heads=heads, head_dim=head_dim),
        second=Attention(to="text", heads=heads, head_dim=head_dim),
        feed_forward=FeedForward(expansion=2),
    )
    return Transformer(width=width, blocks=(block,) * depth)


def tiny_unet(channels: tuple[int, ...] = (16, 24), *, groups: int = 4, in_channels: int = 4) -> UNet:
    """SD 1.5's form with one layer a stage; the finest stage has no transformer."""
    stages = []
    last = len(channels) - 1
    for s, width in enumerate(channels):
        layer: Layer = (ResBlock(channels=width),) if s == 0 else (ResBlock(channels=width), transformer(width))
        stages.append(
            Stage(
                down=(layer,),
                up=(layer, layer),
                downsample=Downsample(channels=width) if s < last else None,
                upsample=Upsample(channels=width) if s else None,
            )
        )
    wide = ResBlock(channels=channels[-1])
    return UNet(
        in_channels=in_channels,
        out_channels=in_channels,
        conv_in_channels=channels[0],
        text_width=12,
        time=TimeEmbedding(input_width=channels[0], width=32),
        stages=tuple(stages),
        middle=(wide, transformer(channels[-1]), wide),
        norm_groups=groups,
    )
