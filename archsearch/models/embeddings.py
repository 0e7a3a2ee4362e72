"""Embeddings of time steps and of SDXL's added conditions."""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.models.blocks import activation


class Sinusoid(nn.Module):
    """Sinusoids of a number, as in diffusers' ``Timesteps``; computed in float32, without parameters."""

    def __init__(self, width: int, *, flip_sin_to_cos: bool, freq_shift: float) -> None:
        super().__init__()
        self.width = width
        self.flip_sin_to_cos = flip_sin_to_cos
        half = width // 2
        # Kept as numbers, not as a buffer: nothing to lose on the meta device or in a change of precision.
        exponent = -log(10000) * torch.arange(half, dtype=torch.float32, device="cpu") / (half - freq_shift)
        self.frequencies: tuple[float, ...] = tuple(torch.exp(exponent).tolist())

    def forward(self, steps_N: Tensor) -> Tensor:
        """[n] -> [n, width], float32."""
        frequencies = torch.tensor(self.frequencies, dtype=torch.float32, device=steps_N.device)
        angle = steps_N[:, None].float() * frequencies
        cos, sin = angle.cos(), angle.sin()
        y = torch.cat((cos, sin) if self.flip_sin_to_cos else (sin, cos), dim=-1)
        return F.pad(y, (0, 1)) if self.width % 2 else y


class TimestepEmbedding(nn.Module):
    """linear, activation, linear; ``cond_proj`` adds a condition to the input (guidance-conditioned students)."""

    def __init__(self, in_width: int, width: int, act: str, cond_width: int | None = None) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_width, width)
        self.cond_proj = None if cond_width is None else nn.Linear(cond_width, in_width, bias=False)
        self.act = activation(act)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """[batch, in] (and [batch, cond]) -> [batch, width]."""
        if condition is not None and self.cond_proj is not None:
            x = x + self.cond_proj(condition)
        return self.linear_2(self.act(self.linear_1(x)))
