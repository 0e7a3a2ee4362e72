"""Architectures -> diffusers configs, where diffusers has the network; otherwise the place that it lacks is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from archsearch.arch.check import check
from archsearch.arch.codec import FieldError
from archsearch.arch.diffusers_config import DREAMLITE_CLASS, DREAMLITE_SEPARABLE, UNET_CLASS, from_diffusers
from archsearch.arch.values import (
    Attention,
    Layer,
    NormOnly,
    ResBlock,
    Transformer,
    TransformerBlock,
    UNet,
)
from archsearch.arch.walk import walk
from archsearch.errors import ArchError
from archsearch.files import KeyPath

_Half = Literal["down", "up"]


def to_diffusers(unet: UNet) -> dict[str, Any]:
    """The config with which diffusers builds ``unet``; ``_class_name`` says which class.

    diffusers keeps only the sum of an added embedding's widths, so its split between pooled text and numbers is
    not part of the config.

    Raises:
        ArchError: something that neither ``UNet2DConditionModel`` nor ``DreamLiteUNetModel`` can express, by place.
    """
    check(unet)
    try:
        config = _Writer(unet).config()
    except FieldError as problem:
        raise problem.located("no diffusers config") from None
    again = replace(from_diffusers(config, "the written config"), added=unet.added)
    if again != unet:
        raise ArchError("diffusers has no config for this network", got="a combination of parts that it lacks")
    return config


@dataclass(frozen=True)
class _Traits:
    """What is chosen once for a whole diffusers network."""

    dreamlite: bool
    separable: bool
    linear: bool
    expansion: float
    kv_heads: int | None
    qk_norm: str | None


class _Writer:
    def __init__(self, unet: UNet) -> None:
        self.unet = unet
        self.count = len(unet.stages)
        self.channels = [self._channels(s) for s in range(self.count)]
        self.traits = self._traits()

    def config(self) -> dict[str, Any]:
        unet, traits, channels = self.unet, self.traits, self.channels
        if unet.text_width is None:
            raise FieldError("diffusers' conditional UNets have a text width", ("text_width",), "null")
        if unet.conv_in_channels != channels[0]:
            raise FieldError("must equal the first stage's channels", ("conv_in_channels",), unet.conv_in_channels,
                             channels[0])  # fmt: skip
        if unet.time.input_width != channels[0]:
            raise FieldError("must equal the first stage's channels", ("time", "input_width"), unet.time.input_width,
                             channels[0])  # fmt: skip
        kinds = [(self._kind(s, "down"), self._kind(s, "up")) for s in range(self.count)]
        middle, middle_depths = self._middle()
        only_text = [self._only_text(s, middle=False) for s in range(self.count)]
        heads = [self._heads(s) for s in range(self.count)]
        config: dict[str, Any] = {
            "_class_name": DREAMLITE_CLASS if traits.dreamlite else UNET_CLASS,
            "in_channels": unet.in_channels,
            "out_channels": unet.out_channels,
            "flip_sin_to_cos": unet.time.flip_sin_to_cos,
            "freq_shift": _whole(unet.time.freq_shift),
            "down_block_types": [down for down, _ in kinds],
            "mid_block_type": middle,
            "up_block_types": [up for _, up in reversed(kinds)],
            "only_cross_attention": _one(only_text),
            "block_out_channels": channels,
            "layers_per_block": _one([len(stage.down) for stage in unet.stages]),
            "act_fn": unet.activation,
            "norm_num_groups": unet.norm_groups,
            "norm_eps": unet.norm_eps,
            "cross_attention_dim": unet.text_width,
            "attention_head_dim": _one(self._fill(heads)),
            "use_linear_projection": traits.linear,
            "upcast_attention": unet.upcast_attention,
            "resnet_time_scale_shift": "default" if unet.time_shift == "add" else unet.time_shift,
            "time_embedding_dim": None if unet.time.width == 4 * channels[0] else unet.time.width,
            "time_cond_proj_dim": unet.time.cond_width,
            "conv_in_kernel": unet.conv_in_kernel,
            "conv_out_kernel": unet.conv_out_kernel,
            **self._depths(middle_depths),
            **self._embeddings(),
        }
        if traits.dreamlite:
            config |= {
                "qk_norm": traits.qk_norm,
                "use_sep_conv": traits.separable,
                "ff_mult": _whole(traits.expansion),
                "num_kv_heads": traits.kv_heads,
                "num_mid_layers": max(len(middle_depths), 1) if middle is None else len(middle_depths),
            }
        return config

    def _channels(self, s: int) -> int:
        """The width that all parts of a stage share."""
        stage = self.unet.stages[s]
        layer = stage.up[0]
        channels = layer[0].channels if isinstance(layer[0], ResBlock) else 0
        for half, layers in (("down", stage.down), ("up", stage.up)):
            for j, blocks in enumerate(layers):
                path: KeyPath = ("stages", s, half, j)
                if not 1 <= len(blocks) <= 2 or not isinstance(blocks[0], ResBlock) or len(blocks) != _length(layers):
                    raise FieldError("a diffusers layer is one residual block, then a transformer in all or none",
                                     path, _kinds(blocks))  # fmt: skip
                if blocks[0].channels != channels:
                    raise FieldError("one width per stage", (*path, 0, "channels"), blocks[0].channels, channels)
                if len(blocks) == 2 and not isinstance(blocks[1], Transformer):
                    raise FieldError("a transformer follows the residual block", (*path, 1), blocks[1].kind)
        for name, sampler in (("downsample", stage.downsample), ("upsample", stage.upsample)):
            if sampler is not None and (sampler.separable or sampler.channels != channels):
                got = "separable" if sampler.separable else sampler.channels
                raise FieldError("a full convolution that keeps the stage's width", ("stages", s, name), got, channels)
        return channels

    def _traits(self) -> _Traits:
        """Collect what must be the same everywhere, and refuse what neither class has."""
        residuals: dict[Any, KeyPath] = {}
        linear: dict[bool, KeyPath] = {}
        slots: dict[tuple[int | None, str | None], KeyPath] = {}
        expansions: dict[float, KeyPath] = {}
        lite = self.unet.text_projection is not None and self.unet.text_projection.norm is not None
        lite |= self.unet.added is not None and self.unet.added.pooled_width == 0
        lite |= len([b for b in self.unet.middle if isinstance(b, Transformer)]) > 1
        for step in walk(self.unet):
            path = _path(step.place)
            if isinstance(step.value, ResBlock):
                residuals.setdefault(step.value.separable, path)
                if step.value.separable not in (None, DREAMLITE_SEPARABLE):
                    raise FieldError("separable convolutions expand by 2 and have no bias in diffusers",
                                     (*path, "separable"), repr(step.value.separable))  # fmt: skip
            elif isinstance(step.value, Transformer):
                linear.setdefault(step.value.linear_projection, path)
                for i, block in enumerate(step.value.blocks):
                    here = (*path, "blocks", i)
                    slots.setdefault(_slot_traits(block, here), here)
                    assert block.feed_forward is not None
                    expansions.setdefault(block.feed_forward.expansion, (*here, "feed_forward"))
                    lite |= isinstance(block.first, NormOnly)
        separable = _single(residuals, "full and separable convolutions do not mix in diffusers", None)
        kv_heads, qk_norm = _single(slots, "kv_heads and qk_norm are the same everywhere in diffusers", (None, None))
        expansion = _single(expansions, "one feed-forward expansion for the whole network in diffusers", 4.0)
        return _Traits(
            dreamlite=lite or separable is not None or kv_heads is not None or qk_norm is not None or expansion != 4.0,
            separable=separable is not None,
            linear=_single(linear, "one kind of projection for the whole network in diffusers", False),
            expansion=expansion,
            kv_heads=kv_heads,
            qk_norm=qk_norm,
        )

    def _transformers(self, s: int, half: _Half) -> list[Transformer]:
        layers = getattr(self.unet.stages[s], half)
        return [block for layer in layers for block in layer if isinstance(block, Transformer)]

    def _in_stage(self, s: int, *, middle: bool) -> list[Transformer]:
        found = self._transformers(s, "down") + self._transformers(s, "up")
        if middle and s == self.count - 1:
            found += [block for block in self.unet.middle if isinstance(block, Transformer)]
        return found

    def _kind(self, s: int, half: _Half) -> str:
        prefix, suffix = ("DreamLite" if self.traits.dreamlite else ""), half.capitalize()
        transformers = self._transformers(s, half)
        if not transformers:
            return f"{prefix}{suffix}Block2D"
        firsts = {type(block.first) for transformer in transformers for block in transformer.blocks}
        if len(firsts) > 1:
            raise FieldError("blocks with and without self-attention do not mix in a stage's half",
                             ("stages", s, half), "both", "one of them")  # fmt: skip
        return f"{prefix}CrossAttn{'NoSelfAttn' if NormOnly in firsts else ''}{suffix}Block2D"

    def _only_text(self, s: int, *, middle: bool) -> bool:
        blocks = [block for transformer in self._in_stage(s, middle=middle) for block in transformer.blocks]
        targets = {block.first.to for block in blocks if isinstance(block.first, Attention)}
        if len(targets) > 1:
            raise FieldError("the first attentions of a stage all attend to self or all to the text",
                             ("stages", s), "both", "one of them")  # fmt: skip
        return targets == {"text"}

    def _heads(self, s: int) -> int | None:
        """Heads of a stage (the middle's in the last); None where it attends nowhere."""
        channels = self.channels[s]
        transformers = self._in_stage(s, middle=True)
        heads = {
            (slot.heads, slot.head_dim)
            for transformer in transformers
            for block in transformer.blocks
            for slot in (block.first, block.second)
            if isinstance(slot, Attention)
        }
        for count, head_dim in heads:
            if len(heads) > 1 or head_dim != channels // count:
                raise FieldError("one number of heads per stage, of channels // heads each", ("stages", s),
                                 f"{count} heads of {head_dim}", f"heads of {channels} // heads")  # fmt: skip
        widths = {transformer.width for transformer in transformers}
        if not heads and widths:  # only transformers of depth 0: their width alone tells
            width = max(widths)
            found = next((n for n in range(1, channels + 1) if n * (channels // n) == width), None)
            if found is None:
                raise FieldError("no number of heads gives this width", ("stages", s), width)
            heads = {(found, channels // found)}
        for count, head_dim in heads:
            if widths != {count * head_dim}:
                raise FieldError("the inner width is heads * head_dim in diffusers", ("stages", s), max(widths),
                                 count * head_dim)  # fmt: skip
            return count
        return None

    def _fill(self, heads: list[int | None]) -> list[int]:
        known = [count for count in heads if count is not None]
        usual = known[0] if known else 8
        return [usual if count is None else count for count in heads]

    def _middle(self) -> tuple[str | None, list[int]]:
        """The middle's block type and the depths of its transformers."""
        blocks, traits = self.unet.middle, self.traits
        name = "DreamLiteUNetMidBlock2DCrossAttn" if traits.dreamlite else "UNetMidBlock2DCrossAttn"
        if not blocks:
            return None, []
        for i, block in enumerate(blocks):
            expected = ResBlock if i % 2 == 0 else Transformer
            if not isinstance(block, expected) or len(blocks) % 2 == 0:
                raise FieldError("diffusers' middle alternates: residual, transformer, residual, ...", ("middle",),
                                 _kinds(blocks))  # fmt: skip
            if isinstance(block, ResBlock) and block.channels != self.channels[-1]:
                raise FieldError("one width per stage", ("middle", i, "channels"), block.channels, self.channels[-1])
            for inner in block.blocks if isinstance(block, Transformer) else ():
                if not isinstance(inner.first, Attention) or inner.first.to != "self":
                    raise FieldError("diffusers' middle attends to itself first", ("middle", i), repr(inner.first))
        if len(blocks) == 1 and not traits.dreamlite:
            return "UNetMidBlock2D", []
        return name, [len(block.blocks) for block in blocks if isinstance(block, Transformer)]

    def _depths(self, middle: list[int]) -> dict[str, Any]:
        """``transformer_layers_per_block`` and its reverse, as short as they can be."""
        down: list[list[int]] = [[len(t.blocks) for t in self._transformers(s, "down")] for s in range(self.count)]
        up = [[len(t.blocks) for t in self._transformers(s, "up")] for s in reversed(range(self.count))]
        last = down[-1]
        for i, depth in enumerate(middle):
            if i < len(last) and last[i] != depth:
                raise FieldError("the middle's depth is that of the last stage's first layers in diffusers",
                                 ("middle",), depth, last[i])  # fmt: skip
        down[-1] = last + middle[len(last) :]
        short_down, short_up = [_shorten(entry) for entry in down], [_shorten(entry) for entry in up]
        both = [_merge(a, b) for a, b in zip(short_down, reversed(short_up), strict=True)]
        if all(isinstance(entry, int) or entry is None for entry in both):
            known = [entry for entry in both if isinstance(entry, int)]
            filled = [(known[0] if known else 1) if entry is None else entry for entry in both]
            return {"transformer_layers_per_block": _one(filled), "reverse_transformer_layers_per_block": None}
        return {
            "transformer_layers_per_block": [1 if entry is None else entry for entry in short_down],
            "reverse_transformer_layers_per_block": [1 if entry is None else entry for entry in short_up],
        }

    def _embeddings(self) -> dict[str, Any]:
        added, text = self.unet.added, self.unet.text_projection
        result: dict[str, Any] = {"addition_embed_type": None, "encoder_hid_dim": None, "encoder_hid_dim_type": None}
        if added is not None:
            result |= {
                "addition_embed_type": "text_time" if added.pooled_width else "time",
                "addition_time_embed_dim": added.time_width,
                "projection_class_embeddings_input_dim": added.input_width,
            }
        if text is not None:
            result["encoder_hid_dim"] = text.input_width
            result["encoder_hid_dim_type"] = "text_proj" if text.norm is None else "text_proj_rms"
        return result


def _slot_traits(block: TransformerBlock, path: KeyPath) -> tuple[int | None, str | None]:
    """(kv_heads, qk_norm) of a block that diffusers has; refuses any other."""
    ff = block.feed_forward
    if ff is None or ff.activation != "geglu":
        raise FieldError("diffusers' transformer blocks have a GEGLU feed-forward", (*path, "feed_forward"),
                         "null" if ff is None else ff.activation, "geglu")  # fmt: skip
    if block.first is None or not isinstance(block.second, Attention) or block.second.to != "text":
        raise FieldError("diffusers' transformer blocks have two slots, the second an attention to the text", path,
                         f"first {_slot(block.first)}, second {_slot(block.second)}")  # fmt: skip
    traits = set()
    for name, slot in (("first", block.first), ("second", block.second)):
        if isinstance(slot, NormOnly):
            continue
        if slot.shared_kv or slot.scores != "softmax":
            got = "shared keys and values" if slot.shared_kv else f"{slot.scores} scores"
            raise FieldError("not in diffusers", (*path, name), got, "softmax scores, separate keys and values")
        traits.add((slot.kv_heads, slot.qk_norm))
    if len(traits) > 1:
        raise FieldError("kv_heads and qk_norm are the same everywhere in diffusers", path, "two kinds")
    return next(iter(traits))


def _slot(slot: Attention | NormOnly | None) -> str:
    return "empty" if slot is None else "norm only" if isinstance(slot, NormOnly) else f"attention to {slot.to}"


def _single(found: dict[Any, KeyPath], what: str, default: Any) -> Any:
    if len(found) > 1:
        (_, _), (value, path) = list(found.items())[:2]
        raise FieldError(what, path, repr(value), repr(next(iter(found))))
    return next(iter(found), default)


def _path(place: Any) -> KeyPath:
    if place.half == "middle":
        return ("middle", place.index)
    return ("stages", place.stage, place.half, place.layer, place.index)


def _length(layers: tuple[Layer, ...]) -> int:
    return len(layers[0]) if layers else 0


def _kinds(blocks: Layer) -> str:
    return " + ".join(block.kind for block in blocks) or "nothing"


def _one(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _shorten(depths: list[int]) -> int | list[int] | None:
    return None if not depths else depths[0] if len(set(depths)) == 1 else depths


def _merge(a: int | list[int] | None, b: int | list[int] | None) -> int | list[int] | None:
    """One entry that serves both halves of a stage, or a list if there is none."""
    if a is None or b is None:
        return b if a is None else a
    return a if a == b and isinstance(a, int) else [0]


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
