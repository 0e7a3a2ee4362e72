"""Hypothesis strategies: random valid architectures with all of the vocabulary, small enough to build quickly."""

from __future__ import annotations

from hypothesis import strategies as st

from archsearch.arch import (
    AddedEmbedding,
    Attention,
    Block,
    Decoder,
    DecoderStage,
    Downsample,
    FeedForward,
    Layer,
    NormOnly,
    ResBlock,
    Separable,
    Shortcut,
    Slot,
    SpatialAttention,
    Stage,
    TextEncoder,
    TextProjection,
    TimeEmbedding,
    Transformer,
    TransformerBlock,
    UNet,
    Upsample,
)
from archsearch.cost import Conditions

GROUPS = 2  # torch refuses a group of one value


def channels() -> st.SearchStrategy[int]:
    return st.sampled_from([8, 12, 16, 24])


@st.composite
def separables(draw: st.DrawFn, out: int) -> Separable | None:
    if draw(st.booleans()):
        return None
    allowed = [ratio for ratio in (0.5, 1.0, 1.5, 2.0) if int(out * ratio) % GROUPS == 0]
    return Separable(expansion=draw(st.sampled_from(allowed)), bias=draw(st.booleans()))


@st.composite
def res_blocks(draw: st.DrawFn) -> ResBlock:
    out = draw(channels())
    return ResBlock(channels=out, separable=draw(separables(out)))


@st.composite
def attentions(draw: st.DrawFn, text: bool) -> Attention:
    heads = draw(st.sampled_from([1, 2, 4]))
    return Attention(
        to=draw(st.sampled_from(["self", "text"])) if text else "self",
        heads=heads,
        head_dim=draw(st.sampled_from([3, 4, 8])),
        kv_heads=draw(st.sampled_from([None, *(n for n in (1, 2, 4) if heads % n == 0)])),
        shared_kv=draw(st.booleans()),
        qk_norm=draw(st.sampled_from([None, "rms_norm", "layer_norm"])),
        scores=draw(st.sampled_from(["softmax", "relu"])),
    )


def slots(text: bool) -> st.SearchStrategy[Slot | None]:
    return st.one_of(st.none(), st.just(NormOnly()), attentions(text), attentions(text))


def feed_forwards() -> st.SearchStrategy[FeedForward]:
    return st.builds(
        FeedForward,
        expansion=st.sampled_from([0.7, 1.0, 2.5, 4.0]),
        activation=st.sampled_from(["geglu", "swiglu", "gelu", "swish"]),
    )


def transformers(text: bool) -> st.SearchStrategy[Transformer]:
    blocks = st.builds(
        TransformerBlock, first=slots(text), second=slots(text), feed_forward=st.none() | feed_forwards()
    )
    return st.builds(
        Transformer,
        width=st.sampled_from([6, 8, 13]),
        blocks=st.lists(blocks, max_size=2).map(tuple),
        linear_projection=st.booleans(),
    )


def blocks(text: bool) -> st.SearchStrategy[Block]:
    return st.one_of(
        res_blocks(),
        transformers(text),
        st.builds(SpatialAttention, heads=st.sampled_from([1, 2, 4])),
        st.builds(Shortcut, channels=channels()),
    )


def layers(text: bool) -> st.SearchStrategy[Layer]:
    return st.lists(blocks(text), max_size=3).map(tuple)


@st.composite
def up_layers(draw: st.DrawFn, text: bool) -> Layer:
    return (draw(res_blocks() | st.builds(Shortcut, channels=channels())), *draw(layers(text)))


def samplers(kind: type[Downsample] | type[Upsample]) -> st.SearchStrategy[Downsample | Upsample]:
    return st.builds(kind, channels=channels(), separable=st.booleans())


@st.composite
def unets(draw: st.DrawFn) -> UNet:
    text = draw(st.booleans())
    depth = draw(st.integers(1, 3))
    stages = []
    for s in range(depth):
        down = draw(st.lists(layers(text), max_size=2))
        up = [draw(up_layers(text)) for _ in range(len(down) + 1)]
        stages.append(
            Stage(
                down=tuple(down),
                up=tuple(up),
                downsample=draw(samplers(Downsample)) if s < depth - 1 else None,  # type: ignore[arg-type]
                upsample=draw(samplers(Upsample)) if s else None,  # type: ignore[arg-type]
            )
        )
    projections = st.none() | st.builds(
        TextProjection, input_width=st.sampled_from([5, 9]), norm=st.sampled_from([None, "rms_norm"])
    )
    added = st.none() | st.builds(
        AddedEmbedding, time_width=st.sampled_from([4, 6]), ids=st.integers(1, 3), pooled_width=st.sampled_from([0, 7])
    )
    return UNet(
        in_channels=draw(st.sampled_from([3, 4])),
        out_channels=draw(st.sampled_from([3, 4])),
        conv_in_channels=draw(channels()),
        conv_in_kernel=draw(st.sampled_from([1, 3, 5])),
        conv_out_kernel=draw(st.sampled_from([1, 3])),
        text_width=draw(st.sampled_from([6, 10])) if text else None,
        text_projection=draw(projections) if text else None,
        time=TimeEmbedding(
            input_width=draw(st.sampled_from([6, 8, 9])),
            width=draw(st.sampled_from([8, 20])),
            cond_width=draw(st.sampled_from([None, 5])),
            flip_sin_to_cos=draw(st.booleans()),
            freq_shift=draw(st.sampled_from([0.0, 1.0])),
        ),
        added=draw(added),
        time_shift=draw(st.sampled_from(["add", "scale_shift"])),
        stages=tuple(stages),
        middle=draw(layers(text)),
        activation=draw(st.sampled_from(["silu", "gelu", "relu", "mish"])),
        norm_groups=GROUPS,
    )


@st.composite
def decoders(draw: st.DrawFn) -> Decoder:
    depth = draw(st.integers(1, 3))
    return Decoder(
        latent_channels=draw(st.sampled_from([4, 16])),
        conv_in_channels=draw(channels()),
        middle=draw(layers(False)),
        stages=tuple(
            DecoderStage(
                blocks=draw(layers(False)),
                upsample=draw(samplers(Upsample)) if s < depth - 1 else None,  # type: ignore[arg-type]
            )
            for s in range(depth)
        ),
        activation=draw(st.sampled_from(["silu", "relu"])),
        norm_groups=GROUPS,
    )


@st.composite
def text_encoders(draw: st.DrawFn) -> TextEncoder:
    heads = draw(st.sampled_from([1, 2, 3]))
    return TextEncoder(
        vocab=draw(st.integers(4, 50)),
        positions=draw(st.sampled_from([12, 20])),
        width=heads * draw(st.sampled_from([4, 8])),
        layers=draw(st.integers(1, 2)),
        heads=heads,
        ff_width=draw(st.sampled_from([9, 16])),
        activation=draw(st.sampled_from(["quick_gelu", "gelu"])),
    )


def conditions() -> st.SearchStrategy[Conditions]:
    """Odd and oblong latents included."""
    return st.builds(
        Conditions,
        latent=st.tuples(st.integers(1, 13), st.integers(1, 13)),
        text=st.integers(1, 12),
        batch=st.integers(1, 2),
    )
