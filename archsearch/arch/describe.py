"""Blocks in words: what one is, and how two of a kind differ."""

from __future__ import annotations

from archsearch.arch.values import (
    Attention,
    Block,
    FeedForward,
    Layer,
    NormOnly,
    ResBlock,
    Shortcut,
    Slot,
    Transformer,
    TransformerBlock,
)


def short_name(block: Block) -> str:
    """``residual``, ``separable residual``, ``1x1 shortcut``, ``transformer``, ``transformer of depth 3``, ..."""
    if isinstance(block, ResBlock):
        return "residual" if block.separable is None else "separable residual"
    if isinstance(block, Shortcut):
        return "1x1 shortcut"
    if isinstance(block, Transformer):
        depth = len(block.blocks)
        return "transformer" if depth == 1 else f"transformer of depth {depth}"
    return "spatial attention"


def layer_name(layer: Layer) -> str:
    """``residual + transformer``."""
    return " + ".join(short_name(block) for block in layer) or "no block"


def describe(block: Block) -> str:
    """One line with everything that was chosen, widths included."""
    if isinstance(block, ResBlock):
        if block.separable is None:
            return f"residual, {block.channels} channels"
        bias = "" if block.separable.bias else ", no bias"
        return f"separable residual, {block.channels} channels, expansion {block.separable.expansion:g}{bias}"
    if isinstance(block, Shortcut):
        return f"1x1 shortcut to {block.channels} channels"
    if isinstance(block, Transformer):
        return f"{short_name(block)}, width {block.width}: {transformer_content(block)}"
    return f"spatial attention, {block.heads} head{'s' if block.heads > 1 else ''}"


def transformer_content(block: Transformer, *, heads: bool = True) -> str:
    """``2 x (self-attention 8x40, attention to text 8x40, geglu x4)``, linear projections noted."""
    linear = ", linear projections" if block.linear_projection else ""
    if not block.blocks:
        return f"norm and projections only{linear}"
    groups: list[tuple[str, int]] = []
    for inner in block.blocks:
        text = transformer_block_content(inner, heads=heads)
        if groups and groups[-1][0] == text:
            groups[-1] = (text, groups[-1][1] + 1)
        else:
            groups.append((text, 1))
    return ", ".join(f"{count} x ({text})" if count > 1 else text for text, count in groups) + linear


def transformer_block_content(block: TransformerBlock, *, heads: bool = True) -> str:
    """``self-attention 8x40, attention to text 8x40, geglu x4``."""
    parts = [slot_name(slot, heads=heads) for slot in (block.first, block.second) if slot is not None]
    if block.feed_forward is not None:
        parts.append(feed_forward_name(block.feed_forward))
    return ", ".join(parts) or "nothing"


def slot_name(slot: Slot, *, heads: bool = True) -> str:
    """``self-attention 8x40``, with what departs from plain multi-head softmax attention."""
    if isinstance(slot, NormOnly):
        return "norm instead of self-attention"
    name = "self-attention" if slot.to == "self" else "attention to text"
    if heads:
        name += f" {slot.heads}x{slot.head_dim}"
    kv = slot.kv_heads
    special = [
        None if kv is None or kv == slot.heads else "multi-query" if kv == 1 else f"{kv} key/value heads",
        "shared keys and values" if slot.shared_kv else None,
        "relu scores" if slot.scores == "relu" else None,
        f"{slot.qk_norm} of queries and keys" if slot.qk_norm else None,
    ]
    told = [text for text in special if text]
    return f"{name} ({', '.join(told)})" if told else name


def feed_forward_name(ff: FeedForward) -> str:
    """``geglu x4``."""
    return f"{ff.activation} x{ff.expansion:g}"


def differences(a: Block, b: Block) -> list[str]:
    """How ``b`` departs from ``a``, in phrases; empty if they are equal."""
    if a == b:
        return []
    if isinstance(a, ResBlock) and isinstance(b, ResBlock):
        return _residual(a, b)
    if isinstance(a, Transformer) and isinstance(b, Transformer):
        return _transformer(a, b)
    if type(a) is type(b):
        return [f"{describe(a)} -> {describe(b)}"]
    if isinstance(a, ResBlock) and isinstance(b, Shortcut):
        width = [] if a.channels == b.channels else [_arrow("channels", a.channels, b.channels)]
        return ["residual block removed, its 1x1 shortcut stays", *width]
    if isinstance(a, Shortcut) and isinstance(b, ResBlock):
        return [f"1x1 shortcut replaced by {describe(b)}"]
    return [f"{describe(a)} replaced by {describe(b)}"]


def _arrow(what: str, a: object, b: object) -> str:
    return f"{what} {a} -> {b}"


def _residual(a: ResBlock, b: ResBlock) -> list[str]:
    told = []
    if a.channels != b.channels:
        told.append(_arrow("channels", a.channels, b.channels))
    if a.separable != b.separable:
        if b.separable is None:
            told.append("separable -> full convolutions")
        elif a.separable is None:
            expansion = b.separable.expansion
            told.append(f"full -> separable convolutions{'' if expansion == 1 else f', expansion {expansion:g}'}")
        else:
            told.append(_arrow("expansion", f"{a.separable.expansion:g}", f"{b.separable.expansion:g}"))
            if a.separable.bias != b.separable.bias:
                told.append("separable bias " + ("added" if b.separable.bias else "removed"))
    return told


def _transformer(a: Transformer, b: Transformer) -> list[str]:
    told = []
    if a.width != b.width:
        told.append(_arrow("width", a.width, b.width))
    if len(a.blocks) != len(b.blocks):
        told.append(_arrow("depth", len(a.blocks), len(b.blocks)))
    if a.linear_projection != b.linear_projection:
        told.append("1x1 -> linear projections" if b.linear_projection else "linear -> 1x1 projections")
    seen: list[str] = []
    for one, other in zip(a.blocks, b.blocks, strict=False):
        for text in _transformer_block(one, other):
            if text not in seen:
                seen.append(text)
    return told + seen


def _transformer_block(a: TransformerBlock, b: TransformerBlock) -> list[str]:
    told: list[str] = []
    traits: dict[str, list[str]] = {}  # one trait of several slots is told once
    for one, other in ((a.first, b.first), (a.second, b.second)):
        if one == other:
            continue
        if isinstance(one, Attention) and isinstance(other, Attention) and one.to == other.to:
            for trait in _slot_traits(one, other):
                traits.setdefault(trait, []).append(_SLOT[one.to])
        elif one is None and other is not None:
            told.append(f"{slot_name(other)} added")
        elif other is None and one is not None:
            told.append(f"{slot_name(one, heads=False)} removed")
        elif one is not None and other is not None:
            told.append(f"{slot_name(one, heads=False)} -> {slot_name(other)}")
    for trait, slots in traits.items():
        attentions = [slot for slot in (a.first, a.second) if isinstance(slot, Attention)]
        told.append(trait if len(slots) == len(attentions) else f"{trait} in {' and '.join(slots)}")
    if a.feed_forward != b.feed_forward:
        if b.feed_forward is None:
            told.append("feed-forward removed")
        elif a.feed_forward is None:
            told.append(f"feed-forward {feed_forward_name(b.feed_forward)} added")
        else:
            told.append(_arrow("feed-forward", feed_forward_name(a.feed_forward), feed_forward_name(b.feed_forward)))
    return told


_SLOT = {"self": "self-attention", "text": "attention to text"}


def _slot_traits(a: Attention, b: Attention) -> list[str]:
    told = []
    if a.head_dim != b.head_dim:
        told.append(_arrow("heads", f"{a.heads}x{a.head_dim}", f"{b.heads}x{b.head_dim}"))
    elif a.heads != b.heads:
        told.append(_arrow("heads", a.heads, b.heads))
    kv_a, kv_b = a.kv_heads or a.heads, b.kv_heads or b.heads
    if (kv_a == a.heads) != (kv_b == b.heads) or (kv_a != kv_b and kv_a != a.heads):
        told.append(_arrow("key/value heads", kv_a, kv_b))
    if a.shared_kv != b.shared_kv:
        told.append(("shared" if b.shared_kv else "separate") + " keys and values")
    if a.scores != b.scores:
        told.append(_arrow("scores", a.scores, b.scores))
    if a.qk_norm != b.qk_norm:
        told.append(_arrow("norm of queries and keys", a.qk_norm or "none", b.qk_norm or "none"))
    return told
