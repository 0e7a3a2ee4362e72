"""A piece of a network as operators over numbered tensors, and the memory that running it takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

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
    """Operators in order.  Tensor 0 is the piece's input; tensors of ``outside`` are held by the network."""

    ops: tuple[TracedOp, ...]
    shapes: tuple[Shape, ...]
    outside: frozenset[int]
    output: int

    def peak(self, *, held: bool, workspace: bool) -> int:
        """Largest sum of live activation elements over the operators, outside tensors not counted.

        Args:
            held: somebody else (a skip connection) keeps the input, so it is not counted here; otherwise it is,
                until its last use.
            workspace: attention scores are materialised.
        """
        last_use: dict[int, int] = {}
        for i, traced in enumerate(self.ops):
            for tensor in traced.reads:
                last_use[tensor] = i
        last_use[self.output] = len(self.ops)
        uncounted = self.outside | ({INPUT} if held else frozenset())
        size = [0 if i in uncounted else prod(shape) for i, shape in enumerate(self.shapes)]
        live = size[INPUT]
        peak = live
        for i, traced in enumerate(self.ops):
            live += size[traced.writes]
            peak = max(peak, live + (traced.op.workspace if workspace else 0))
            for tensor in {*traced.reads, traced.writes}:
                if last_use.get(tensor, i) == i:
                    live -= size[tensor]
        return peak


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

    def finish(self, output: int) -> Trace:
        """The trace, with views replaced by the tensors they look into."""
        views = self._views
        ops = tuple(t._replace(reads=tuple(dict.fromkeys(views.get(r, r) for r in t.reads))) for t in self.ops)
        return Trace(ops, tuple(self.shapes), frozenset(self._outside), views.get(output, output))
