from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from archsearch.arch.diffusers_config import from_diffusers
from archsearch.arch.diffusers_export import to_diffusers
from archsearch.cost import Conditions, count
from tests.arch.reference import TEXT, diffusers_reference
from tests.arch.strategies import dreamlite_configs, unet_configs

LATENT = (8, 8)
SETTINGS = settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _agrees(config: dict[str, Any]) -> None:
    assume(config["attention_head_dim"] != 5 or min(config["block_out_channels"]) >= 5)
    unet = from_diffusers(config)
    added = (unet.added.pooled_width, unet.added.ids) if unet.added else None
    expected = diffusers_reference(config, LATENT, added)
    got = count(unet, Conditions(latent=LATENT, text=TEXT))
    assert (got.params, got.macs) == (expected.params, expected.macs)


@SETTINGS
@given(unet_configs())
def test_counts_of_random_unets_are_exact(config: dict[str, Any]) -> None:
    _agrees(config)


@SETTINGS
@given(dreamlite_configs())
def test_counts_of_random_dreamlites_are_exact(config: dict[str, Any]) -> None:
    _agrees(config)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(unet_configs(), dreamlite_configs()))
def test_round_trip(config: dict[str, Any]) -> None:
    unet = from_diffusers(config)
    written = json.loads(json.dumps(to_diffusers(unet)))
    assert from_diffusers(written) == unet
