"""Invariant 1: what is counted is what is executed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archsearch.arch import Architecture
from archsearch.cost import Conditions, lower
from archsearch.cost.count import totals
from archsearch.errors import ModelError
from archsearch.models import build, example_inputs
from archsearch.models.paths import located_steps
from archsearch.models.record import expected_records, recorded
from tests import strategies


def examples(number: int) -> settings:
    """Building a module is slow for hypothesis: no deadline, and no shrinking, which would take minutes."""
    return settings(
        max_examples=number,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def check_invariant(arch: Architecture, conditions: Conditions) -> None:
    lowering = lower(arch, conditions)
    counted = totals(lowering)
    module = build(arch, device="meta").eval()
    inputs = example_inputs(arch, conditions, device="meta")
    assert sum(p.numel() for p in module.parameters()) == counted.params
    expected, executed = expected_records(lowering), recorded(module, inputs)
    assert (expected - executed, executed - expected) == ({}, {})
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        module(**inputs)
    assert flops.get_total_flops() == 2 * counted.macs


@examples(20)
@given(strategies.unets(), strategies.conditions())
def test_unets_run_what_is_counted(arch: Architecture, conditions: Conditions) -> None:
    check_invariant(arch, conditions)


@pytest.mark.slow
@examples(200)
@given(strategies.unets(), strategies.conditions())
def test_many_unets_run_what_is_counted(arch: Architecture, conditions: Conditions) -> None:
    check_invariant(arch, conditions)


@examples(15)
@given(strategies.decoders(), strategies.conditions())
def test_decoders_run_what_is_counted(arch: Architecture, conditions: Conditions) -> None:
    check_invariant(arch, conditions)


@examples(10)
@given(strategies.text_encoders(), strategies.conditions())
def test_text_encoders_run_what_is_counted(arch: Architecture, conditions: Conditions) -> None:
    check_invariant(arch, conditions)


@examples(15)
@given(strategies.unets() | strategies.decoders())
def test_parameters_stand_where_the_lowering_says(arch: Architecture) -> None:
    """Every parameter belongs to the module that a counted operator names."""
    counted: dict[str, int] = {}
    lowering = lower(arch, Conditions(latent=(8, 8), text=3))
    for piece, located in zip(lowering.pieces, located_steps(arch), strict=True):
        for traced in piece.trace.ops:
            if traced.op.params:
                name = located.path + traced.name
                counted[name] = counted.get(name, 0) + traced.op.params
    built: dict[str, int] = {}
    for name, parameter in build(arch, device="meta").named_parameters():
        owner = name.rpartition(".")[0]
        built[owner] = built.get(owner, 0) + parameter.numel()
    assert built == counted


def test_an_unknown_operator_is_an_error() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(x).real

    with pytest.raises(ModelError, match="does not know"):
        recorded(Odd(), {"x": torch.randn(4)})


def test_a_missing_operator_is_noticed() -> None:
    """The comparison has teeth: a module that runs one activation more does not match."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.fc(x))

    records = recorded(Twice(), {"x": torch.randn(2, 3)})
    assert {(r.kind, r.shapes, r.attrs): n for r, n in records.items()} == {
        ("linear", ((2, 3),), (4, 1)): 1,
        ("relu", ((2, 4),), ()): 1,
    }
