"""Looking into .tflite flatbuffers: which nodes a model holds, and cutting independent parts out of one model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archsearch.errors import ModelError


def read_model(path: Path) -> Any:
    """The object form (``ModelT``) of a .tflite file.

    Raises:
        ModelError: the file is no LiteRT model.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        data = path.read_bytes()
        if data[4:8] != b"TFL3":
            raise ModelError("not a LiteRT model", where=str(path), got=repr(data[4:8]), allowed="identifier TFL3")
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))


def node_counts(model: Any) -> Counter[str]:
    """How often each builtin operator occurs over all subgraphs of a ``ModelT``."""
    names = _builtin_names()
    codes = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    return Counter(codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators or ())


def format_nodes(counts: Counter[str]) -> str:
    """``CONV_2D``, ``4 TRANSPOSE + 2 BATCH_MATMUL + SOFTMAX``: most frequent first, then by name."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return " + ".join(name if count == 1 else f"{count} {name}" for name, count in ordered)


def _builtin_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def split(model: Any, count: int) -> list[Any]:
    """Cut a model whose ``count`` outputs depend on disjoint nodes into one model an output, in their order.

    Raises:
        ModelError: outputs share nodes or inputs, nodes belong to no output, or the model has several subgraphs.
    """
    if len(model.subgraphs) != 1 or len(model.subgraphs[0].outputs) != count:
        raise ModelError("cannot be cut: not one subgraph with one output a part", got=len(model.subgraphs))
    graph = model.subgraphs[0]
    producer = {int(t): number for number, op in enumerate(graph.operators) for t in op.outputs}
    inputs = {int(t) for t in graph.inputs}
    owner_of_node: dict[int, int] = {}
    owner_of_input: dict[int, int] = {}
    for part, output in enumerate(_signature_outputs(model, graph)):
        pending = [output]
        while pending:
            tensor = pending.pop()
            if tensor in inputs:
                if owner_of_input.setdefault(tensor, part) != part:
                    raise ModelError("cannot be cut: two outputs read one input", got=tensor)
                continue
            node = producer.get(tensor)
            if node is None or owner_of_node.get(node) == part:
                continue
            if owner_of_node.setdefault(node, part) != part:
                raise ModelError("cannot be cut: two outputs share a node", got=node)
            pending.extend(int(t) for t in graph.operators[node].inputs if t >= 0)
    if len(owner_of_node) != len(graph.operators):
        raise ModelError("cannot be cut: nodes that no output depends on")
    outputs = _signature_outputs(model, graph)
    return [
        _part(
            model,
            [node for node in range(len(graph.operators)) if owner_of_node[node] == part],
            [t for t in (int(t) for t in _signature_inputs(model, graph)) if owner_of_input.get(t) == part],
            outputs[part],
        )
        for part in range(count)
    ]


def _signature_outputs(model: Any, graph: Any) -> list[int]:
    """Output tensors in the order in which the torch module returned them (``output_0``, ``output_1``, ...)."""
    if not model.signatureDefs:
        return [int(t) for t in graph.outputs]
    named = {_name(entry): int(entry.tensorIndex) for entry in model.signatureDefs[0].outputs}
    return [named[f"output_{i}"] for i in range(len(named))]


def _signature_inputs(model: Any, graph: Any) -> list[int]:
    if not model.signatureDefs:
        return [int(t) for t in graph.inputs]
    named = {_name(entry): int(entry.tensorIndex) for entry in model.signatureDefs[0].inputs}
    return [named[name] for name in sorted(named, key=lambda name: int(name.rsplit("_", 1)[1]))]


def _name(entry: Any) -> str:
    return entry.name.decode() if isinstance(entry.name, bytes) else str(entry.name)


def _part(model: Any, nodes: Sequence[int], inputs: Sequence[int], output: int) -> Any:
    """A model of some nodes, with only the tensors, buffers and operator codes that they use."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    tensors: dict[int, int] = {}
    buffers: dict[int, int] = {0: 0}
    codes: dict[int, int] = {}

    def tensor(index: int) -> int:
        return tensors.setdefault(int(index), len(tensors)) if index >= 0 else -1

    part = schema.SubGraphT()
    part.name = "main"
    part.inputs = [tensor(t) for t in inputs]
    part.operators = []
    for node in nodes:
        source = graph.operators[node]
        op = schema.OperatorT()
        op.__dict__.update(source.__dict__)
        op.inputs = [tensor(t) for t in source.inputs]
        op.outputs = [tensor(t) for t in source.outputs]
        op.opcodeIndex = codes.setdefault(source.opcodeIndex, len(codes))
        part.operators.append(op)
    part.outputs = [tensor(output)]
    part.tensors = []
    for index in tensors:
        source = graph.tensors[index]
        copy = schema.TensorT()
        copy.__dict__.update(source.__dict__)
        copy.buffer = buffers.setdefault(source.buffer, len(buffers))
        part.tensors.append(copy)
    result = schema.ModelT()
    result.version = model.version
    result.description = model.description
    result.subgraphs = [part]
    result.operatorCodes = [model.operatorCodes[code] for code in codes]
    result.buffers = [model.buffers[index] for index in buffers]
    return result


def write_model(model: Any, path: Path) -> None:
    """Serialise a ``ModelT``."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
