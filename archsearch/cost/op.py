"""Operators: kernel-sized workloads with fixed shapes, and what each of them costs.

Shapes are logical (NCHW for images, [batch, tokens, width] for tokens, [batch, tokens, heads, head_dim] for
attention).  Convention: MACs are multiply-accumulates of convolutions, linear layers and both attention products;
everything else is counted in ``elements`` (output elements of norms, activations, additions, ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, TypeAlias, get_args

from archsearch.errors import CostError

Shape: TypeAlias = tuple[int, ...]
OpKind: TypeAlias = Literal[
    "conv2d",
    "linear",
    "attention",
    "group_norm",
    "layer_norm",
    "rms_norm",
    "silu",
    "gelu",
    "relu",
    "mish",
    "quick_gelu",
    "add",
    "mul",
    "scale_shift",
    "cat",
    "upsample",
    "sinusoid",
    "embedding",
]
_OVER_HEADS: frozenset[str] = frozenset({"attention", "layer_norm", "rms_norm"})  # rank 4 is tokens, heads
POINTWISE: frozenset[str] = frozenset({"silu", "gelu", "relu", "mish", "quick_gelu"})


@dataclass(frozen=True)
class Op:
    """One operator.  ``attrs`` are sorted (name, value) pairs; the key is canonical and readable.

    * conv2d(x): out, k, s, g (groups), bias; padding is k // 2
    * linear(x): out, bias
    * attention(q, kv): scores; heads from the shapes, K and V share one shape
    * group_norm(x): g; layer_norm(x); rms_norm(x)
    * silu, gelu, relu, mish, quick_gelu(x)
    * add(a, b), mul(a, b): broadcasting; scale_shift(x, scale); cat(a, b): along channels
    * upsample(x): h, w (nearest)
    * sinusoid(t): width; embedding(ids): rows, width
    """

    kind: OpKind
    shapes: tuple[Shape, ...]
    attrs: tuple[tuple[str, int | str], ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, self.shapes, self.attrs))

    def attr(self, name: str) -> int:
        """An integer attribute.

        Raises:
            KeyError: the operator has no such attribute.
        """
        for key, value in self.attrs:
            if key == name:
                return int(value)
        raise KeyError(name)

    @property
    def layout(self) -> str:
        """The memory layout in which a converter leaves this operator inside a whole model."""
        return "row" if len(self.shapes[0]) != 4 or self.kind in _OVER_HEADS else "nhwc"

    @cached_property
    def key(self) -> str:
        """``conv2d[1x320x64x64](bias=1,g=1,k=3,out=320,s=1)@nhwc``: the row key of latency tables."""
        return format_key(self.kind, self.shapes, self.attrs, self.layout)

    @classmethod
    def parse(cls, key: str) -> Op:
        """The operator of a key.

        Raises:
            CostError: the text is not a key that ``Op.key`` writes.
        """
        kind, shapes, attrs = parse_parts(key)
        op = cls(kind, shapes, attrs)  # type: ignore[arg-type]
        try:
            consistent = op.key == key and kind in get_args(OpKind) and len(op.out_shape) > 0 and op.params >= 0
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise CostError("not an operator key", got=key, next_step=f"({error!r})") from error
        if not consistent:
            raise CostError("not a canonical operator key", got=key)
        return op

    @cached_property
    def out_shape(self) -> Shape:
        """Shape of the output."""
        first = self.shapes[0]
        match self.kind:
            case "conv2d":
                k, s = self.attr("k"), self.attr("s")
                pad = k // 2
                h, w = ((side + 2 * pad - k) // s + 1 for side in first[2:])
                return (first[0], self.attr("out"), h, w)
            case "linear":
                return (*first[:-1], self.attr("out"))
            case "add" | "mul":
                return _broadcast(first, self.shapes[1])
            case "cat":
                axis = 1 if len(first) == 4 else len(first) - 1
                total = sum(shape[axis] for shape in self.shapes)
                return (*first[:axis], total, *first[axis + 1 :])
            case "upsample":
                return (first[0], first[1], self.attr("h"), self.attr("w"))
            case "sinusoid":
                return (*first, self.attr("width"))
            case "embedding":
                return (*first, self.attr("width"))
            case _:
                return first

    @cached_property
    def params(self) -> int:
        """Learned parameters."""
        first = self.shapes[0]
        match self.kind:
            case "conv2d":
                out, k = self.attr("out"), self.attr("k")
                return out * (first[1] // self.attr("g")) * k * k + (out if self.attr("bias") else 0)
            case "linear":
                out = self.attr("out")
                return out * first[-1] + (out if self.attr("bias") else 0)
            case "group_norm":
                return 2 * first[1]
            case "layer_norm":
                return 2 * first[-1]
            case "rms_norm":
                return first[-1]
            case "embedding":
                return self.attr("rows") * self.attr("width")
            case _:
                return 0

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates (FLOPs are twice that)."""
        first = self.shapes[0]
        match self.kind:
            case "conv2d":
                k = self.attr("k")
                return prod(self.out_shape) * (first[1] // self.attr("g")) * k * k
            case "linear":
                return prod(first) * self.attr("out")
            case "attention":
                batch, tokens, heads, head_dim = first
                return 2 * batch * heads * tokens * self.shapes[1][1] * head_dim
            case _:
                return 0

    @property
    def attention_macs(self) -> int:
        """The part of ``macs`` that thop-style counters leave out: both attention products."""
        return self.macs if self.kind == "attention" else 0

    @cached_property
    def elements(self) -> int:
        """Output elements of the work that is not multiply-accumulate (softmax counts its scores)."""
        match self.kind:
            case "conv2d" | "linear" | "embedding":
                return 0
            case "attention":
                return self.workspace
            case _:
                return prod(self.out_shape)

    @cached_property
    def workspace(self) -> int:
        """Elements of the score matrix that an unfused attention kernel materialises."""
        if self.kind != "attention":
            return 0
        batch, tokens, heads, _ = self.shapes[0]
        return batch * heads * tokens * self.shapes[1][1]

    @cached_property
    def moved(self) -> int:
        """Activation elements read and written once by a fused kernel (weights apart)."""
        if self.kind == "attention":
            return 2 * prod(self.shapes[0]) + 2 * prod(self.shapes[1])
        return sum(prod(shape) for shape in self.shapes) + prod(self.out_shape)


_KEY = re.compile(r"((?:block\.)?[a-z0-9_]{1,32})\[([0-9x|]{1,200})\]\(([a-z0-9_=,]{0,200})\)@([a-z]+)")


def format_key(kind: str, shapes: tuple[Shape, ...], attrs: tuple[tuple[str, int | str], ...], layout: str) -> str:
    """``kind[shape|shape](name=value,...)@layout``."""
    listed = "|".join("x".join(map(str, shape)) for shape in shapes)
    return f"{kind}[{listed}]({','.join(f'{name}={value}' for name, value in attrs)})@{layout}"


def parse_parts(key: str) -> tuple[str, tuple[Shape, ...], tuple[tuple[str, int | str], ...]]:
    """Kind, shapes and attributes of a key, unchecked but for its syntax.

    Raises:
        CostError: not of that form.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise CostError("not an operator key", got=key, allowed="kind[shape|shape](name=value,...)@layout")
    kind, shapes, attrs, _layout = match.groups()
    if re.search(r"[0-9]{10}", shapes) or re.search(r"=[0-9]{10}", attrs):
        raise CostError("a size beyond any operator's", got=key, allowed="< 10^9")
    try:
        return (
            kind,
            tuple(tuple(int(side) for side in shape.split("x")) for shape in shapes.split("|")),
            tuple((name, int(value) if value.isdigit() else value) for name, value in _pairs(attrs)),
        )
    except ValueError as error:
        raise CostError("not an operator key", got=key, next_step=f"({error!r})") from error


def _pairs(attrs: str) -> Iterator[tuple[str, str]]:
    for pair in attrs.split(",") if attrs else ():
        name, _, value = pair.partition("=")
        yield name, value


def _broadcast(a: Shape, b: Shape) -> Shape:
    rank = max(len(a), len(b))
    left = (1,) * (rank - len(a)) + a
    right = (1,) * (rank - len(b)) + b
    return tuple(max(x, y) for x, y in zip(left, right, strict=True))
