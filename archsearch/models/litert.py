"""The LiteRT converter: torch modules to .tflite, images in the layout that LiteRT keeps inside a model (NHWC).

``litert_torch`` takes seconds to import and about one second a conversion whatever the size, most of it fixed cost
of tracing; :func:`convert_many` therefore traces many small modules as one model and cuts the flatbuffer apart.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archsearch.errors import MissingExtraError, ModelError
from archsearch.models.litert_graph import format_nodes, node_counts, read_model, split, write_model


@dataclass(frozen=True)
class Converted:
    """A written .tflite file and the nodes in it (``CONV_2D``, ``2 MEAN + SUB + ...``)."""

    path: Path
    graph: str
    transposes: int


@dataclass(frozen=True)
class Job:
    """A module to convert.  ``inputs`` are in torch's layout; ``images`` numbers those that are [N, C, H, W].

    ``image_output``: the output is an image as well.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    path: Path
    images: tuple[int, ...] = ()
    image_output: bool = False


def convert(module: nn.Module, example_inputs: Sequence[Tensor], path: Path) -> Converted:
    """Convert a module with one output; every input and output of rank 4 is an image and becomes NHWC.

    Raises:
        MissingExtraError: the extra ``litert`` is not installed.
        ModelError: litert-torch cannot convert the module.
    """
    import torch

    inputs = tuple(example_inputs)
    images = tuple(i for i, x in enumerate(inputs) if x.dim() == 4)
    with torch.no_grad():
        rank = module(*inputs).dim()
    return convert_job(Job(module, inputs, path, images, rank == 4))


def convert_job(job: Job) -> Converted:
    """Convert one module by itself.

    Raises:
        MissingExtraError: the extra ``litert`` is not installed.
        ModelError: litert-torch cannot convert the module.
    """
    _export(_Together([job]), job.path)
    return _describe(job.path)


def convert_many(jobs: Sequence[Job]) -> list[Converted]:
    """Convert independent modules in one trace; each gets a file that holds just its own nodes.

    Raises:
        MissingExtraError: the extra ``litert`` is not installed.
        ModelError: litert-torch cannot convert one of the modules.
    """
    if len(jobs) == 1:
        return [convert_job(jobs[0])]
    whole = jobs[0].path.with_name(f".{jobs[0].path.name}.{os.getpid()}.all")
    try:
        _export(_Together(jobs), whole)
        parts = split(read_model(whole), len(jobs))
    finally:
        whole.unlink(missing_ok=True)
    for job, part in zip(jobs, parts, strict=True):
        draft = _draft(job.path)
        write_model(part, draft)
        draft.replace(job.path)
    return [_describe(job.path) for job in jobs]


def _describe(path: Path) -> Converted:
    counts = node_counts(read_model(path))
    return Converted(path, format_nodes(counts), counts["TRANSPOSE"])


class _Together(nn.Module):
    """Modules side by side, each with its own inputs; images enter and leave as [N, H, W, C]."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.parts = nn.ModuleList([job.module for job in jobs])
        self.jobs = [(len(job.inputs), job.images, job.image_output) for job in jobs]
        self.example = tuple(
            x.permute(0, 2, 3, 1).contiguous() if i in job.images else x
            for job in jobs
            for i, x in enumerate(job.inputs)
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        start = 0
        for module, (count, images, image_output) in zip(self.parts, self.jobs, strict=True):
            own = inputs[start : start + count]
            start += count
            y = module(*(x.permute(0, 3, 1, 2) if i in images else x for i, x in enumerate(own)))
            outputs.append(y.permute(0, 2, 3, 1) if image_output else y)
        return tuple(outputs)


def _export(module: _Together, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    from archsearch.models.attention import folded_queries

    draft = _draft(path)
    with _quiet(), folded_queries(module):
        litert_torch = _import()
        try:
            litert_torch.convert(module.eval(), module.example).export(str(draft))
        except Exception as error:
            draft.unlink(missing_ok=True)
            raise ModelError("litert-torch cannot convert it", where=path.name, got=f"{type(error).__name__}: {error}",
                             next_step="report it with the architecture that holds it") from error  # fmt: skip
    draft.replace(path)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _import() -> Any:
    try:
        import litert_torch
    except ImportError as error:
        raise MissingExtraError("converting needs the extra `litert`", got=str(error),
                                next_step='pip install "archsearch[litert]"') from error  # fmt: skip
    return litert_torch


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress lines on stdout, no third-party warnings."""
    name = "LITERT_TORCH_SHOW_PROGRESS"
    before = os.environ.get(name)
    os.environ[name] = "n"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
