"""Operators as torch modules that compute just that operator, ready for the converter.

An operator is measured in the layout in which the converter leaves it inside a whole model.  Operators that know
channels (convolution, group norm, upsampling) take images in torch's layout and the converter moves them to NHWC;
those that do not (activations, additions, concatenation) are written in NHWC from the start, because alone they would
keep a TRANSPOSE on either side that no whole model has.

Weights and inputs are random but fixed by the operator's key: their values do not
change how long a dense kernel runs, but zeros would be folded away and denormals would be slow.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.cost.block import BlockOp, Workload
from archsearch.cost.op import Op
from archsearch.errors import LatencyError


@dataclass(frozen=True)
class OpModule:
    """A module, inputs for it, and which inputs (and whether the output) are images [N, C, H, W].

    ``channels_last``: the module computes on [N, H, W, C] itself.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    images: tuple[int, ...]
    image_output: bool
    channels_last: bool


def op_module(op: Workload) -> OpModule:
    """The module of an operator or a block.

    Raises:
        LatencyError: no module is known for its kind.
    """
    if isinstance(op, BlockOp):
        return _block_module(op)
    make = _MAKERS.get(op.kind)
    if make is None:
        raise LatencyError("this operator kind cannot be measured yet", where=op.key, got=op.kind,
                           allowed=", ".join(sorted(_MAKERS)))  # fmt: skip
    generator = torch.Generator().manual_seed(zlib.crc32(op.key.encode()))
    module = _with_weights(make(op), generator)
    inputs = tuple(_input(op, shape, generator) for shape in _input_shapes(op))
    image = op.layout == "nhwc"
    if image and op.kind not in _KNOWS_CHANNELS:
        inputs = tuple(x.permute(0, 2, 3, 1).contiguous() for x in inputs)
        return OpModule(module, inputs, (), False, True)
    return OpModule(module, inputs, tuple(range(len(inputs))) if image else (), image, False)


def _block_module(block: BlockOp) -> OpModule:
    """The very module that a whole network has there."""
    from archsearch.models.block_module import block_module

    generator = torch.Generator().manual_seed(zlib.crc32(block.key.encode()))
    module = _with_weights(block_module(block), generator)
    inputs = tuple(torch.randn(shape, generator=generator) for shape in block.shapes)
    image = block.layout == "nhwc"
    return OpModule(module, inputs, (0,) if image else (), image, False)


def _with_weights(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Random weights; those of norms around one, so that no converter folds them away."""
    module.eval().requires_grad_(False)
    for parameter in module.parameters():
        values = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(values / math.sqrt(max(parameter[0].numel(), 1)) if parameter.dim() > 1 else values * 0.1 + 1)
    return module


def _input_shapes(op: Op) -> tuple[tuple[int, ...], ...]:
    if op.kind in ("attention", "scale_shift"):
        return (*op.shapes, op.shapes[1])  # keys and values; scale and shift
    return op.shapes


def _input(op: Op, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if op.kind == "embedding":
        return torch.randint(op.attr("rows"), shape, generator=generator)
    if op.kind == "sinusoid":
        return torch.rand(shape, generator=generator) * 999
    return torch.randn(shape, generator=generator)


class _Function(nn.Module):
    """A module without weights."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _conv2d(op: Op) -> nn.Module:
    k = op.attr("k")
    return nn.Conv2d(op.shapes[0][1], op.attr("out"), k, op.attr("s"), k // 2, groups=op.attr("g"),
                     bias=bool(op.attr("bias")))  # fmt: skip


def _attention(op: Op) -> nn.Module:
    kv_heads = op.shapes[1][2]
    groups = op.shapes[0][2] // kv_heads
    score = _relu_scores if dict(op.attrs)["scores"] == "relu" else F.scaled_dot_product_attention

    def attend(q_BLHD: Tensor, k_BSGD: Tensor, v_BSGD: Tensor) -> Tensor:
        q, k, v = q_BLHD.transpose(1, 2), k_BSGD.transpose(1, 2), v_BSGD.transpose(1, 2)
        if groups > 1:
            k, v = (x[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2) for x in (k, v))
        return score(q, k, v).transpose(1, 2).flatten(2)

    def attend_one(q_BLHD: Tensor, k_BS1D: Tensor, v_BS1D: Tensor) -> Tensor:
        # With one key head all query heads are rows of one product.  (litert-torch 0.10 converts a transposed
        # broadcast, which repeating the head would need, into a wrong result.)
        y = score(q_BLHD.flatten(1, 2)[:, None], k_BS1D.flatten(2)[:, None], v_BS1D.flatten(2)[:, None])
        return y.reshape(*q_BLHD.shape[:2], -1)

    return _Function(attend_one if kv_heads == 1 else attend)


def _relu_scores(q_BHLD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor) -> Tensor:
    """relu(QK^T / sqrt(d)) / S, both factors in one multiplication, as archsearch.models.attention has it."""
    head_dim, keys = q_BHLD.shape[-1], k_BHSD.shape[2]
    scores = torch.bmm(q_BHLD.flatten(0, 1), k_BHSD.flatten(0, 1).transpose(1, 2))
    scores = F.relu(scores) * (1.0 / (keys * math.sqrt(head_dim)))
    return torch.bmm(scores, v_BHSD.flatten(0, 1)).view(*q_BHLD.shape[:3], head_dim)


def _sinusoid(op: Op) -> nn.Module:
    half = op.attr("width") // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)

    def embed(t_B: Tensor) -> Tensor:
        angles = t_B[:, None] * frequencies[None, :]
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    return _Function(embed)


def _upsample(op: Op) -> nn.Module:
    size = [op.attr("h"), op.attr("w")]
    return _Function(lambda x: F.interpolate(x, size=size, mode="nearest"))


_KNOWS_CHANNELS = frozenset({"conv2d", "group_norm", "upsample"})

_MAKERS: dict[str, Callable[[Op], nn.Module]] = {
    "conv2d": _conv2d,
    "linear": lambda op: nn.Linear(op.shapes[0][-1], op.attr("out"), bias=bool(op.attr("bias"))),
    "attention": _attention,
    "group_norm": lambda op: nn.GroupNorm(op.attr("g"), op.shapes[0][1]),
    "layer_norm": lambda op: nn.LayerNorm(op.shapes[0][-1]),
    "rms_norm": lambda op: nn.RMSNorm(op.shapes[0][-1], eps=1e-6),
    "silu": lambda op: nn.SiLU(),
    "gelu": lambda op: nn.GELU(),
    "relu": lambda op: nn.ReLU(),
    "mish": lambda op: nn.Mish(),
    "quick_gelu": lambda op: _Function(lambda x: x * torch.sigmoid(1.702 * x)),
    "add": lambda op: _Function(torch.add),
    "mul": lambda op: _Function(torch.mul),
    "scale_shift": lambda op: _Function(lambda x, scale, shift: x * (1 + scale) + shift),
    "cat": lambda op: _Function(lambda *xs: torch.cat(xs, dim=-1)),
    "upsample": _upsample,
    "sinusoid": _sinusoid,
    "embedding": lambda op: nn.Embedding(op.attr("rows"), op.attr("width")),
}
