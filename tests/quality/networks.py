"""Networks with every alternative that a supernet has a path or a slice for, beyond what the spaces use."""

from __future__ import annotations

from dataclasses import replace

from archsearch.arch import (
    Attention,
    Downsample,
    FeedForward,
    NormOnly,
    ResBlock,
    Separable,
    Shortcut,
    Stage,
    TimeEmbedding,
    Transformer,
    TransformerBlock,
    UNet,
    Upsample,
)


def network(
    *,
    stem: int = 8,
    bottom: int = 16,
    separable: Separable | None = None,
    block: TransformerBlock = TransformerBlock(),  # noqa: B008
    depth: int = 1,
    linear: bool = False,
    samplers: bool = False,
    first_down: bool = True,
    **header: object,
) -> UNet:
    """Two stages; ``block`` is repeated ``depth`` times in every transformer of the second."""
    residual = ResBlock(channels=bottom, separable=separable)
    transformer = Transformer(width=bottom, blocks=(block,) * depth, linear_projection=linear)
    fine = ResBlock(channels=8)
    unet = UNet(
        in_channels=3,
        out_channels=3,
        conv_in_channels=stem,
        text_width=64,
        norm_groups=4,
        time=TimeEmbedding(input_width=8, width=16),
        stages=(
            Stage(
                down=((fine,) if first_down else (Shortcut(channels=8),),),
                up=((fine, fine), (fine,)),
                downsample=Downsample(channels=8, separable=samplers),
            ),
            Stage(
                down=((residual, transformer),),
                up=((residual, transformer), (Shortcut(channels=bottom),)),
                upsample=Upsample(channels=bottom, separable=samplers),
            ),
        ),
        middle=(residual, transformer),
    )
    return replace(unet, **header)  # type: ignore[arg-type]


def attention(to: str, **options: object) -> Attention:
    return Attention(to=to, heads=options.pop("heads", 4), head_dim=options.pop("head_dim", 4), **options)  # type: ignore[arg-type]


SELF, TEXT = attention("self"), attention("text")

VARIETY: tuple[UNet, ...] = (
    network(block=TransformerBlock(first=SELF, second=TEXT, feed_forward=FeedForward())),
    network(
        stem=4,
        bottom=8,
        block=TransformerBlock(second=attention("text", heads=2), feed_forward=FeedForward(expansion=1.5)),
    ),
    network(
        bottom=24,
        depth=2,
        block=TransformerBlock(first=attention("text", shared_kv=True), feed_forward=FeedForward()),
    ),
    network(
        linear=True,
        block=TransformerBlock(first=attention("self", kv_heads=1), second=attention("text", kv_heads=2)),
    ),
    network(
        block=TransformerBlock(
            first=attention("self", scores="relu", head_dim=6), second=attention("text", qk_norm="rms_norm")
        )
    ),
    network(
        block=TransformerBlock(
            first=NormOnly(),
            second=attention("text", qk_norm="layer_norm"),
            feed_forward=FeedForward(activation="swiglu"),
        )
    ),
    network(
        first_down=False,
        block=TransformerBlock(first=TEXT, second=TEXT, feed_forward=FeedForward(activation="gelu")),
    ),
    network(bottom=12, separable=Separable(expansion=2.0), samplers=True, depth=0),
    network(
        bottom=8,
        separable=Separable(bias=False),
        block=TransformerBlock(feed_forward=FeedForward(activation="swish")),
    ),
)
