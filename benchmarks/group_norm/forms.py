"""GroupNorm written in ways that a converter may like better than ``nn.GroupNorm``; all compute the same.

Each takes images in torch's layout (x_NCHW) and has the parameters of the ``nn.GroupNorm`` that it is made from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Form(nn.Module):
    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias


class Moments(_Form):
    """Mean and variance of each channel over its pixels, then of each group over its channels; written in NHWC.

    Only vectors of one value a channel are ever reshaped; images meet them in broadcasting MUL and ADD.  The variance
    of a group is the mean of its channels' variances plus the variance of their means, so nothing cancels.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = x_NCHW.permute(0, 2, 3, 1)
        n, c = x.shape[0], x.shape[3]
        mean_N11C = x.mean((1, 2), keepdim=True)
        apart = x - mean_N11C
        variance = (apart * apart).mean((1, 2), keepdim=True)
        mean, variance = (t.reshape(n, self.groups, c // self.groups) for t in (mean_N11C, variance))
        off = mean - mean.mean(2, keepdim=True)
        variance = (variance + off * off).mean(2, keepdim=True)
        scale = self.weight.reshape(1, self.groups, -1) * torch.rsqrt(variance + self.eps)
        shift = self.bias.reshape(1, self.groups, -1) + off * scale
        y = apart * scale.reshape(n, 1, 1, c) + shift.reshape(n, 1, 1, c)
        return y.permute(0, 3, 1, 2)


class OnePass(_Form):
    """As :class:`Moments` with E[x^2] - E[x]^2: a pass over the image less, but cancellation where means are large."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = x_NCHW.permute(0, 2, 3, 1)
        n, c = x.shape[0], x.shape[3]
        mean = x.mean((1, 2), keepdim=True).reshape(n, self.groups, c // self.groups).mean(2, keepdim=True)
        square = (x * x).mean((1, 2), keepdim=True).reshape(n, self.groups, c // self.groups)
        variance = square.mean(2, keepdim=True) - mean * mean
        scale = self.weight.reshape(1, self.groups, -1) * torch.rsqrt(variance + self.eps)
        shift = self.bias.reshape(1, self.groups, -1) - mean * scale
        y = x * scale.reshape(n, 1, 1, c) + shift.reshape(n, 1, 1, c)
        return y.permute(0, 3, 1, 2)


class Grouped(_Form):
    """[N, HW, G, C/G] in the converter's own layout, mean over pixels and channels of a group at once."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        n, c, h, w = x_NCHW.shape
        x = x_NCHW.permute(0, 2, 3, 1).reshape(n, h * w, self.groups, c // self.groups)
        apart = x - x.mean((1, 3), keepdim=True)
        variance = (apart * apart).mean((1, 3), keepdim=True)
        y = apart * torch.rsqrt(variance + self.eps)
        y = y.reshape(n, h, w, c) * self.weight + self.bias
        return y.permute(0, 3, 1, 2)


class Matrix(_Form):
    """Moments of channels averaged over groups by 1x1 convolutions with fixed weights (C to G and back).

    No tensor changes its shape or order, so nothing ties the norm to a layout; and no RSQRT, which older XNNPACK
    lacks.  The fixed weights are 2 x C x G values.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm)
        channels = norm.num_channels
        member = torch.eye(self.groups).repeat_interleave(channels // self.groups, 1)  # [G, C]
        self.register_buffer("pool", (member * self.groups / channels)[:, :, None, None])
        self.register_buffer("spread", member.t().contiguous()[:, :, None, None])

    def forward(self, x_NCHW: Tensor) -> Tensor:
        conv = nn.functional.conv2d
        mean = conv(conv(x_NCHW.mean((2, 3), keepdim=True), self.pool), self.spread)
        apart = x_NCHW - mean
        variance = conv((apart * apart).mean((2, 3), keepdim=True), self.pool)
        scale = self.weight[None, :, None, None] / conv(torch.sqrt(variance + self.eps), self.spread)
        return apart * scale + self.bias[None, :, None, None]


class MatrixOnePass(Matrix):
    """As :class:`Matrix` with E[x^2] - E[x]^2."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        conv = nn.functional.conv2d
        mean = conv(x_NCHW.mean((2, 3), keepdim=True), self.pool)
        variance = conv((x_NCHW * x_NCHW).mean((2, 3), keepdim=True), self.pool) - mean * mean
        scale = self.weight[None, :, None, None] / conv(torch.sqrt(variance + self.eps), self.spread)
        return x_NCHW * scale + (self.bias[None, :, None, None] - conv(mean, self.spread) * scale)


FORMS: dict[str, type[_Form] | None] = {
    "nn.GroupNorm": None,
    "grouped": Grouped,
    "moments": Moments,
    "one pass": OnePass,
    "matrix": Matrix,
    "matrix, one pass": MatrixOnePass,
}


def rewritten(module: nn.Module, form: type[_Form] | None) -> nn.Module:
    """The module with every ``nn.GroupNorm`` in it in another form (None: as it is); changes the module itself."""
    if form is None:
        return module
    if isinstance(module, nn.GroupNorm):
        return form(module).eval()
    for name, child in module.named_children():
        setattr(module, name, rewritten(child, form))
    return module
