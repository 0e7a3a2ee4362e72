"""Blocks: every block is a module with ``forward(x, temb, text, **attention)`` on images ``x`` [batch, C, H, W].

``temb`` is the time embedding [batch, time width] before its activation, ``text`` the text states
[batch, tokens, text width]; ``attention`` are keyword arguments for the attention layers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.arch import values
from archsearch.arch.walk import hidden_channels
from archsearch.models.attention import Attention, SpatialAttention, tokens_of

LAYER_NORM_EPS = 1e-5
TRANSFORMER_NORM_EPS = 1e-6


class Common(NamedTuple):
    """What the blocks of one network share.  Widths that a network lacks are None."""

    time_width: int | None
    text_width: int | None
    activation: str = "silu"
    norm_groups: int = 32
    norm_eps: float = 1e-5
    scale_shift: bool = False
    upcast_attention: bool = False

    @classmethod
    def of(cls, arch: values.UNet | values.Decoder) -> Common:
        """The common part of ``arch``."""
        if isinstance(arch, values.Decoder):
            return cls(None, None, arch.activation, arch.norm_groups, arch.norm_eps)
        return cls(
            arch.time.width,
            arch.text_width,
            arch.activation,
            arch.norm_groups,
            arch.norm_eps,
            arch.time_shift == "scale_shift",
            arch.upcast_attention,
        )


_ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU, "mish": nn.Mish}


def activation(name: str) -> nn.Module:
    """The module of an activation's name."""
    return _ACTIVATIONS[name]()


class SeparableConv(nn.Module):
    """Depthwise 3x3 (which carries the stride), then pointwise 1x1."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=bias)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in, H, W] -> [batch, out, H / stride, W / stride]."""
        return self.pointwise(self.depthwise(x))


def conv3x3(in_channels: int, out_channels: int, separable: values.Separable | None, stride: int = 1) -> nn.Module:
    """A full or separable 3x3 convolution."""
    if separable is not None:
        return SeparableConv(in_channels, out_channels, stride=stride, bias=separable.bias)
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1)


class ResidualBlock(nn.Module):
    """norm, activation, 3x3, time, norm, activation, 3x3, + input (diffusers' ``ResnetBlock2D``)."""

    def __init__(self, common: Common, block: values.ResBlock, in_channels: int) -> None:
        super().__init__()
        hidden = hidden_channels(block)
        self.scale_shift = common.scale_shift
        self.norm1 = nn.GroupNorm(common.norm_groups, in_channels, common.norm_eps)
        self.conv1 = conv3x3(in_channels, hidden, block.separable)
        self.time_emb_proj = None
        if common.time_width is not None:
            self.time_emb_proj = nn.Linear(common.time_width, hidden * (2 if common.scale_shift else 1))
        self.norm2 = nn.GroupNorm(common.norm_groups, hidden, common.norm_eps)
        self.conv2 = conv3x3(hidden, block.channels, block.separable)
        self.nonlinearity = activation(common.activation)
        self.conv_shortcut = nn.Conv2d(in_channels, block.channels, 1) if in_channels != block.channels else None

    def forward(self, x: Tensor, temb: Tensor | None = None, text: Tensor | None = None, **_: Any) -> Tensor:
        """[batch, in, H, W] -> [batch, out, H, W]."""
        y = self.conv1(self.nonlinearity(self.norm1(x)))
        if self.time_emb_proj is None:
            y = self.norm2(y)
        else:
            time = self.time_emb_proj(self.nonlinearity(temb))[:, :, None, None]
            if self.scale_shift:
                scale, shift = time.chunk(2, dim=1)
                y = self.norm2(y) * (1 + scale) + shift
            else:
                y = self.norm2(y + time)
        y = self.conv2(self.nonlinearity(y))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y


class ShortcutBlock(nn.Module):
    """The 1x1 convolution that is left of a removed residual block."""

    def __init__(self, block: values.Shortcut, in_channels: int) -> None:
        super().__init__()
        self.conv_shortcut = nn.Conv2d(in_channels, block.channels, 1)

    def forward(self, x: Tensor, temb: Tensor | None = None, text: Tensor | None = None, **_: Any) -> Tensor:
        """[batch, in, H, W] -> [batch, out, H, W]."""
        return self.conv_shortcut(x)


class Projection(nn.Module):
    """First half of a feed-forward: linear, then activation or gate (``proj`` holds value and gate rows)."""

    def __init__(self, width: int, inner: int, kind: values.FeedForwardActivation) -> None:
        super().__init__()
        self.gated = kind in ("geglu", "swiglu")
        self.proj = nn.Linear(width, inner * (2 if self.gated else 1))
        self.act = nn.GELU() if kind in ("geglu", "gelu") else nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> [batch, tokens, inner]."""
        y = self.proj(x)
        if not self.gated:
            return self.act(y)
        value, gate = y.chunk(2, dim=-1)
        return value * self.act(gate)


class FeedForward(nn.Module):
    """Linear with activation or gate, linear; ``net.1`` is diffusers' place for dropout."""

    def __init__(self, width: int, ff: values.FeedForward) -> None:
        super().__init__()
        inner = int(width * ff.expansion)
        self.net = nn.ModuleList([Projection(width, inner, ff.activation), nn.Identity(), nn.Linear(inner, width)])

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same shape."""
        for module in self.net:
            x = module(x)
        return x


class TransformerBlock(nn.Module):
    """Up to two attention slots and a feed-forward, each pre-normed; ``norm1``/``attn1`` is the first slot."""

    def __init__(self, common: Common, block: values.TransformerBlock, width: int) -> None:
        super().__init__()
        self.first, self.second = block.first, block.second
        self.norm1, self.attn1 = self._slot(common, block.first, width)
        self.norm2, self.attn2 = self._slot(common, block.second, width)
        ff = block.feed_forward
        self.norm3 = None if ff is None else nn.LayerNorm(width, LAYER_NORM_EPS)
        self.ff = None if ff is None else FeedForward(width, ff)

    @staticmethod
    def _slot(common: Common, slot: values.Slot | None, width: int) -> tuple[nn.LayerNorm | None, Attention | None]:
        if slot is None:
            return None, None
        norm = nn.LayerNorm(width, LAYER_NORM_EPS)
        if isinstance(slot, values.NormOnly):
            return norm, None
        return norm, Attention(slot, width, common.text_width, upcast=common.upcast_attention)

    def forward(self, x: Tensor, text: Tensor | None, text_mask: Tensor | None = None, **attention: Any) -> Tensor:
        """[batch, tokens, width] -> the same shape.  ``text_mask`` is a bias [batch, 1, text tokens]."""
        for slot, norm, attn in ((self.first, self.norm1, self.attn1), (self.second, self.norm2, self.attn2)):
            if norm is None:
                continue
            y = norm(x)
            if attn is None:  # DreamLite's slot without attention: the norm's output replaces the stream
                x = y
            elif isinstance(slot, values.Attention) and slot.to == "text":
                x = attn(y, text, text_mask, **attention) + x
            else:
                x = attn(y, **attention) + x
        if self.ff is not None and self.norm3 is not None:
            x = self.ff(self.norm3(x)) + x
        return x


class SpatialTransformer(nn.Module):
    """group norm, proj_in, transformer blocks over pixels, proj_out, + input (diffusers' ``Transformer2DModel``)."""

    def __init__(self, common: Common, block: values.Transformer, channels: int) -> None:
        super().__init__()
        self.linear = block.linear_projection
        self.norm = nn.GroupNorm(common.norm_groups, channels, TRANSFORMER_NORM_EPS)
        width = block.width
        self.proj_in = nn.Linear(channels, width) if self.linear else nn.Conv2d(channels, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(common, inner, width) for inner in block.blocks])
        self.proj_out = nn.Linear(width, channels) if self.linear else nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, temb: Tensor | None = None, text: Tensor | None = None, **attention: Any) -> Tensor:
        """[batch, channels, H, W] -> the same shape."""
        size = x.shape[2:]
        y = self.norm(x)
        y = self.proj_in(tokens_of(y)) if self.linear else tokens_of(self.proj_in(y))
        for inner in self.transformer_blocks:
            y = inner(y, text, **attention)
        if self.linear:
            y = self.proj_out(y).transpose(1, 2).unflatten(2, size).contiguous()
        else:
            y = self.proj_out(y.transpose(1, 2).unflatten(2, size).contiguous())
        return y + x


class Downsample(nn.Module):
    """3x3 of stride 2."""

    def __init__(self, value: values.Downsample, in_channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(in_channels, value.channels, values.Separable() if value.separable else None, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in, H, W] -> [batch, out, ceil(H / 2), ceil(W / 2)]."""
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest neighbour, then 3x3."""

    def __init__(self, value: values.Upsample, in_channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(in_channels, value.channels, values.Separable() if value.separable else None)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """[batch, in, h, w] -> [batch, out, *size]; ``size`` is twice the input's when None."""
        height, width = size or (2 * x.shape[2], 2 * x.shape[3])
        return self.conv(F.interpolate(x, size=(height, width), mode="nearest"))


def make_block(common: Common, block: values.Block, in_channels: int) -> nn.Module:
    """The module of a block value."""
    if isinstance(block, values.ResBlock):
        return ResidualBlock(common, block, in_channels)
    if isinstance(block, values.Shortcut):
        return ShortcutBlock(block, in_channels)
    if isinstance(block, values.Transformer):
        return SpatialTransformer(common, block, in_channels)
    return SpatialAttention(block, in_channels, common.norm_groups, common.norm_eps)
