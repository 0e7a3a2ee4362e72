"""Layers as nested tuples of plain values: equal exactly when the layers are, and much faster to hash and compare.

Values of ``arch`` hash and compare in Python, field by field; plain tuples do so in C.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from archsearch.arch.values import (
    Attention,
    Block,
    FeedForward,
    Layer,
    NormOnly,
    ResBlock,
    Separable,
    Shortcut,
    Slot,
    SpatialAttention,
    Transformer,
    TransformerBlock,
)


def _plain(cls: type) -> Callable[[Any], Hashable]:
    """All fields of a value that holds plain fields only, as one tuple."""
    names = [field.name for field in fields(cls)]
    return attrgetter(*names) if len(names) > 1 else attrgetter(*names, "__class__")


_SEPARABLE, _FEED_FORWARD = _plain(Separable), _plain(FeedForward)
_SLOTS: dict[type, Callable[[Any], Hashable]] = {Attention: _plain(Attention), NormOnly: _plain(NormOnly)}


def _residual(block: ResBlock) -> Hashable:
    separable = block.separable
    return ("residual", block.channels, None if separable is None else _SEPARABLE(separable))


def _transformer(block: Transformer) -> Hashable:
    return (block.width, block.linear_projection, *[_inner(inner) for inner in block.blocks])


def _inner(block: TransformerBlock) -> Hashable:
    ff = block.feed_forward
    return (_slot(block.first), _slot(block.second), None if ff is None else _FEED_FORWARD(ff))


def _slot(slot: Slot | None) -> Hashable:
    return None if slot is None else _SLOTS[type(slot)](slot)


_BLOCKS: dict[type, Callable[[Any], Hashable]] = {
    ResBlock: _residual,
    Transformer: _transformer,
    Shortcut: _plain(Shortcut),
    SpatialAttention: _plain(SpatialAttention),
}


def block_key(block: Block) -> Hashable:
    """The key of one block."""
    return _BLOCKS[type(block)](block)


def layer_key(layer: Layer) -> Hashable:
    """The key of a layer."""
    return tuple([_BLOCKS[type(block)](block) for block in layer])
