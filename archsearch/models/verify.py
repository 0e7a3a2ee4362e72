"""``profile --verify``: every operator's count against the built module, torch and fvcore."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.arch import Architecture
from archsearch.cost import Conditions, lower
from archsearch.cost.lowering import Lowering
from archsearch.errors import CostError
from archsearch.models.paths import located_steps

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class OperatorCheck:
    """MACs of one operator by three counters.  ``name`` is its path in the module."""

    name: str
    key: str
    macs: int
    torch_macs: int
    fvcore_macs: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared and found equal, for one forward pass; ``executed`` aten operators are all accounted for."""

    params: int
    macs: int
    macs_without_attention: int
    executed: int
    operators: tuple[OperatorCheck, ...]
    torch_version: str
    fvcore_version: str


def verify(arch: Architecture, conditions: Conditions | None = None) -> Verification:
    """Cross-check the counts of an architecture, operator by operator.

    Builds the module without memory for its weights; compares its parameters, the aten operators that it runs (kinds,
    shapes, attributes), and the MACs of every convolution, linear layer and attention with ``FlopCounterMode`` on
    the meta device and with fvcore.

    Raises:
        CostError: two counters differ (names the operator), or an operator is unknown to one of them.
    """
    from importlib.metadata import version

    import torch

    from archsearch.models.counters import fvcore_macs, torch_macs
    from archsearch.models.factory import build, example_inputs
    from archsearch.models.record import expected_records, recorded

    lowering = lower(arch, conditions)
    module = build(arch, device="meta").eval()
    inputs = example_inputs(arch, lowering.conditions, device="meta")
    params = _check_params(lowering, module.named_parameters())
    expected, executed = expected_records(lowering), recorded(module, inputs)
    for record in (*(expected - executed), *(executed - expected)):
        raise CostError("an operator is not run as often as it is counted", where=record.kind,
                        got=f"{executed[record]} runs of {record}", allowed=f"{expected[record]} runs")  # fmt: skip
    by_torch = torch_macs(module, inputs)
    by_fvcore = fvcore_macs(module, inputs)
    checks = []
    for name, key, weighted, products in _counted(lowering):
        path, column = (name.rpartition(".")[0], 1) if products else (name, 0)
        ours = weighted + products
        found = [counts[path][column] if path in counts else 0 for counts in (by_torch, by_fvcore)]
        for counter, theirs in zip(("torch", "fvcore"), found, strict=True):
            if theirs != ours:
                raise CostError(f"{counter} counts other MACs", where=f"{name} ({key})", got=theirs, allowed=ours)
        checks.append(OperatorCheck(name, key, ours, *found))
    macs = sum(check.macs for check in checks)
    for counter, counts in (("torch", by_torch), ("fvcore", by_fvcore)):
        if sum(counts[""]) != macs:
            raise CostError(f"{counter} counts MACs outside the operators", where="total", got=sum(counts[""]),
                            allowed=macs)  # fmt: skip
    return Verification(
        params, macs, by_torch[""].weighted, executed.total(), tuple(checks), torch.__version__, version("fvcore")
    )


def _counted(lowering: Lowering) -> list[tuple[str, str, int, int]]:
    """(module path, operator key, MACs with weights, MACs of products) of every operator that multiplies."""
    rows = []
    for piece, located in zip(lowering.pieces, located_steps(lowering.arch), strict=True):
        for traced in piece.trace.ops:
            op = traced.op
            if op.macs:
                products = op.attention_macs
                rows.append((located.path + traced.name, op.key, op.macs - products, products))
    return rows


def _check_params(lowering: Lowering, named: Iterable[tuple[str, Tensor]]) -> int:
    """Compare parameters module by module; returns their number."""
    counted: dict[str, int] = defaultdict(int)
    for piece, located in zip(lowering.pieces, located_steps(lowering.arch), strict=True):
        for traced in piece.trace.ops:
            if traced.op.params:
                counted[located.path + traced.name] += traced.op.params
    built: dict[str, int] = defaultdict(int)
    for name, parameter in named:
        built[name.rpartition(".")[0]] += parameter.numel()
    for name in sorted({*counted, *built}):
        if counted[name] != built[name]:
            raise CostError("the module has other parameters", where=name, got=built[name], allowed=counted[name])
    return sum(built.values())
