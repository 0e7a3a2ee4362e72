"""What a module really runs: its aten operators, and the same for a lowering, as multisets that can be compared.

Views, reshapes, copies and creations of constants are left out; an operator that is neither known nor on that list
is an error, never ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from archsearch.arch import Architecture
from archsearch.cost import Conditions, Lowering, Op
from archsearch.cost.op import Shape
from archsearch.errors import ModelError
from archsearch.models.factory import build, example_inputs


class Record(NamedTuple):
    """One executed operator: its kind, the shapes of its tensors (sorted where it commutes), its attributes."""

    kind: str
    shapes: tuple[Shape, ...]
    attrs: tuple[Any, ...] = ()


def recorded(module: nn.Module, inputs: Mapping[str, Any]) -> Counter[Record]:
    """Run ``module`` (put in eval mode) on fake CPU tensors and record what it executes.

    Args:
        module: any module, on any device, meta included; its weights are neither read nor copied.
        inputs: keyword arguments of ``forward``; only the shapes and types of their tensors matter.

    Raises:
        ModelError: an operator that this recorder does not know.
    """
    module.eval()
    with FakeTensorMode(), torch.no_grad():
        state = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in _tensors(module)}
        fake = tree_map(lambda x: torch.empty(x.shape, dtype=x.dtype) if isinstance(x, Tensor) else x, dict(inputs))
        with _Recorder() as recorder:
            torch.func.functional_call(module, state, (), fake)
    return recorder.records


def executed_records(arch: Architecture, conditions: Conditions) -> Counter[Record]:
    """What the built module of ``arch`` executes in one pass."""
    return recorded(build(arch, device="meta"), example_inputs(arch, conditions, device="meta"))


def expected_records(lowering: Lowering) -> Counter[Record]:
    """What a lowering says is executed in one pass."""
    records: Counter[Record] = Counter()
    for located in lowering.ops():
        records.update(_expand(located.op))
    return records


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


# ---- recorded side


def _shape(tensor: Tensor) -> Shape:
    return tuple(tensor.shape)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int],
                 dilation: list[int], transposed: bool, output_padding: list[int], groups: int) -> Record:  # fmt: skip
    side = {*weight.shape[2:], *(2 * p + 1 for p in padding)}
    if len(side) != 1 or len({*stride}) != 1 or {*dilation} != {1} or transposed:
        raise ModelError("a convolution outside the vocabulary", where="aten.convolution",
                         got=f"kernel {tuple(weight.shape[2:])}, padding {padding}, stride {stride}")  # fmt: skip
    return Record("conv2d", (_shape(x),), (weight.shape[0], side.pop(), stride[0], groups, int(bias is not None)))


def _binary(kind: str) -> Callable[..., Record]:
    def record(a: Tensor, b: Any, alpha: int = 1) -> Record:
        attrs = () if alpha == 1 else (alpha,)
        if not isinstance(b, Tensor):
            return Record(f"{kind}_scalar", (_shape(a),), attrs)
        return Record(kind, tuple(sorted((_shape(a), _shape(b)))), attrs)

    return record


def _unary(kind: str) -> Callable[..., Record]:
    return lambda x, **_: Record(kind, (_shape(x),))


def _cat(tensors: list[Tensor], dim: int = 0) -> Record:
    return Record("cat", tuple(_shape(t) for t in tensors), (dim % tensors[0].dim(),))


_KNOWN: dict[str, Callable[..., Record]] = {
    "aten.convolution.default": _convolution,
    "aten.addmm.default": lambda bias, a, b: Record("linear", (_shape(a),), (b.shape[1], 1)),
    "aten.mm.default": lambda a, b: Record("linear", (_shape(a),), (b.shape[1], 0)),
    "aten.bmm.default": lambda a, b: Record("bmm", (_shape(a), _shape(b))),
    "aten._scaled_dot_product_flash_attention_for_cpu.default": lambda q, k, v, *_, **__: Record(
        "attention", (_shape(q), _shape(k), _shape(v))
    ),
    "aten.native_group_norm.default": lambda x, w, b, n, c, hw, groups, eps: Record(
        "group_norm", (_shape(x),), (groups, int(w is not None))
    ),
    "aten.native_layer_norm.default": lambda x, shape, w, b, eps: Record(
        "layer_norm", (_shape(x),), (*shape, int(w is not None))
    ),
    "aten.add.Tensor": _binary("add"),
    "aten.mul.Tensor": _binary("mul"),
    "aten.pow.Tensor_Scalar": lambda x, exponent: Record("pow", (_shape(x),), (exponent,)),
    "aten.mean.dim": lambda x, dim, keepdim=False: Record("mean", (_shape(x),), (dim[0] % x.dim(), keepdim)),
    "aten.cat.default": _cat,
    "aten.upsample_nearest2d.default": lambda x, size, *_: Record("upsample", (_shape(x),), tuple(size)),
    "aten.embedding.default": lambda weight, ids, *_: Record("embedding", (_shape(ids),), tuple(weight.shape)),
    "aten.constant_pad_nd.default": lambda x, pad, value=0: Record("pad", (_shape(x),), tuple(pad)),
    **{
        f"aten.{kind}.default": _unary(kind)
        for kind in ("silu", "gelu", "relu", "mish", "sigmoid", "cos", "sin", "rsqrt")
    },
}

_LEFT_OUT = frozenset({
    "alias", "arange", "clone", "detach", "device", "expand", "lift_fresh", "permute", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unsqueeze", "view", "_to_copy", "_unsafe_view",
})  # fmt: skip


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.records: Counter[Record] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = _KNOWN.get(str(func))
        if known is not None:
            self.records[known(*args, **kwargs)] += 1
        elif func.overloadpacket.__name__ not in _LEFT_OUT:
            raise ModelError("an operator that the recorder does not know", where="forward", got=str(func))
        return func(*args, **kwargs)


# ---- expected side


def _expand(op: Op) -> list[Record]:
    """The records of one operator of the lowering."""
    first = op.shapes[0]
    match op.kind:
        case "conv2d":
            return [Record("conv2d", (first,), tuple(op.attr(name) for name in ("out", "k", "s", "g", "bias")))]
        case "linear":
            rows = 1
            for side in first[:-1]:
                rows *= side
            return [Record("linear", ((rows, first[-1]),), (op.attr("out"), op.attr("bias")))]
        case "attention":
            return _expand_attention(op)
        case "group_norm":
            return [Record("group_norm", (first,), (op.attr("g"), 1))]
        case "layer_norm":
            return [Record("layer_norm", (first,), (first[-1], 1))]
        case "rms_norm":
            return _expand_rms_norm(first)
        case "add" | "mul":
            return [Record(op.kind, tuple(sorted(op.shapes)))]
        case "scale_shift":
            scale = op.shapes[1]
            both = tuple(sorted((first, scale)))
            return [Record("add_scalar", (scale,)), Record("mul", both), Record("add", both)]
        case "cat":
            return [Record("cat", op.shapes, (1,))]
        case "upsample":
            return [Record("upsample", (first,), (op.attr("h"), op.attr("w")))]
        case "sinusoid":
            return _expand_sinusoid(first[0], op.attr("width"))
        case "embedding":
            return [Record("embedding", (first,), (op.attr("rows"), op.attr("width")))]
        case "quick_gelu":
            return [Record("mul_scalar", (first,)), Record("sigmoid", (first,)), Record("mul", (first, first))]
        case _:
            return [Record(op.kind, (first,))]


def _expand_attention(op: Op) -> list[Record]:
    (batch, tokens, heads, head_dim), (_, keys, _, _) = op.shapes
    if dict(op.attrs)["scores"] == "softmax":
        kv = (batch, heads, keys, head_dim)
        return [Record("attention", ((batch, heads, tokens, head_dim), kv, kv))]
    rows = batch * heads
    scores = (rows, tokens, keys)
    return [
        Record("bmm", ((rows, tokens, head_dim), (rows, head_dim, keys))),
        Record("relu", (scores,)),
        Record("mul_scalar", (scores,)),
        Record("bmm", (scores, (rows, keys, head_dim))),
    ]


def _expand_rms_norm(shape: Shape) -> list[Record]:
    row = (*shape[:-1], 1)
    return [
        Record("pow", (shape,), (2,)),
        Record("mean", (shape,), (len(shape) - 1, True)),
        Record("add_scalar", (row,)),
        Record("rsqrt", (row,)),
        Record("mul", tuple(sorted((shape, row)))),
        Record("mul", tuple(sorted((shape, (shape[-1],))))),
    ]


def _expand_sinusoid(count: int, width: int) -> list[Record]:
    half = (count, width // 2)
    records = [
        Record("mul", tuple(sorted(((count, 1), (width // 2,))))),
        Record("cos", (half,)),
        Record("sin", (half,)),
        Record("cat", (half, half), (1,)),
    ]
    if width % 2:
        records.append(Record("pad", ((count, width - 1),), (0, 1)))
    return records
