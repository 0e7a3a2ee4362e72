"""Lowering of blocks: a block value and the widths around it -> operators over tensors.

The order of operators is that of the forward pass in ``archsearch.models`` (and of diffusers, where it has the
block).  Views, reshapes and transpositions are not operators.
"""

from __future__ import annotations

from archsearch.arch.values import (
    Attention,
    FeedForward,
    NormOnly,
    ResBlock,
    Separable,
    Shortcut,
    Slot,
    SpatialAttention,
    Transformer,
    TransformerBlock,
)
from archsearch.arch.walk import hidden_channels
from archsearch.cost.context import Context
from archsearch.cost.op import OpKind
from archsearch.cost.trace import INPUT, Trace, Tracer


def lower_residual(ctx: Context, block: ResBlock, channels: int, level: int) -> Trace:
    """norm1, act, conv1, + time_emb_proj(act(time)), norm2, act, conv2, + shortcut."""
    t = Tracer((ctx.batch, channels, *ctx.side(level)))
    hidden = hidden_channels(block)
    x = t.run("group_norm", (INPUT,), "norm1", g=ctx.norm_groups)
    x = t.run(ctx.activation, (x,))
    x = conv3x3(t, x, hidden, "conv1", block.separable)
    inputs: tuple[int, ...] = (INPUT,)
    if ctx.time_width:
        inputs = (INPUT, t.outside((ctx.batch, ctx.time_width)))
        time = t.run(ctx.activation, (inputs[1],))
        time = t.run("linear", (time,), "time_emb_proj", out=hidden * (2 if ctx.scale_shift else 1), bias=1)
        if ctx.scale_shift:
            x = t.run("group_norm", (x,), "norm2", g=ctx.norm_groups)
            x = t.run("scale_shift", (x, t.view(time, (ctx.batch, hidden, 1, 1))))
        else:
            x = t.run("add", (x, t.view(time, (ctx.batch, hidden, 1, 1))))
            x = t.run("group_norm", (x,), "norm2", g=ctx.norm_groups)
    else:
        x = t.run("group_norm", (x,), "norm2", g=ctx.norm_groups)
    x = t.run(ctx.activation, (x,))
    x = conv3x3(t, x, block.channels, "conv2", block.separable)
    residual = INPUT
    if channels != block.channels:
        residual = t.run("conv2d", (INPUT,), "conv_shortcut", out=block.channels, k=1, s=1, g=1, bias=1)
    x = t.run("add", (residual, x))
    t.block(0, "residual", inputs, act=ctx.activation, groups=ctx.norm_groups, hidden=hidden, out=block.channels,
            sep=separable_code(block.separable), shift=int(ctx.scale_shift))  # fmt: skip
    return t.finish(x)


def separable_code(separable: Separable | None) -> int:
    """0 for a full convolution, 1 for a separable one, 2 for one with bias."""
    return 0 if separable is None else 1 + separable.bias


def lower_shortcut(ctx: Context, block: Shortcut, channels: int, level: int) -> Trace:
    """The 1x1 convolution alone."""
    t = Tracer((ctx.batch, channels, *ctx.side(level)))
    return t.finish(t.run("conv2d", (INPUT,), "conv_shortcut", out=block.channels, k=1, s=1, g=1, bias=1))


def conv3x3(t: Tracer, x: int, out: int, name: str, separable: Separable | None, stride: int = 1) -> int:
    """A full 3x3 convolution, or depthwise 3x3 + pointwise 1x1."""
    if separable is None:
        return t.run("conv2d", (x,), name, out=out, k=3, s=stride, g=1, bias=1)
    bias = int(separable.bias)
    channels = t.shapes[x][1]
    x = t.run("conv2d", (x,), f"{name}.depthwise", out=channels, k=3, s=stride, g=channels, bias=bias)
    return t.run("conv2d", (x,), f"{name}.pointwise", out=out, k=1, s=1, g=1, bias=bias)


def lower_transformer(ctx: Context, block: Transformer, channels: int, level: int) -> Trace:
    """norm, proj_in, transformer blocks over tokens, proj_out, + input."""
    height, width = ctx.side(level)
    shape = (ctx.batch, channels, height, width)
    t = Tracer(shape)
    x = t.run("group_norm", (INPUT,), "norm", g=ctx.norm_groups)
    tokens = height * width
    if block.linear_projection:
        x = t.view(x, (ctx.batch, tokens, channels))
        x = t.run("linear", (x,), "proj_in", out=block.width, bias=1)
    else:
        x = t.run("conv2d", (x,), "proj_in", out=block.width, k=1, s=1, g=1, bias=1)
        x = t.view(x, (ctx.batch, tokens, block.width))
    text = t.outside((ctx.batch, ctx.text_tokens, ctx.text_width))
    for i, inner in enumerate(block.blocks):
        t.at(f"transformer_blocks.{i}.")
        x = transformer_block(t, x, text, inner)
    t.at("")
    if block.linear_projection:
        x = t.run("linear", (x,), "proj_out", out=channels, bias=1)
        x = t.view(x, shape)
    else:
        x = t.view(x, (ctx.batch, block.width, height, width))
        x = t.run("conv2d", (x,), "proj_out", out=channels, k=1, s=1, g=1, bias=1)
    x = t.run("add", (x, INPUT))
    t.block(0, "transformer_frame", (INPUT,), groups=ctx.norm_groups, linear=int(block.linear_projection),
            width=block.width)  # fmt: skip
    return t.finish(x)


def transformer_block(t: Tracer, x: int, text: int, block: TransformerBlock) -> int:
    """Slots and feed-forward, each with its norm and residual; tokens ``x`` are [batch, tokens, width]."""
    for number, slot in ((1, block.first), (2, block.second)):
        if slot is not None:
            x = _slot(t, x, text, slot, number)
    if block.feed_forward is not None:
        tokens, start, ff = x, len(t.ops), block.feed_forward
        y = t.run("layer_norm", (x,), "norm3")
        y = _feed_forward(t, y, ff)
        x = t.run("add", (y, x))
        t.block(start, "feed_forward", (tokens,), act=ff.activation, inner=int(t.shapes[tokens][-1] * ff.expansion))
    return x


def _slot(t: Tracer, x: int, text: int, slot: Slot, number: int) -> int:
    start = len(t.ops)
    y = t.run("layer_norm", (x,), f"norm{number}")
    if isinstance(slot, NormOnly):
        t.apart(start)
        return y
    source = text if slot.to == "text" else y
    y = attention(t, y, source, slot, f"attn{number}.")
    y = t.run("add", (y, x))
    t.block(start, "attention", (x, text) if slot.to == "text" else (x,), heads=slot.heads, head_dim=slot.head_dim,
            kv=slot.kv_heads or slot.heads, norm=slot.qk_norm or "none", scores=slot.scores,
            shared=int(slot.shared_kv), to=slot.to)  # fmt: skip
    return y


def attention(t: Tracer, x: int, source: int, slot: Attention, name: str) -> int:
    """Projections, optional query/key norms, scores and output projection."""
    batch, tokens, width = t.shapes[x]
    kv_heads = slot.kv_heads or slot.heads
    q = t.run("linear", (x,), f"{name}to_q", out=slot.heads * slot.head_dim, bias=0)
    k = t.run("linear", (source,), f"{name}to_k", out=kv_heads * slot.head_dim, bias=0)
    v = k if slot.shared_kv else t.run("linear", (source,), f"{name}to_v", out=kv_heads * slot.head_dim, bias=0)
    context = t.shapes[source][1]
    q = t.view(q, (batch, tokens, slot.heads, slot.head_dim))
    k = t.view(k, (batch, context, kv_heads, slot.head_dim))
    if slot.qk_norm is not None:
        q = t.run(slot.qk_norm, (q,), f"{name}norm_q")
        k = t.run(slot.qk_norm, (k,), f"{name}norm_k")
    y = t.attend(q, k, v, slot.scores, f"{name}attention")
    y = t.view(y, (batch, tokens, slot.heads * slot.head_dim))
    return t.run("linear", (y,), f"{name}to_out.0", out=width, bias=1)


GATED: dict[str, OpKind] = {"geglu": "gelu", "swiglu": "silu"}
PLAIN: dict[str, OpKind] = {"gelu": "gelu", "swish": "silu"}


def _feed_forward(t: Tracer, x: int, ff: FeedForward) -> int:
    batch, tokens, width = t.shapes[x]
    inner = int(width * ff.expansion)
    if ff.activation in GATED:
        both = t.run("linear", (x,), "ff.net.0.proj", out=2 * inner, bias=1)
        value = t.view(both, (batch, tokens, inner))
        gate = t.run(GATED[ff.activation], (t.view(both, (batch, tokens, inner)),))
        x = t.run("mul", (value, gate))
    else:
        x = t.run("linear", (x,), "ff.net.0.proj", out=inner, bias=1)
        x = t.run(PLAIN[ff.activation], (x,))
    return t.run("linear", (x,), "ff.net.2", out=width, bias=1)


def lower_spatial_attention(ctx: Context, block: SpatialAttention, channels: int, level: int) -> Trace:
    """group_norm over pixels, biased q/k/v, scores, biased output, + input (diffusers' VAE attention)."""
    height, width = ctx.side(level)
    t = Tracer((ctx.batch, channels, height, width))
    tokens = height * width
    x = t.run("group_norm", (INPUT,), "group_norm", g=ctx.norm_groups)
    x = t.view(x, (ctx.batch, tokens, channels))
    heads = (ctx.batch, tokens, block.heads, channels // block.heads)
    q, k, v = (t.run("linear", (x,), name, out=channels, bias=1) for name in ("to_q", "to_k", "to_v"))
    y = t.attend(t.view(q, heads), t.view(k, heads), v, "softmax", "attention")
    y = t.run("linear", (t.view(y, (ctx.batch, tokens, channels)),), "to_out.0", out=channels, bias=1)
    y = t.view(y, (ctx.batch, channels, height, width))
    y = t.run("add", (y, INPUT))
    t.block(0, "spatial_attention", (INPUT,), groups=ctx.norm_groups, heads=block.heads)
    return t.finish(y)
