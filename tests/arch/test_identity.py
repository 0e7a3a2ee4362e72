from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import (
    Architecture,
    Attention,
    FeedForward,
    ResBlock,
    Separable,
    Transformer,
    TransformerBlock,
    UNet,
    arch_id,
    from_json,
    load_preset,
    preset_names,
    to_json,
)
from archsearch.cost import count
from tests.strategies import decoders, text_encoders, unets

SD15 = load_preset("sd15").architecture
assert isinstance(SD15, UNet)
SELF = Attention(to="self", heads=8, head_dim=160)
TEXT = Attention(to="text", heads=8, head_dim=160)


def with_middle(*blocks: Any) -> UNet:
    return replace(SD15, middle=blocks)


def test_form() -> None:
    assert len(arch_id(SD15)) == 12
    assert int(arch_id(SD15), 16) >= 0


def test_ids_are_stable_over_releases() -> None:
    """Studies, scores and tables on disk refer to ids: changing this needs a new schema."""
    assert arch_id(load_preset("clip-vit-l14").architecture) == "6c747ed322c8"
    assert arch_id(SD15) == "00e5d0002254"


def test_presets_are_all_different() -> None:
    ids = {arch_id(load_preset(name).architecture) for name in preset_names()}
    assert len(ids) == len(preset_names())


@settings(deadline=None, max_examples=25)
@given(unets() | decoders() | text_encoders())
def test_the_id_survives_json(arch: Architecture) -> None:
    assert arch_id(from_json(to_json(arch))) == arch_id(arch)


def _transformer(*inner: TransformerBlock) -> Transformer:
    return Transformer(width=1280, blocks=inner)


SPELLINGS: dict[str, tuple[UNet, UNet]] = {
    "one key/value head per head": (
        with_middle(_transformer(TransformerBlock(first=SELF))),
        with_middle(_transformer(TransformerBlock(first=replace(SELF, kv_heads=8)))),
    ),
    "a lone attention in either slot": (
        with_middle(_transformer(TransformerBlock(first=TEXT))),
        with_middle(_transformer(TransformerBlock(second=TEXT))),
    ),
    "an empty transformer block": (
        with_middle(_transformer(TransformerBlock(first=SELF), TransformerBlock())),
        with_middle(_transformer(TransformerBlock(first=SELF))),
    ),
    "a ratio that gives the same width": (
        with_middle(_transformer(TransformerBlock(feed_forward=FeedForward(expansion=3.0)))),
        with_middle(_transformer(TransformerBlock(feed_forward=FeedForward(expansion=3.0001)))),
    ),
    "an expansion that gives the same width": (
        with_middle(ResBlock(channels=1280, separable=Separable(expansion=2.0))),
        with_middle(ResBlock(channels=1280, separable=Separable(expansion=2.0000001))),
    ),
    "numbers as integers": (SD15, replace(SD15, time=replace(SD15.time, freq_shift=0))),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_two_spellings_are_one_network(name: str) -> None:
    one, other = SPELLINGS[name]
    assert arch_id(one) == arch_id(other)
    assert count(one) == count(other)


DIFFERENT: dict[str, UNet] = {
    "depth 2": with_middle(_transformer(TransformerBlock(first=SELF), TransformerBlock(first=SELF))),
    "two transformers": with_middle(*[_transformer(TransformerBlock(first=SELF))] * 2),
    "self then text": with_middle(_transformer(TransformerBlock(first=SELF, second=TEXT))),
    "text then self": with_middle(_transformer(TransformerBlock(first=TEXT, second=SELF))),
    "shared": with_middle(_transformer(TransformerBlock(first=replace(SELF, shared_kv=True)))),
    "multi-query": with_middle(_transformer(TransformerBlock(first=replace(SELF, kv_heads=1)))),
    "relu": with_middle(_transformer(TransformerBlock(first=replace(SELF, scores="relu")))),
    "normed": with_middle(_transformer(TransformerBlock(first=replace(SELF, qk_norm="rms_norm")))),
    "no depth": with_middle(_transformer()),
    "linear": with_middle(Transformer(width=1280, linear_projection=True)),
    "no middle": with_middle(),
    "residual": with_middle(ResBlock(channels=1280)),
    "separable": with_middle(ResBlock(channels=1280, separable=Separable())),
    "separable without bias": with_middle(ResBlock(channels=1280, separable=Separable(bias=False))),
    "epsilon": replace(SD15, norm_eps=1e-6),
    "guidance condition": replace(SD15, time=replace(SD15.time, cond_width=256)),
}


def test_what_has_an_effect_has_another_id() -> None:
    ids = {name: arch_id(arch) for name, arch in DIFFERENT.items()}
    assert len(set(ids.values())) == len(ids)


@settings(deadline=None, max_examples=25)
@given(unets(), unets())
def test_equal_ids_cost_the_same(one: UNet, other: UNet) -> None:
    if arch_id(one) == arch_id(other):
        assert count(one) == count(other)
    else:
        assert one != other


@settings(deadline=None, max_examples=40)
@given(unets(), st.data())
def test_every_plain_field_of_the_network_counts(unet: UNet, data: st.DataObject) -> None:
    names = [f.name for f in fields(unet) if not is_dataclass(getattr(unet, f.name)) and f.name not in ("kind",)]
    name = data.draw(st.sampled_from(names))
    value = getattr(unet, name)
    changed: Any
    if isinstance(value, bool):
        changed = not value
    elif isinstance(value, (int, float)):
        changed = value + 1
    elif isinstance(value, str):
        changed = value + "x"
    elif isinstance(value, tuple):
        changed = (*value, *(value or (ResBlock(channels=8),)))
    else:
        changed = 77 if value is None else None
    assert arch_id(replace(unet, **{name: changed})) != arch_id(unet)
