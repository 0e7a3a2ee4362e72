"""The models of a bundle: where they lie, what they take, who converts them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from archsearch.cost.block import Workload
from archsearch.latency.bundle_manifest import SUFFIX, Input
from archsearch.latency.conversion import RECIPE

CHUNK = 96
CHUNK_BYTES = 1_000_000_000
FILE_BYTES = {"litert": 2_500, "coreml": 12_000}  # of a model without weights
WEIGHT_BYTES = {"litert": 4, "coreml": 2}


def estimate_bytes(units: Sequence[Workload], target: str) -> int:
    """Disk that the models of ``units`` take, from their parameters."""
    return sum(WEIGHT_BYTES[target] * unit.params + FILE_BYTES[target] for unit in units)


def converter_versions(target: str) -> dict[str, str]:
    """What converts, and which version of it.

    Raises:
        MissingExtraError: the converter is not installed.
    """
    from importlib.metadata import version

    from archsearch.latency.conversion import converter_version

    if target == "coreml":
        from archsearch.latency.coreml import RECIPE as COREML_RECIPE
        from archsearch.latency.coreml import coremltools_version

        return {"coremltools": coremltools_version(), "torch": version("torch"), "recipe": str(COREML_RECIPE)}
    return {"litert-torch": converter_version(), "torch": version("torch"), "recipe": str(RECIPE)}


def file_of(unit: Workload, target: str) -> str:
    """Where the model of a unit lies in a bundle: a few dozen files a folder, the same name on every machine."""
    name = hashlib.sha256(unit.key.encode()).hexdigest()[:20]
    return f"models/{unit.kind}/{name[0]}/{unit.kind}-{name}{SUFFIX[target]}"


def tflite_inputs(path: Path) -> tuple[Input, ...]:
    """The inputs of a .tflite model."""
    from ai_edge_litert import schema_py_generated as schema

    from archsearch.models.litert_graph import read_model

    names = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    graph = read_model(path).subgraphs[0]
    tensors = [graph.tensors[int(index)] for index in graph.inputs]
    return tuple(
        Input(tensor.name.decode(), tuple(int(side) for side in tensor.shape), names[tensor.type])
        for tensor in tensors
    )  # fmt: skip


def chunks(units: Sequence[Workload]) -> Iterator[list[Workload]]:
    """Models that are noted in the manifest together: few enough, and with few enough bytes of weights."""
    chunk: list[Workload] = []
    weight = 0
    for unit in units:
        if chunk and (len(chunk) == CHUNK or weight + 4 * unit.params > CHUNK_BYTES):
            yield chunk
            chunk, weight = [], 0
        chunk.append(unit)
        weight += 4 * unit.params
    if chunk:
        yield chunk


def with_reference(units: Mapping[str, Workload]) -> dict[str, Workload]:
    """The reference operator first: every figure can then be read as a ratio to it."""
    from archsearch.latency.measure import REFERENCE

    return {REFERENCE.key: REFERENCE, **units}
