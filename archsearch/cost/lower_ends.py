"""Lowering of everything that is not a block: embeddings, first and last convolutions, samplers, joins, encoders."""

from __future__ import annotations

from archsearch.arch.values import Activation, Downsample, Separable, TextEncoder, UNet, Upsample
from archsearch.cost.context import Context
from archsearch.cost.lower_blocks import conv3x3
from archsearch.cost.trace import INPUT, Trace, Tracer

_SEPARABLE = Separable()


def lower_embed(ctx: Context, unet: UNet) -> Trace:
    """Time, added and text embeddings; tensor 0 is the time step of each sample."""
    t = Tracer((ctx.batch,))
    time = unet.time
    x = t.run("sinusoid", (INPUT,), width=time.input_width)
    if time.cond_width is not None:
        cond = t.run("linear", (t.outside((ctx.batch, time.cond_width)),), "time_embedding.cond_proj",
                     out=time.input_width, bias=0)  # fmt: skip
        x = t.run("add", (x, cond))
    x = _mlp(t, x, "time_embedding", ctx.activation, time.width)
    if unet.added is not None:
        added = unet.added
        y = t.run("sinusoid", (t.outside((ctx.batch * added.ids,)),), width=added.time_width)
        y = t.view(y, (ctx.batch, added.ids * added.time_width))
        if added.pooled_width:
            y = t.run("cat", (t.outside((ctx.batch, added.pooled_width)), y))
        y = _mlp(t, y, "add_embedding", "silu", time.width)  # whatever the network's activation, as in diffusers
        x = t.run("add", (x, y))
    if unet.text_projection is not None:
        source = t.outside((ctx.batch, ctx.text_tokens, unet.text_projection.input_width))
        name = "encoder_hid_proj.0" if unet.text_projection.norm else "encoder_hid_proj"
        text_states = t.run("linear", (source,), name, out=ctx.text_width, bias=1)
        if unet.text_projection.norm:
            t.run("rms_norm", (text_states,), "encoder_hid_proj.1")
    return t.finish(x)


def _mlp(t: Tracer, x: int, name: str, activation: Activation, width: int) -> int:
    x = t.run("linear", (x,), f"{name}.linear_1", out=width, bias=1)
    x = t.run(activation, (x,))
    return t.run("linear", (x,), f"{name}.linear_2", out=width, bias=1)


def lower_conv_in(ctx: Context, channels: int, out: int, kernel: int) -> Trace:
    """The first convolution."""
    t = Tracer((ctx.batch, channels, ctx.height, ctx.width))
    return t.finish(t.run("conv2d", (INPUT,), "conv_in", out=out, k=kernel, s=1, g=1, bias=1))


def lower_head(ctx: Context, channels: int, out: int, level: int, kernel: int) -> Trace:
    """Output norm, activation, last convolution."""
    t = Tracer((ctx.batch, channels, *ctx.side(level)))
    x = t.run("group_norm", (INPUT,), "conv_norm_out", g=ctx.norm_groups)
    x = t.run(ctx.activation, (x,))
    x = t.run("conv2d", (x,), "conv_out", out=out, k=kernel, s=1, g=1, bias=1)
    t.block(0, "head", (INPUT,), act=ctx.activation, groups=ctx.norm_groups, k=kernel, out=out)
    return t.finish(x)


def lower_downsample(ctx: Context, value: Downsample, channels: int, level: int) -> Trace:
    """3x3 of stride 2."""
    t = Tracer((ctx.batch, channels, *ctx.side(level)))
    x = conv3x3(t, INPUT, value.channels, "conv", _SEPARABLE if value.separable else None, stride=2)
    t.block(0, "downsample", (INPUT,), out=value.channels, sep=int(value.separable))
    return t.finish(x)


def lower_upsample(ctx: Context, value: Upsample, channels: int, level: int) -> Trace:
    """Nearest to the next finer resolution, then 3x3."""
    t = Tracer((ctx.batch, channels, *ctx.side(level)))
    height, width = ctx.side(level - 1)
    x = t.run("upsample", (INPUT,), h=height, w=width)
    x = conv3x3(t, x, value.channels, "conv", _SEPARABLE if value.separable else None)
    t.block(0, "upsample", (INPUT,), h=height, out=value.channels, sep=int(value.separable), w=width)
    return t.finish(x)


def lower_join(ctx: Context, channels: int, skip_channels: int, level: int) -> Trace:
    """Concatenation with a skip; the skip is the network's tensor."""
    side = ctx.side(level)
    t = Tracer((ctx.batch, channels, *side))
    skip = t.outside((ctx.batch, skip_channels, *side))
    return t.finish(t.run("cat", (INPUT, skip)))


def lower_text_encoder(ctx: Context, encoder: TextEncoder) -> Trace:
    """CLIP's text transformer; tensor 0 holds the token ids."""
    t = Tracer((ctx.batch, ctx.text_tokens))
    tokens = t.run("embedding", (INPUT,), "embeddings.token_embedding", rows=encoder.vocab, width=encoder.width)
    positions = t.outside((1, ctx.text_tokens))
    place = t.run("embedding", (positions,), "embeddings.position_embedding", rows=encoder.positions,
                  width=encoder.width)  # fmt: skip
    x = t.run("add", (tokens, place))
    for i in range(encoder.layers):
        t.at(f"encoder.layers.{i}.")
        x = encoder_layer(t, x, encoder)
    t.at("")
    return t.finish(t.run("layer_norm", (x,), "final_layer_norm"))


def encoder_layer(t: Tracer, x: int, encoder: TextEncoder) -> int:
    """One layer over tokens ``x`` [batch, tokens, width]: causal attention and MLP, each with norm and residual."""
    start, tokens = len(t.ops), x
    batch, length, width = t.shapes[x]
    heads = (batch, length, encoder.heads, width // encoder.heads)
    y = t.run("layer_norm", (x,), "layer_norm1")
    q, k, v = (t.run("linear", (y,), f"self_attn.{name}_proj", out=width, bias=1) for name in ("q", "k", "v"))
    y = t.attend(t.view(q, heads), t.view(k, heads), v, "softmax", "self_attn.attention")
    y = t.view(y, (batch, length, width))
    y = t.run("linear", (y,), "self_attn.out_proj", out=width, bias=1)
    x = t.run("add", (x, y))
    y = t.run("layer_norm", (x,), "layer_norm2")
    y = t.run("linear", (y,), "mlp.fc1", out=encoder.ff_width, bias=1)
    y = t.run(encoder.activation, (y,))
    y = t.run("linear", (y,), "mlp.fc2", out=width, bias=1)
    x = t.run("add", (x, y))
    t.block(start, "encoder_layer", (tokens,), act=encoder.activation, heads=encoder.heads, inner=encoder.ff_width)
    return x
