"""A piece of a network as operators over numbered tensors, and the memory that running it takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

from archsearch.cost.block import Span, make_block
from archsearch.cost.op import Op, OpKind, Shape

INPUT = 0


class TracedOp(NamedTuple):
    """An operator with the tensors it reads and writes.  ``name`` is the module that holds its weights."""

    op: Op
    name: str
    reads: tuple[int, ...]
    writes: int


@dataclass(frozen=True)
class Trace:
    """Operators in order.  Tensor 0 is the piece's input; tensors of ``outside`` are held by the network.

    ``blocks`` are disjoint sets of the operators that are measured as one (see ``cost.block``).
    """

    ops: tuple[TracedOp, ...]
    shapes: tuple[Shape, ...]
    outside: frozenset[int]
    output: int
    blocks: tuple[Span, ...] = ()

    def peak(self, *, held: bool, workspace: bool) -> int:
        """Largest sum of live activation elements over the operators, outside tensors not counted.

        Args:
            held: somebody else (a skip connection) keeps the input, so it is not counted here; otherwise it is,
                until its last use.
            workspace: attention scores are materialised.
        """
        return self.peaks(workspace=workspace)[held]

    def peaks(self, *, workspace: bool) -> tuple[int, int]:
        """:meth:`peak` of an input that is not held, and of one that is."""
        last_use: dict[int, int] = {}
        for i, traced in enumerate(self.ops):
            for tensor in traced.reads:
                last_use[tensor] = i
        last_use[self.output] = len(self.ops)
        shapes = self.shapes
        given = prod(shapes[INPUT])  # until its last use
        sizes: dict[int, int] = {}  # of the tensors that are written here
        live = peak_held = 0
        peak = given
        for i, traced in enumerate(self.ops):
            written = traced.writes
            sizes[written] = size = prod(shapes[written])
            live += size
            here = live + (traced.op.workspace if workspace else 0)
            peak_held = max(peak_held, here)
            peak = max(peak, here + given)
            for tensor in {*traced.reads, written}:
                if last_use.get(tensor, i) == i:
                    if tensor == INPUT:
                        given = 0
                    else:
                        live -= sizes.get(tensor, 0)
        return peak, peak_held


@lru_cache(maxsize=65536)
def _op(kind: OpKind, shapes: tuple[Shape, ...], attrs: tuple[tuple[str, int | str], ...]) -> Op:
    """Operators repeat; what is derived from one (its output shape, its counts) is then computed once."""
    return Op(kind, shapes, attrs)


class Tracer:
    """Records operators; every method returns the number of the tensor it wrote."""

    def __init__(self, *inputs: Shape) -> None:
        self.shapes: list[Shape] = list(inputs)
        self.ops: list[TracedOp] = []
        self._outside: set[int] = set()
        self._prefix = ""
        self._views: dict[int, int] = {}
        self._blocks: list[Span] = []
        self._apart: set[int] = set()

    def outside(self, shape: Shape) -> int:
        """A tensor that the network holds (text states, time embedding): read here, counted elsewhere."""
        self.shapes.append(shape)
        self._outside.add(len(self.shapes) - 1)
        return len(self.shapes) - 1

    def at(self, prefix: str) -> None:
        """Set the module prefix of the names that follow."""
        self._prefix = prefix

    def run(self, kind: OpKind, reads: tuple[int, ...], name: str = "", **attrs: int | str) -> int:
        """Append one operator."""
        op = _op(kind, tuple(self.shapes[i] for i in reads), tuple(sorted(attrs.items())))
        self.shapes.append(op.out_shape)
        writes = len(self.shapes) - 1
        self.ops.append(TracedOp(op, self._prefix + name, reads, writes))
        return writes

    def attend(self, q: int, k: int, v: int, scores: str, name: str) -> int:
        """Append an attention: scores, softmax or relu, weighted values.  K and V share K's shape."""
        op = _op("attention", (self.shapes[q], self.shapes[k]), (("scores", scores),))
        self.shapes.append(op.out_shape)
        writes = len(self.shapes) - 1
        self.ops.append(TracedOp(op, self._prefix + name, (q, k, v), writes))
        return writes

    def view(self, tensor: int, shape: Shape) -> int:
        """Reinterpret a tensor under another shape: no operator, no memory of its own."""
        if prod(shape) > prod(self.shapes[tensor]):
            raise AssertionError(f"a view cannot grow: {self.shapes[tensor]} -> {shape}")
        self.shapes.append(shape)
        self._views[len(self.shapes) - 1] = self._views.get(tensor, tensor)
        return len(self.shapes) - 1

    def block(self, start: int, kind: str, inputs: tuple[int, ...], **attrs: int | str) -> None:
        """Say that the operators since number ``start``, those of inner blocks apart, are one block."""
        own = tuple(number for number in range(start, len(self.ops)) if number not in self._apart)
        self._apart.update(own)
        shapes = tuple(self.shapes[i] for i in inputs)
        self._blocks.append(Span(make_block(kind, shapes, tuple(sorted(attrs.items()))), own))

    def apart(self, start: int) -> None:
        """Keep the operators since number ``start`` out of the block around them."""
        self._apart.update(range(start, len(self.ops)))

    def finish(self, output: int) -> Trace:
        """The trace, with views replaced by the tensors they look into."""
        views = self._views
        ops = tuple(
            TracedOp(op, name, tuple(dict.fromkeys([views.get(tensor, tensor) for tensor in reads])), writes)
            for op, name, reads, writes in self.ops
        )
        blocks = tuple(self._blocks)
        return Trace(ops, tuple(self.shapes), frozenset(self._outside), views.get(output, output), blocks)
