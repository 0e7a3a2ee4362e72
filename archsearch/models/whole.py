"""Whole networks for the converter: one pass under given conditions, positional tensors in, one tensor out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.arch.values import Architecture
from archsearch.cost.conditions import Conditions
from archsearch.models.factory import build, example_inputs
from archsearch.models.litert import Job


def whole_job(arch: Architecture, conditions: Conditions, path: Path, seed: int = 0) -> Job:
    """A network with random weights, ready to convert.  Inputs: ``sample, timestep, encoder_hidden_states, ...``.

    Norm weights are random as well: at their initial ones and zeros the converter would drop their nodes.

    Raises:
        ArchError: the architecture is inconsistent.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(arch).eval().requires_grad_(False)
        inputs = example_inputs(arch, conditions)
        randomise_norms(module)
    whole = _Whole(module, inputs)
    images = tuple(i for i, x in enumerate(whole.example) if x.dim() == 4)
    return Job(whole, whole.example, path, images, image_output=bool(images))


def randomise_norms(module: nn.Module) -> None:
    """Give every vector of weights (norms, biases) values that no converter can fold away."""
    for parameter in module.parameters():
        if parameter.dim() == 1:
            parameter.copy_(torch.rand(parameter.shape) + 0.5)


class _Whole(nn.Module):
    """A network whose keyword arguments come by position; nested ones are flattened in order."""

    def __init__(self, module: nn.Module, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.module = module
        self._fixed = {k: v for k, v in inputs.items() if not isinstance(v, (Tensor, dict))}
        self._names: list[tuple[str, str]] = []
        example: list[Tensor] = []
        for name, value in inputs.items():
            for inner, tensor in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(tensor, Tensor):
                    self._names.append((name, inner))
                    example.append(tensor)
        self.example = tuple(example)

    def forward(self, *tensors: Tensor) -> Tensor:
        """One pass."""
        arguments: dict[str, Any] = dict(self._fixed)
        for (name, inner), tensor in zip(self._names, tensors, strict=True):
            if inner:
                arguments.setdefault(name, {})[inner] = tensor
            else:
                arguments[name] = tensor
        y = self.module(**arguments)
        return y[0] if isinstance(y, tuple) else y
