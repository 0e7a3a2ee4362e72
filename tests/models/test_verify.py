"""Invariant 2: torch and fvcore agree with every operator, and what differs or is unknown is an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import nn

from archsearch.arch import Architecture, UNet
from archsearch.cost import Conditions, count
from archsearch.errors import CostError
from archsearch.models import counters, factory
from archsearch.models.verify import verify
from tests import strategies
from tests.models.networks import tiny_unet
from tests.models.test_record import examples


def assert_verified(arch: Architecture, conditions: Conditions) -> None:
    counted = count(arch, replace(conditions, passes=1))
    verification = verify(arch, conditions)
    assert verification.params == counted.params
    assert verification.macs == counted.macs
    assert verification.macs_without_attention == counted.macs_without_attention
    for check in verification.operators:
        assert check.macs == check.torch_macs == check.fvcore_macs > 0


@examples(8)
@given(strategies.unets(), strategies.conditions())
def test_random_unets_verify(arch: Architecture, conditions: Conditions) -> None:
    assert_verified(arch, conditions)


@examples(5)
@given(strategies.decoders() | strategies.text_encoders(), strategies.conditions())
def test_other_random_networks_verify(arch: Architecture, conditions: Conditions) -> None:
    assert_verified(arch, conditions)


def test_guidance_passes_do_not_change_what_is_verified() -> None:
    assert (
        verify(tiny_unet(), Conditions(latent=(8, 8), passes=2)).macs
        == count(tiny_unet(), Conditions(latent=(8, 8))).macs
    )


def test_a_module_with_other_parameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = factory.build

    def wider(arch: UNet, **options: Any) -> nn.Module:
        return real(replace(arch, out_channels=arch.out_channels + 1), **options)

    monkeypatch.setattr(factory, "build", wider)
    with pytest.raises(CostError, match="conv_out"):
        verify(tiny_unet(), Conditions(latent=(8, 8)))


def test_a_counter_that_differs_is_refused_and_names_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    real = counters.fvcore_macs

    def off_by_one(module: nn.Module, inputs: Any) -> dict[str, counters.ModuleMacs]:
        found = real(module, inputs)
        macs = found["mid_block.resnets.0.conv1"]
        found["mid_block.resnets.0.conv1"] = macs._replace(weighted=macs.weighted + 1)
        return found

    monkeypatch.setattr(counters, "fvcore_macs", off_by_one)
    with pytest.raises(CostError, match=r"mid_block\.resnets\.0\.conv1 .*fvcore counts other MACs"):
        verify(tiny_unet(), Conditions(latent=(8, 8)))


class Products(nn.Module):
    """Attention by hand, a fused one and baddbmm: 2 * 5 * 4 * 3 + 2 * 2 * 4 * 4 * 3 + 2 * 3 * 4 * 5 products."""

    def forward(self, a: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores = torch.bmm(a, a.transpose(1, 2)[:, :, :4])
        fused = F.scaled_dot_product_attention(q, q, q)
        bias = scores.new_zeros(1)
        return scores, fused, torch.baddbmm(bias, q[0], a.transpose(1, 2))


def test_products_by_hand() -> None:
    inputs = {"a": torch.empty(2, 5, 3, device="meta"), "q": torch.empty(1, 2, 4, 3, device="meta")}
    by_hand = 2 * 5 * 3 * 4 + 2 * (2 * 4 * 4 * 3) + 2 * 4 * 3 * 5
    assert counters.torch_macs(Products(), inputs)[""] == (0, by_hand)
    assert counters.fvcore_macs(Products(), inputs)[""] == (0, by_hand)


class Unknown(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, x)


def test_unknown_operators_are_errors_in_both_counters() -> None:
    inputs = {"x": torch.empty(3, 3, device="meta")}
    with pytest.raises(CostError, match="no formula"):
        counters.torch_macs(Unknown(), inputs)
    with pytest.raises(CostError, match="no handle"):
        counters.fvcore_macs(Unknown(), inputs)
