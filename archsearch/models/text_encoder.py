"""The text encoder of any architecture value: CLIP's causal transformer, with transformers' parameter names."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from archsearch.arch import TextEncoder, from_dict, to_dict
from archsearch.errors import ModelError

NORM_EPS = 1e-5


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        q, k, v = (
            project(x_BLD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.fc1 = nn.Linear(encoder.width, encoder.ff_width)
        self.act = QuickGELU() if encoder.activation == "quick_gelu" else nn.GELU()
        self.fc2 = nn.Linear(encoder.ff_width, encoder.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class _EncoderLayer(nn.Module):
    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(encoder.width, NORM_EPS)
        self.self_attn = _SelfAttention(encoder.width, encoder.heads)
        self.layer_norm2 = nn.LayerNorm(encoder.width, NORM_EPS)
        self.mlp = _Mlp(encoder)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _Embeddings(nn.Module):
    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(encoder.vocab, encoder.width)
        self.position_embedding = nn.Embedding(encoder.positions, encoder.width)

    def forward(self, ids_BL: Tensor) -> Tensor:
        positions = torch.arange(ids_BL.shape[1], device=ids_BL.device)[None]
        return self.token_embedding(ids_BL) + self.position_embedding(positions)


class _Encoder(nn.Module):
    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_EncoderLayer(encoder) for _ in range(encoder.layers)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class TextEncoderModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Token ids to text states, as ``CLIPTextModel``'s last hidden state."""

    @register_to_config
    def __init__(self, architecture: dict[str, Any]) -> None:
        """Build the module from plain data of a text encoder.

        Raises:
            ArchError: the architecture is malformed or not a text encoder.
        """
        super().__init__()
        encoder = from_dict(dict(architecture), "architecture")
        if not isinstance(encoder, TextEncoder):
            raise ModelError("not a text encoder", where="architecture.kind", got=encoder.kind, allowed="text_encoder")
        self.arch = encoder
        self.embeddings = _Embeddings(encoder)
        self.encoder = _Encoder(encoder)
        self.final_layer_norm = nn.LayerNorm(encoder.width, NORM_EPS)

    @classmethod
    def from_architecture(cls, encoder: TextEncoder) -> TextEncoderModel:
        """The module of a text encoder value."""
        return cls(architecture=to_dict(encoder))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids [batch, tokens] -> [batch, tokens, width]."""
        return self.final_layer_norm(self.encoder(self.embeddings(input_ids)))
