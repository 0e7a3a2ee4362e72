"""Index maps and approximations with which weights change shape.

A *cut* says for every position of a target axis which position of the source axis it takes, -1 for none.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor


def plain(source: int, target: int) -> Tensor:
    """The first positions."""
    cut = torch.arange(target)
    return torch.where(cut < source, cut, -1)


def grouped(source: int, target: int, groups: int) -> Tensor:
    """The first positions of each norm group, so that channels that were normalised together still are."""
    if source % groups or target % groups:
        return plain(source, target)
    within = plain(source // groups, target // groups)
    base = torch.arange(groups)[:, None] * (source // groups)
    return torch.where(within >= 0, base + within, -1).flatten()


def joined(sources: tuple[int, ...], targets: tuple[int, ...], groups: int) -> Tensor:
    """Each part of a concatenation by itself; for one part, :func:`grouped`."""
    cuts = []
    base = 0
    for source, target in zip(sources, targets, strict=True):
        cut = grouped(source, target, groups)
        cuts.append(torch.where(cut >= 0, cut + base, -1))
        base += source
    return torch.cat(cuts)


def common_groups(a: int, b: int) -> int:
    """The finest grouping that both norms respect."""
    return gcd(a, b)


def heads(source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """(heads, head size) each: the first heads, the first positions of each; unchanged where the product is equal."""
    if source[0] * source[1] == target[0] * target[1]:
        return torch.arange(target[0] * target[1])
    head, within = plain(source[0], target[0]), plain(source[1], target[1])
    both = head[:, None] * source[1] + within
    return torch.where((head[:, None] >= 0) & (within >= 0), both, -1).flatten()


def sinusoid(source: int, target: int, count: int = 1) -> Tensor:
    """``count`` sinusoid features of a width each: the nearest frequencies, sines and cosines apart."""
    half_source, half_target = source // 2, target // 2
    nearest = (torch.arange(half_target) * half_source / half_target).round().long().clamp(max=half_source - 1)
    padding = torch.full((target % 2,), source - 1 if source % 2 else -1)
    one = torch.cat([nearest, nearest + half_source, padding])
    base = torch.arange(count)[:, None] * source
    return torch.where(one >= 0, base + one, -1).flatten()


def halves(source: int, target: int, kept: Tensor) -> Tensor:
    """Rows of a gated projection [value; gate]: the same cut in both halves."""
    assert len(kept) == target
    return torch.cat([kept, torch.where(kept >= 0, kept + source, -1)])


def most_important(importance: Tensor, target: int) -> Tensor:
    """The ``target`` positions of greatest importance in their old order; all of them, then -1, where it is wider."""
    source = len(importance)
    if target >= source:
        return plain(source, target)
    return importance.topk(target).indices.sort().values


def separable_from_full(weight_OIHW: Tensor, rank: int = 1) -> tuple[Tensor, Tensor]:
    """The nearest depthwise + pointwise pair of a full convolution, in least squares over its weights.

    For each input channel the matrix [out, kernel] is cut to its first ``rank`` singular pairs; a rank above 1 wants
    every input channel ``rank`` times in a row.

    Returns:
        depthwise [in * rank, 1, k, k] and pointwise [out, in * rank, 1, 1].
    """
    out, inputs, height, width = weight_OIHW.shape
    matrices = weight_OIHW.float().permute(1, 0, 2, 3).reshape(inputs, out, height * width)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    pairs = min(rank, s.shape[1])
    sign = torch.where(vh[:, :pairs].sum(-1) < 0, -1.0, 1.0)
    scale = s[:, :pairs].sqrt() * sign
    depthwise = matrices.new_zeros(inputs, rank, height * width)
    pointwise = matrices.new_zeros(inputs, rank, out)
    depthwise[:, :pairs] = vh[:, :pairs] * scale[..., None]
    pointwise[:, :pairs] = u.transpose(1, 2)[:, :pairs] * scale[..., None]
    dtype = weight_OIHW.dtype
    return (
        depthwise.reshape(inputs * rank, 1, height, width).to(dtype),
        pointwise.reshape(inputs * rank, out).T[:, :, None, None].contiguous().to(dtype),
    )


def full_from_separable(depthwise: Tensor, pointwise: Tensor) -> Tensor:
    """The full convolution that a depthwise + pointwise pair is, exactly (biases apart)."""
    return pointwise * depthwise[:, 0][None]


def resized_kernel(weight_OIHW: Tensor, size: int) -> Tensor:
    """The centre of a larger kernel, or a smaller kernel among zeros (which computes the same)."""
    old = weight_OIHW.shape[-1]
    if size <= old:
        start = (old - size) // 2
        return weight_OIHW[..., start : start + size, start : start + size]
    margin = (size - old) // 2
    return torch.nn.functional.pad(weight_OIHW, (margin,) * 4)
