"""The identity of an architecture: a hash of what has an effect, so that two spellings are one candidate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from archsearch.arch.values import (
    Architecture,
    Attention,
    ResBlock,
    Transformer,
    TransformerBlock,
)
from archsearch.arch.walk import hidden_channels

_SALT = "archsearch.architecture/1:"


def arch_id(arch: Architecture) -> str:
    """12 hexadecimal digits shared by all spellings of one network.

    Left out of the hash: how a ratio was written (only the width it gives counts), ``kv_heads`` equal to ``heads``,
    transformer blocks without content, and which of its two slots a lone attention stands in.
    """
    return hashlib.sha256((_SALT + _canonical(arch)).encode()).hexdigest()[:12]


def effect_key(part: Hashable) -> str:
    """A text that two parts of an architecture (blocks, samplers, layers) share when they have the same effect."""
    return _canonical(part)


@lru_cache(maxsize=65536)
def _canonical(value: Hashable) -> str:
    return json.dumps(_plain(value), separators=(",", ":"), sort_keys=True, allow_nan=False)


def _plain(value: Any) -> Any:
    """A value as canonical plain data; blocks come as their own (cached) JSON text."""
    if isinstance(value, tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, ResBlock):
        data: dict[str, Any] = {"kind": value.kind, "channels": value.channels}
        if value.separable is not None:
            data["hidden"] = hidden_channels(value)
            data["bias"] = value.separable.bias
        return data
    if isinstance(value, Transformer):
        inner = [plain for block in value.blocks if (plain := _transformer_block(block, value.width))]
        return {"kind": value.kind, "width": value.width, "blocks": inner, "linear": value.linear_projection}
    if isinstance(value, Attention):
        data = _record(value)
        data["kv_heads"] = value.kv_heads or value.heads
        return data
    if is_dataclass(value):
        return _record(value)
    return value


def _record(value: Any) -> dict[str, Any]:
    return {item.name: _field(getattr(value, item.name), str(item.type)) for item in fields(value)}


def _field(value: Any, annotation: str) -> Any:
    if annotation == "float":
        return float(value)
    return _plain(value)


def _transformer_block(block: TransformerBlock, width: int) -> list[Any]:
    parts: list[Any] = [_plain(slot) for slot in (block.first, block.second) if slot is not None]
    if block.feed_forward is not None:
        ff = block.feed_forward
        parts.append({"kind": "feed_forward", "inner": int(width * ff.expansion), "activation": ff.activation})
    return parts
