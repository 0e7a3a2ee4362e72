"""Attention of every kind in the vocabulary, on top of diffusers' ``Attention`` so that its processors, LoRA and
backends keep working.  Shapes: tokens ``x_BLD``, text ``text_BSD``, images ``x_BCHW``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention as DiffusersAttention
from torch import Tensor, nn

from archsearch.arch import values


def tokens_of(x_BCHW: Tensor) -> Tensor:
    """Pixels as tokens [batch, H * W, C], copied so that every linear layer runs as one product."""
    return x_BCHW.flatten(2).transpose(1, 2).clone(memory_format=torch.contiguous_format)


class Processor:
    """Softmax or relu scores, grouped and shared keys and values, query/key norms.

    relu scores are relu(QK^T / sqrt(d)) / L with L keys (MobileDiffusion, section 3.2): both factors are applied
    after the relu, in one multiplication.

    ``fold_queries``: with one key head, all query heads become rows of one product instead of the key head being
    repeated.  The same numbers; litert-torch 0.10 converts the repetition into a wrong result.
    """

    fold_queries = False

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            attn: the layer that holds the weights.
            hidden_states: queries' tokens [batch, tokens, width].
            encoder_hidden_states: tokens to attend to; None attends to the queries' own.
            attention_mask: bias [batch, 1, keys] added to the scores.
            temb: unused, part of the protocol.
        """
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = self._heads(attn, attn.to_q(hidden_states), attn.norm_q)
        k_projected = attn.to_k(source)
        v_projected = k_projected if attn.shared_kv else attn.to_v(source)
        k = self._heads(attn, k_projected, attn.norm_k)
        v = self._heads(attn, v_projected, None)
        repeats = attn.heads // attn.kv_heads
        folded = repeats > 1 and attn.kv_heads == 1 and self.fold_queries
        if folded:
            q = q.transpose(1, 2).flatten(1, 2)[:, None]
        elif repeats > 1:
            k, v = _repeat_heads(k, repeats), _repeat_heads(v, repeats)
        mask = None if attention_mask is None else attention_mask[:, None]
        y = _relu_attention(q, k, v, mask) if attn.scores == "relu" else _softmax_attention(attn, q, k, v, mask)
        y = y.reshape(*hidden_states.shape[:2], -1) if folded else y.transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](y))

    @staticmethod
    def _heads(attn: Attention, x_BLD: Tensor, norm: nn.Module | None) -> Tensor:
        x = x_BLD.unflatten(-1, (-1, attn.head_dim))
        if norm is not None:
            x = norm(x)
        return x.transpose(1, 2)


def _softmax_attention(attn: Attention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    dtype = q.dtype
    if attn.upcast_attention and dtype in (torch.float16, torch.bfloat16):
        q, k, v = q.float(), k.float(), v.float()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).to(dtype)


def _relu_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    batch, heads, _, head_dim = q.shape
    keys = k.shape[2]
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    scores = torch.bmm(q, k.transpose(1, 2))
    if mask is not None:
        scores = (scores.unflatten(0, (batch, heads)) + mask * sqrt(head_dim)).flatten(0, 1)
    scores = F.relu(scores) * (1.0 / (keys * sqrt(head_dim)))
    return torch.bmm(scores, v).unflatten(0, (batch, heads))


def _repeat_heads(x_BHSD: Tensor, repeats: int) -> Tensor:
    """Each key/value head serves ``repeats`` query heads in a row."""
    return x_BHSD[:, :, None].expand(-1, -1, repeats, -1, -1).flatten(1, 2)


class Attention(DiffusersAttention):
    """diffusers' attention with a fixed head size, grouped or shared keys and values, and relu scores.

    Parameter names: ``to_q``, ``to_k``, ``to_v`` (absent with shared keys and values), ``to_out.0``, ``norm_q``,
    ``norm_k``.
    """

    def __init__(self, slot: values.Attention, width: int, text_width: int | None, *, upcast: bool = False) -> None:
        """Build the layer.

        Args:
            slot: the attention slot.
            width: channels of the tokens.
            text_width: channels of the text states (used by slots to the text).
            upcast: compute half-precision scores in float32.
        """
        super().__init__(
            query_dim=width,
            cross_attention_dim=text_width if slot.to == "text" else None,
            heads=slot.heads,
            dim_head=slot.head_dim,
            kv_heads=slot.kv_heads,
            qk_norm=slot.qk_norm,
            upcast_attention=upcast,
            processor=Processor(),  # type: ignore[arg-type]
        )
        self.head_dim = slot.head_dim
        self.kv_heads = slot.kv_heads or slot.heads
        self.scores = slot.scores
        self.shared_kv = slot.shared_kv
        if slot.shared_kv:
            del self.to_v

    def __getattr__(self, name: str) -> Any:
        # Other processors (IP-Adapter, slicing) ask for to_v; with shared weights it is to_k.
        if name == "to_v" and self.__dict__.get("shared_kv"):
            return self.to_k
        return super().__getattr__(name)


@contextmanager
def folded_queries(module: nn.Module) -> Iterator[None]:
    """Have every attention of a module fold its query heads meanwhile (see :class:`Processor`)."""
    processors = {part.processor for part in module.modules() if isinstance(part, Attention)}
    own = [processor for processor in processors if isinstance(processor, Processor)]
    for processor in own:
        processor.fold_queries = True
    try:
        yield
    finally:
        for processor in own:
            processor.fold_queries = False


class SpatialAttentionProcessor:
    """Attention over pixels; the group norm and the residual belong to the layer."""

    def __call__(self, attn: SpatialAttention, hidden_states: Tensor, **_: Any) -> Tensor:
        """Attend over the pixels of [batch, channels, height, width]."""
        batch, channels, height, width = hidden_states.shape
        x = tokens_of(attn.group_norm(hidden_states))
        heads = (batch, height * width, attn.heads, channels // attn.heads)
        q, k, v = (project(x).view(heads).transpose(1, 2) for project in (attn.to_q, attn.to_k, attn.to_v))
        y = F.scaled_dot_product_attention(q, k, v)
        y = attn.to_out[0](y.transpose(1, 2).flatten(2))
        y = y.transpose(1, 2).reshape(batch, channels, height, width)
        return y + hidden_states


class SpatialAttention(DiffusersAttention):
    """The autoencoder's attention: group norm, biased projections, residual."""

    def __init__(self, block: values.SpatialAttention, channels: int, groups: int, eps: float) -> None:
        super().__init__(
            query_dim=channels,
            heads=block.heads,
            dim_head=channels // block.heads,
            bias=True,
            norm_num_groups=groups,
            eps=eps,
            residual_connection=True,
            processor=SpatialAttentionProcessor(),  # type: ignore[arg-type]
        )

    def forward(self, x: Tensor, temb: Tensor | None = None, text: Tensor | None = None, **_: Any) -> Tensor:  # type: ignore[override]
        """``x`` [batch, channels, height, width] -> the same shape."""
        return super().forward(x)
