"""Keys of layers are equal exactly when the layers are."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import Layer, ResBlock, Transformer, TransformerBlock
from archsearch.cost.keys import block_key, layer_key
from tests.strategies import layers


@settings(max_examples=200, deadline=None)
@given(a=layers(True), b=layers(True))
def test_equal_keys_mean_equal_layers(a: Layer, b: Layer) -> None:
    assert (layer_key(a) == layer_key(b)) == (a == b)
    assert hash(layer_key(a)) == hash(layer_key(tuple(a)))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_blocks_that_differ_in_one_field(data: st.DataObject) -> None:
    """Any two blocks out of two layers, so that near misses are common."""
    blocks = [*data.draw(layers(True)), *data.draw(layers(True))]
    for a in blocks:
        for b in blocks:
            assert (block_key(a) == block_key(b)) == (a == b)


def test_no_field_is_forgotten() -> None:
    """These three keys are written out by hand: a new field has to be added to them."""
    assert {field.name for field in fields(ResBlock)} == {"kind", "channels", "separable"}
    assert {field.name for field in fields(Transformer)} == {"kind", "width", "blocks", "linear_projection"}
    assert {field.name for field in fields(TransformerBlock)} == {"first", "second", "feed_forward"}
