"""Models of other precisions from converted ones, by ai-edge-quantizer: weights in fp16 or int8, kept in the cache."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from archsearch.errors import MissingExtraError
from archsearch.latency.conversion import OpModel

RECIPE = 1  # raise it when models are quantised otherwise
WORDS = {
    "fp16-weights": "weights of {ops} stored in fp16 and dequantised to fp32, which everything is computed in; "
    "ai-edge-quantizer {version}, float casting. Operators without weights are fp32 (`fp32` in graph).",
    "int8": "weights of {ops} in int8, symmetric, one scale an output channel, activations quantised to int8 while it "
    "runs (dynamic range), sums and everything else fp32; ai-edge-quantizer {version}, dynamic_wi8_afp32. Operators "
    "without weights are fp32 (`fp32` in graph).",
}
OPERATORS = "convolutions, fully connected layers and embeddings"


def is_quantised(precision: str) -> bool:
    """Whether models of this precision are made here; the others run as they were converted."""
    return precision in WORDS


def quantisation(precision: str) -> str:
    """What was quantised and how, for ``table.yaml``; empty where nothing is.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
    """
    return WORDS[precision].format(ops=OPERATORS, version=_version()) if precision in WORDS else ""


def quantise_all(
    models: Iterable[OpModel], precision: str, done: Callable[[int], None] = lambda n: None
) -> tuple[dict[str, OpModel], dict[str, str]]:
    """The models in another precision by key, from the cache or made now, and why those that failed did.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
    """
    made, failures = {}, {}
    for model in models:
        if is_quantised(precision):
            try:
                made[model.key] = _quantised(model, precision)
            except MissingExtraError:
                raise
            except Exception as error:  # whatever the library raises costs one operator
                words = " ".join(str(error).split())[:300]
                failures[model.key] = f"ai-edge-quantizer: {type(error).__name__}: {words}"
        else:
            made[model.key] = model
        done(1)
    return made, failures


def _quantised(model: OpModel, precision: str) -> OpModel:
    from archsearch.latency.write import replace
    from archsearch.models.litert_graph import format_nodes, node_counts, read_model

    path = model.path.with_name(f"{model.path.stem}.{precision}.tflite")
    note_path = path.with_suffix(".json")
    salt = f"ai-edge-quantizer {_version()}|recipe {RECIPE}"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(note_path.read_text(encoding="utf-8"))
        if note["key"] == model.key and note["salt"] == salt and path.stat().st_size == note["bytes"]:
            return OpModel(model.key, path, str(note["graph"]), int(note["transposes"]))
    data = _make(model.path, precision)
    replace(path, data)
    flatbuffer = read_model(path)
    counts = node_counts(flatbuffer)
    graph = f"{format_nodes(counts)}; {_stored(flatbuffer)}"
    note = {"key": model.key, "salt": salt, "bytes": len(data), "graph": graph, "transposes": counts["TRANSPOSE"]}
    replace(note_path, json.dumps(note).encode())
    return OpModel(model.key, path, graph, counts["TRANSPOSE"])


def _make(path: Path, precision: str) -> bytes:
    quantizer = _library()
    from ai_edge_quantizer import qtyping, recipe

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        work = quantizer.Quantizer(str(path))
        if precision == "int8":
            work.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        else:
            weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
            work.update_quantization_recipe(
                regex=".*",
                operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                algorithm_key="float_casting",
                op_config=qtyping.OpQuantizationConfig(
                    weight_tensor_config=weights,
                    compute_precision=qtyping.ComputePrecision.FLOAT,
                    explicit_dequantize=True,
                ),
            )
        return bytes(work.quantize().quantized_model)


def _stored(model: Any) -> str:
    """In what the weights are stored: the smallest type of a constant that the quantizer wrote."""
    from ai_edge_litert.schema_py_generated import TensorType

    types = {tensor.type for graph in model.subgraphs for tensor in graph.tensors}
    return "int8 weights" if TensorType.INT8 in types else "fp16 weights" if TensorType.FLOAT16 in types else "fp32"


def _library() -> Any:
    try:
        from ai_edge_quantizer import quantizer
    except ImportError as error:
        raise MissingExtraError("fp16-weights and int8 need ai-edge-quantizer", got=str(error),
                                next_step='pip install "archsearch[litert]"') from error  # fmt: skip
    return quantizer


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ai-edge-quantizer")
    except PackageNotFoundError as error:
        raise MissingExtraError("fp16-weights and int8 need ai-edge-quantizer",
                                next_step='pip install "archsearch[litert]"') from error  # fmt: skip
