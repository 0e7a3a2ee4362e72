"""Operators and blocks as Core ML packages: torch.export, then coremltools; works on Linux, running them does not.

Packages are ML programs for iOS 16 or later with float16 computation, inputs and outputs, so that no cast stands
between; images are NCHW.  coremltools takes seconds to import, writes to stdout and may take the process down: it
converts in a process of its own, and an operator on which that ends has failed alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from archsearch.cost.block import Workload, parse_workload
from archsearch.errors import LatencyError, MissingExtraError
from archsearch.latency.bundle_manifest import Input

if TYPE_CHECKING:
    from torch import Tensor, nn

RECIPE = 1  # raise it when operators are built or converted otherwise
TARGET = "iOS16"


class CoremlModel(NamedTuple):
    """A package on disk, its inputs and its operations (``linear``, ``3 transpose + 2 matmul + ...``)."""

    path: Path
    inputs: tuple[Input, ...]
    graph: str


def coremltools_version() -> str:
    """Version of coremltools.

    Raises:
        MissingExtraError: the extra ``coreml`` is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("coremltools")
    except PackageNotFoundError as error:
        raise MissingExtraError(
            "Core ML models need coremltools", next_step='pip install "archsearch[coreml]"'
        ) from error


def convert_coreml(units: Sequence[Workload], folder: Path) -> Iterator[tuple[Workload, CoremlModel | str]]:
    """Convert one by one into ``folder``; each unit with its package, or with why there is none.

    Raises:
        MissingExtraError: the extra ``coreml`` is not installed.
    """
    coremltools_version()
    waiting = list(units)
    while waiting:
        before = len(waiting)
        with _Worker(waiting, folder) as worker:
            for answer in worker.answers():
                unit = waiting.pop(0)
                yield unit, _parse(answer)
            if waiting:  # it ended on the first that it left unanswered
                yield waiting.pop(0), worker.ending()
        assert len(waiting) < before


def _parse(answer: dict[str, Any]) -> CoremlModel | str:
    if "error" in answer:
        return str(answer["error"])
    inputs = tuple(Input(name, tuple(shape), dtype) for name, shape, dtype in answer["inputs"])
    return CoremlModel(Path(answer["path"]), inputs, answer["graph"])


class _Worker:
    """A process that converts a list of keys and answers with a line of JSON each."""

    def __init__(self, units: Sequence[Workload], folder: Path) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "archsearch.latency.coreml", str(writing), str(folder)],
            stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, pass_fds=(writing,), env=environment,
        )  # fmt: skip
        os.close(writing)
        self._stream = os.fdopen(reading, encoding="utf-8")
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{unit.key}\n" for unit in units).encode())
        self._process.stdin.close()

    def answers(self) -> Iterator[dict[str, Any]]:
        """Answers as they come, until the process ends."""
        for line in self._stream:
            if line.endswith("\n"):
                yield json.loads(line)

    def ending(self) -> str:
        """How the process ended."""
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f"the converter ended with code {code}: {lines[-1][:300] if lines else 'no output'}"

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._stream.close()
        self._log.close()


def coreml_module(unit: Workload) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Module and inputs with images in NCHW, whatever layout LiteRT wants.

    Raises:
        LatencyError: no module is known for its kind.
    """
    import torch
    from torch import nn

    from archsearch.latency.modules import op_module

    class Concatenation(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return torch.cat(inputs, dim=1)

    made = op_module(unit)
    if not made.channels_last:
        return made.module, made.inputs
    inputs = tuple(x.permute(0, 3, 1, 2).contiguous() for x in made.inputs)
    return (Concatenation() if unit.kind == "cat" else made.module), inputs


def convert(unit: Workload, path: Path) -> CoremlModel:
    """Convert one unit and save its package, by torch.export or, where that fails, by tracing.

    Raises:
        LatencyError: coremltools cannot convert it.
    """
    import torch

    module, inputs = coreml_module(unit)
    why = []
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for capture in (_exported, _traced):
            try:
                model = _package(capture(module, inputs), inputs)
            except Exception as error:
                why.append(f"{capture.__name__.strip('_')}: {type(error).__name__}: {error}")
                continue
            model.save(str(path))
            return CoremlModel(path, _inputs(inputs), _graph(model))
    raise LatencyError("coremltools cannot convert it", where=unit.key, got=" / ".join(why))


def _exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    import torch

    return torch.export.export(module, inputs).run_decompositions({})


def _traced(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    import torch

    return torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]


def _package(source: Any, inputs: tuple[Tensor, ...]) -> Any:
    import coremltools as ct
    import numpy as np

    types = [
        ct.TensorType(name=entry.name, shape=entry.shape, dtype=np.dtype(entry.dtype).type) for entry in _inputs(inputs)
    ]
    return ct.convert(
        source,
        inputs=types,
        outputs=[ct.TensorType(name="y", dtype=np.float16)],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16,
        minimum_deployment_target=getattr(ct.target, TARGET),
        skip_model_load=True,
    )


def _inputs(inputs: tuple[Tensor, ...]) -> tuple[Input, ...]:
    return tuple(
        Input(f"x{i}", tuple(x.shape), "float16" if x.is_floating_point() else "int32") for i, x in enumerate(inputs)
    )


def _graph(model: Any) -> str:
    from archsearch.models.litert_graph import format_nodes

    function = model.get_spec().mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    return format_nodes(Counter(op.type for op in block.operations if op.type != "const"))


def _work(answers: IO[str], folder: Path) -> None:
    for number, line in enumerate(sys.stdin):
        answer: dict[str, Any]
        try:
            model = convert(parse_workload(line.strip()), folder / f"{os.getpid()}-{number}.mlpackage")
            answer = {**model._asdict(), "path": str(model.path)}
        except LatencyError as error:
            answer = {"error": " ".join(str(error).split())[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as stream:
        _work(stream, Path(sys.argv[2]))
