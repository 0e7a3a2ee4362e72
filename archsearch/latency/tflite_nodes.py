"""The nodes of a .tflite model as operators: what one node, or the few that stand for one, computes.

Images are NHWC in the file and NCHW in keys.  A convolution behind a PAD is one operator with it, LOGISTIC and MUL by
its own input are SiLU.  A bias of zeros is none.  A fully connected layer on a matrix of several rows is taken for one
on [1, rows, width], which is how architectures of batch 1 hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from archsearch.cost.op import Op, OpKind
from archsearch.errors import LatencyError, MissingExtraError, ModelError
from archsearch.latency.profile_rows import Timed, checked_key

_POINTWISE: dict[str, OpKind] = {"GELU": "gelu", "RELU": "relu"}
_BROADCAST: dict[str, OpKind] = {"ADD": "add", "MUL": "mul"}


class Node(NamedTuple):
    """A node: its builtin operator, its inputs and output (numbers of tensors), its options."""

    name: str
    inputs: tuple[int, ...]
    output: int
    options: Any


def timed_units(path: Path, timings: Mapping[str, Sequence[Timed]]) -> tuple[list[Timed], str]:
    """Timings (by type of node, in order) of the operators of a model, and in words what was left out.

    Raises:
        LatencyError: not a LiteRT model.
    """
    graph = Graph(path)
    time_of: dict[int, Timed] = {}
    uneven = []
    for name in dict.fromkeys(node.name for node in graph.nodes):
        numbers = [number for number, node in enumerate(graph.nodes) if node.name == name]
        rows = timings.get(name, ())
        if len(rows) == len(numbers):
            time_of.update(zip(numbers, rows, strict=True))
        else:
            uneven.append(f"{name} ({len(numbers)} nodes, {len(rows)} rows)")
    timed: list[Timed] = []
    used: set[int] = set()
    for number in range(len(graph.nodes)):
        key, own = graph.unit(number)
        if key is None or not all(one in time_of for one in own):
            continue
        total = sum(time_of[one].times_ms[0] for one in own)
        if total <= 0:
            continue
        used.update(own)
        nodes = " + ".join(graph.nodes[one].name for one in own)
        timed.append(Timed(key, (total,), time_of[number].runs, time_of[number].where, nodes))
    others = len(graph.nodes) - len(used)
    words = [", ".join(uneven)] if uneven else []
    if others:
        words.append(f"{others} of {len(graph.nodes)} nodes that are no operator of their own or have no time")
    return timed, "; ".join(words)


class Graph:
    """The first subgraph of a model."""

    def __init__(self, path: Path) -> None:
        """Read a model.

        Raises:
            MissingExtraError: the extra ``litert``, which brings the file's schema, is not installed.
            LatencyError: not a LiteRT model.
        """
        try:
            from ai_edge_litert import schema_py_generated as schema
        except ImportError as error:
            raise MissingExtraError("reading a .tflite model needs ai-edge-litert",
                                    next_step='pip install "archsearch[litert]"') from error  # fmt: skip
        from archsearch.models.litert_graph import read_model

        try:
            model = read_model(path)
        except ModelError as error:
            raise LatencyError(str(error)) from error
        except Exception as error:  # a hostile flatbuffer fails anywhere in generated code
            raise LatencyError("not a usable LiteRT model", where=str(path), got=repr(error)) from error
        names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        codes = [names.get(max(c.builtinCode, c.deprecatedBuiltinCode), "UNKNOWN") for c in model.operatorCodes]
        graph = model.subgraphs[0]
        self._buffers = model.buffers
        self._tensors = graph.tensors
        self.nodes = [
            Node(codes[op.opcodeIndex], tuple(int(t) for t in op.inputs), int(op.outputs[0]), op.builtinOptions)
            for op in graph.operators
        ]
        self._producer = {node.output: number for number, node in enumerate(self.nodes)}

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape with images as NCHW."""
        sides = self._tensors[tensor].shape
        shape = tuple(int(side) for side in (() if sides is None else sides))
        return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape

    def constant(self, tensor: int) -> Any:
        """The bytes of a constant, else None."""
        data = self._buffers[self._tensors[tensor].buffer].data
        return data if data is not None and len(data) else None

    def unit(self, number: int) -> tuple[str | None, tuple[int, ...]]:
        """The key of the operator that ends in this node, and the nodes that compute it; no key if it is none."""
        node = self.nodes[number]
        own = [number]
        op = None
        out = self.shape(node.output)
        shapes = tuple(self.shape(tensor) for tensor in node.inputs if tensor >= 0)
        if node.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            source = self._producer.get(node.inputs[0])
            if source is not None and self.nodes[source].name == "PAD":
                own.insert(0, source)
            op = self._conv(node, self.shape(self.nodes[own[0]].inputs[0]))
        elif node.name == "FULLY_CONNECTED" and len(shapes[0]) in (2, 3):
            first = shapes[0] if len(shapes[0]) == 3 or shapes[0][0] == 1 else (1, *shapes[0])
            out = (*first[:-1], out[-1])
            op = Op("linear", (first,), (("bias", self._bias(node)), ("out", out[-1])))
        elif node.name == "MUL" and (gate := self._gate(node)) is not None:
            own.insert(0, gate)
            op = Op("silu", (out,))
        elif node.name in _BROADCAST and len(shapes) == 2 and not any(map(self.constant, node.inputs)):
            op = Op(_BROADCAST[node.name], shapes)
        elif node.name in _POINTWISE:
            op = Op(_POINTWISE[node.name], (out,))
        elif node.name == "CONCATENATION" and len(shapes) == 2 and not any(map(self.constant, node.inputs)):
            op = Op("cat", shapes)
        elif node.name == "RESIZE_NEAREST_NEIGHBOR":
            op = Op("upsample", (shapes[0],), (("h", out[2]), ("w", out[3])))
        return (checked_key(op, out) if op else None), tuple(own)

    def _conv(self, node: Node, image: tuple[int, ...]) -> Op | None:
        weights = tuple(int(side) for side in self._tensors[node.inputs[1]].shape)
        if len(image) != 4 or weights[1] != weights[2] or node.options.strideH != node.options.strideW:
            return None
        deep = node.name == "DEPTHWISE_CONV_2D"
        groups = image[1] if deep else image[1] // weights[3]
        out = weights[3] if deep else weights[0]
        attrs = (("bias", self._bias(node)), ("g", groups), ("k", weights[1]), ("out", out),
                 ("s", int(node.options.strideH)))  # fmt: skip
        return Op("conv2d", (image,), attrs)

    def _bias(self, node: Node) -> int:
        data = self.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] >= 0 else None
        return int(data is not None and any(data))

    def _gate(self, node: Node) -> int | None:
        """The LOGISTIC of the same input, where this MUL makes a SiLU of it."""
        for gate, other in (node.inputs[:2], node.inputs[1::-1]):
            source = self._producer.get(gate)
            if source is not None and self.nodes[source].name == "LOGISTIC" and self.nodes[source].inputs[0] == other:
                return source
        return None
