"""diffusers configs -> architectures: ``UNet2DConditionModel`` and ``DreamLiteUNetModel``.

What the config builds is followed, not what its keys are called: ``attention_head_dim`` is the number of heads;
``only_cross_attention`` gives two attentions to the text and leaves the middle alone; a transformer of depth 0 keeps
its norm and projections; heads that do not divide the channels give a narrower inner width; the middle's depth is
the first entry of the last stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from archsearch.arch.check import check
from archsearch.arch.codec import FieldError
from archsearch.arch.diffusers_keys import DREAMLITE, UNDERSTOOD, Keys, boolean, integer
from archsearch.arch.values import (
    AddedEmbedding,
    Attention,
    Downsample,
    FeedForward,
    Layer,
    NormOnly,
    QkNorm,
    ResBlock,
    Separable,
    Slot,
    Stage,
    TextProjection,
    TimeEmbedding,
    Transformer,
    TransformerBlock,
    UNet,
    Upsample,
)
from archsearch.errors import ArchError, unknown_name
from archsearch.files import KeyPath, Locate

UNET_CLASS = "UNet2DConditionModel"
DREAMLITE_CLASS = "DreamLiteUNetModel"
DREAMLITE_SEPARABLE = Separable(expansion=2.0, bias=False)
ACTIVATIONS: dict[str | None, Any] = {"silu": "silu", "swish": "silu", "gelu": "gelu", "relu": "relu", "mish": "mish"}

# Block type -> what follows a residual block: nothing, a transformer, or one without self-attention.
_Attends = Literal["no", "yes", "text_only"]
_DOWN: dict[str, _Attends] = {"CrossAttnDownBlock2D": "yes", "DownBlock2D": "no"}
_UP: dict[str, _Attends] = {"CrossAttnUpBlock2D": "yes", "UpBlock2D": "no"}
_MIDDLE: dict[str | None, str | None] = {"UNetMidBlock2DCrossAttn": "attention", "UNetMidBlock2D": "plain", None: None}
_LITE_DOWN: dict[str, _Attends] = {
    **_DOWN,
    "DreamLiteCrossAttnDownBlock2D": "yes",
    "DreamLiteDownBlock2D": "no",
    "DreamLiteCrossAttnNoSelfAttnDownBlock2D": "text_only",
    "CrossAttnDownRemoveSelfAttnBlock2D": "text_only",
}
_LITE_UP: dict[str, _Attends] = {
    **_UP,
    "DreamLiteCrossAttnUpBlock2D": "yes",
    "DreamLiteUpBlock2D": "no",
    "DreamLiteCrossAttnNoSelfAttnUpBlock2D": "text_only",
    "CrossAttnUpRemoveSelfAttnBlock2D": "text_only",
    "CrossAttnUpRemoveSelfAttnBlock2DV1": "text_only",
}
_LITE_MIDDLE: dict[str | None, str | None] = {
    "DreamLiteUNetMidBlock2DCrossAttn": "attention",
    "UNetMidBlock2DCrossAttn": "attention",
    None: None,
}


def from_diffusers(config: dict[str, Any], where: str | Locate = "") -> UNet:
    """The UNet that diffusers builds from ``config`` (the content of its ``config.json``).

    Args:
        config: keys of the class named by ``_class_name`` (``UNet2DConditionModel`` if absent).
        where: the file or argument to name in errors, or a function from key path to that.

    Raises:
        ArchError: a key that the vocabulary does not cover, or a value that diffusers could not build.
    """
    try:
        if not isinstance(config, dict):
            raise FieldError("a diffusers config is a mapping", (), type(config).__name__)
        name = config.get("_class_name", UNET_CLASS)
        if name not in (UNET_CLASS, DREAMLITE_CLASS):
            raise FieldError("class not covered", ("_class_name",), repr(name), f"{UNET_CLASS}, {DREAMLITE_CLASS}")
        unet = _Reader(config, dreamlite=name == DREAMLITE_CLASS).unet()
    except FieldError as problem:
        raise problem.located(where) from None
    try:
        check(unet)
    except ArchError as problem:  # key paths of the value mean nothing to the reader of a config
        place = None if callable(where) else where or None
        what = f"the network of this config does not fit together: {problem.what} ({problem.where})"
        raise ArchError(what, where=place or (where(()) if callable(where) else None), got=problem.got,
                        allowed=problem.allowed) from None  # fmt: skip
    return unet


@dataclass(frozen=True)
class _Attending:
    """What the transformers of one half of a stage have in common."""

    heads: int
    slots: tuple[Slot, Slot]
    head_dim: int


class _Reader:
    def __init__(self, config: dict[str, Any], *, dreamlite: bool) -> None:
        self.dreamlite = dreamlite
        self.keys = keys = Keys(config, DREAMLITE if dreamlite else UNDERSTOOD)
        channels = keys.items("block_out_channels")
        if not channels:
            raise FieldError("a UNet needs at least one stage", ("block_out_channels",), "an empty list")
        self.count = count = len(channels)
        self.channels = [integer(c, ("block_out_channels", i)) for i, c in enumerate(channels)]
        self.layers = [
            integer(n, ("layers_per_block", i), 0) for i, n in enumerate(keys.per_stage("layers_per_block", count))
        ]
        for i, layers in enumerate(self.layers):
            if layers == 0 and self.channels[i] != self.channels[max(i - 1, 0)]:
                raise FieldError("a stage without layers cannot change its width", ("layers_per_block", i), 0, ">= 1")
        self.only_text = [
            boolean(flag, ("only_cross_attention", i))
            for i, flag in enumerate(keys.per_stage("only_cross_attention", count))
        ]
        self.linear = keys.boolean("use_linear_projection")
        self.separable = DREAMLITE_SEPARABLE if dreamlite and keys.boolean("use_sep_conv") else None
        self.expansion = keys.number("ff_mult") if dreamlite else 4.0
        self.kv_heads = keys.optional_integer("num_kv_heads") if dreamlite else None
        self.qk_norm: QkNorm | None = None
        if dreamlite:
            self.qk_norm = keys.choice("qk_norm", {None: None, "rms_norm": "rms_norm", "layer_norm": "layer_norm"})

    def unet(self) -> UNet:
        keys, channels = self.keys, self.channels
        downs, ups = self._types("down_block_types"), self._types("up_block_types")
        stages = tuple(self._stage(s, downs[s], ups[self.count - 1 - s]) for s in range(self.count))
        return UNet(
            in_channels=keys.integer("in_channels"),
            out_channels=keys.integer("out_channels"),
            conv_in_channels=channels[0],
            conv_in_kernel=keys.integer("conv_in_kernel"),
            conv_out_kernel=keys.integer("conv_out_kernel"),
            text_width=self._text_width(),
            text_projection=self._text_projection(),
            time=TimeEmbedding(
                input_width=channels[0],
                width=keys.optional_integer("time_embedding_dim") or 4 * channels[0],
                cond_width=keys.optional_integer("time_cond_proj_dim"),
                flip_sin_to_cos=keys.boolean("flip_sin_to_cos"),
                freq_shift=keys.number("freq_shift"),
            ),
            added=self._added(),
            time_shift=self._time_shift(downs, ups),
            stages=stages,
            middle=self._middle(),
            activation=self._activation(),
            norm_groups=keys.integer("norm_num_groups"),
            norm_eps=keys.number("norm_eps"),
            upcast_attention=keys.boolean("upcast_attention"),
        )

    def _time_shift(self, downs: list[_Attends], ups: list[_Attends]) -> Any:
        key = "resnet_time_scale_shift"
        shift = self.keys.choice(key, {"default": "add", "scale_shift": "scale_shift"})
        if shift == "add" or not self.dreamlite:
            return shift
        # DreamLite's stages with attention do not pass this key on to their residual blocks; the others do.
        halves = [attends for attends, layers in zip(downs, self.layers, strict=True) if layers] + ups
        plain = "no" in halves or self.keys["mid_block_type"] is not None
        attending = any(attends != "no" for attends in halves)
        if plain and attending:
            raise FieldError("not covered: DreamLite uses it in only some of its blocks", (key,), "scale_shift",
                             "default")  # fmt: skip
        return shift if plain else "add"

    def _activation(self) -> Any:
        name = self.keys["act_fn"]
        key = name.lower() if isinstance(name, str) else name
        if not isinstance(key, str) or key not in ACTIVATIONS:
            raise FieldError("not covered", ("act_fn",), repr(name), ", ".join(map(str, ACTIVATIONS)))
        return ACTIVATIONS[key]

    def _types(self, key: str) -> list[_Attends]:
        up = key == "up_block_types"
        known = (_LITE_UP if up else _LITE_DOWN) if self.dreamlite else (_UP if up else _DOWN)
        result = []
        for i, name in enumerate(self.keys.items(key, self.count)):
            plain = name
            if isinstance(name, str) and not self.dreamlite:
                plain = name.removeprefix("UNetRes")
            if not isinstance(plain, str) or plain not in known:
                raise FieldError(unknown_name("block type", str(name), known), (key, i))
            result.append(known[plain])
        return result

    def _stage(self, s: int, down: _Attends, up: _Attends) -> Stage:
        channels, last = self.channels[s], self.count - 1
        layers = self.layers[s]
        return Stage(
            down=self._half(s, layers, down, "down"),
            up=self._half(s, layers + 1, up, "up"),
            downsample=None if s == last else Downsample(channels=channels),
            upsample=None if s == 0 else Upsample(channels=channels),
        )

    def _half(self, s: int, layers: int, attends: _Attends, half: str) -> tuple[Layer, ...]:
        block = ResBlock(channels=self.channels[s], separable=self.separable)
        if attends == "no":
            return ((block,),) * layers
        depths = self._depths(s, layers, half)
        attending = self._attending(s, attends, middle=False)
        return tuple((block, self._transformer(attending, depth)) for depth in depths)

    def _depths(self, s: int, layers: int, half: str) -> list[int]:
        """Depth of each transformer of a half stage, indexed just as diffusers does."""
        key = "transformer_layers_per_block"
        entries = self.keys[key]
        index = s
        if half == "up" and self.keys["reverse_transformer_layers_per_block"] is not None:
            key = "reverse_transformer_layers_per_block"
            entries = self.keys.items(key)
            index = self.count - 1 - s
        elif isinstance(entries, (list, tuple)):
            nested = any(isinstance(entry, list) for entry in entries)
            if isinstance(entries, list) and nested and self.keys["reverse_transformer_layers_per_block"] is None:
                raise FieldError("nested depths need reverse_transformer_layers_per_block", (key,), "null")
            if half == "up":
                index = len(entries) - self.count + s  # reversed first, then indexed from the coarsest stage
        if not isinstance(entries, (list, tuple)):
            return [integer(entries, (key,), 0)] * layers
        if not 0 <= index < len(entries):
            raise FieldError(
                "must have one entry per stage", (key,), f"{len(entries)} entries", f"{self.count} entries"
            )
        return self._per_layer(entries[index], layers, (key, index))

    def _per_layer(self, entry: Any, layers: int, path: KeyPath) -> list[int]:
        if not isinstance(entry, (list, tuple)):
            return [integer(entry, path, 0)] * layers
        if len(entry) < layers:
            raise FieldError("must have one entry per layer", path, f"{len(entry)} entries", f">= {layers} entries")
        return [integer(depth, (*path, i), 0) for i, depth in enumerate(entry[:layers])]

    def _attending(self, s: int, attends: _Attends, *, middle: bool) -> _Attending:
        heads = integer(self.keys.per_stage("attention_head_dim", self.count)[s], ("attention_head_dim", s))
        head_dim = self.channels[s] // heads
        if head_dim < 1:
            raise FieldError("more heads than channels", ("attention_head_dim", s), heads, f"<= {self.channels[s]}")

        def attention(to: Literal["self", "text"]) -> Attention:
            return Attention(to=to, heads=heads, head_dim=head_dim, kv_heads=self.kv_heads, qk_norm=self.qk_norm)

        first: Slot = attention("text" if self.only_text[s] and not middle else "self")
        if attends == "text_only":
            first = NormOnly()
        return _Attending(heads, (first, attention("text")), head_dim)

    def _transformer(self, attending: _Attending, depth: int) -> Transformer:
        heads = attending.heads
        if depth and self.kv_heads is not None and heads % self.kv_heads:
            raise FieldError("must divide the heads", ("num_kv_heads",), self.kv_heads, f"a divisor of {heads}")
        first, second = attending.slots
        block = TransformerBlock(first=first, second=second, feed_forward=FeedForward(expansion=self.expansion))
        return Transformer(
            width=attending.heads * attending.head_dim, blocks=(block,) * depth, linear_projection=self.linear
        )

    def _middle(self) -> Layer:
        kind = self.keys.choice("mid_block_type", _LITE_MIDDLE if self.dreamlite else _MIDDLE)
        if kind is None:
            return ()
        last = self.count - 1
        block = ResBlock(channels=self.channels[last], separable=self.separable)
        if kind == "plain":
            return (block,)
        key = "transformer_layers_per_block"
        count = self.keys.integer("num_mid_layers", 0) if self.dreamlite else 1
        entries = self.keys[key]
        if isinstance(entries, (list, tuple)):
            if not entries:
                raise FieldError("must have one entry per stage", (key,), "0 entries", f"{self.count} entries")
            depths = self._per_layer(entries[-1], count, (key, len(entries) - 1))
        else:
            depths = self._per_layer(entries, count, (key,))
        attending = self._attending(last, "yes", middle=True)
        layer: Layer = (block,)
        for depth in depths:
            layer = (*layer, self._transformer(attending, depth), block)
        return layer

    def _text_width(self) -> int:
        key = "cross_attention_dim"
        widths = {integer(width, (key,)) for width in self.keys.per_stage(key, self.count)}
        if len(widths) > 1:
            raise FieldError("not covered: text widths that differ between stages", (key,), "a list",
                             "one integer")  # fmt: skip
        return widths.pop()

    def _text_projection(self) -> TextProjection | None:
        width = self.keys.optional_integer("encoder_hid_dim")
        allowed: dict[str | None, Any] = {None: None, "text_proj": None}
        if self.dreamlite:
            allowed["text_proj_rms"] = "rms_norm"
        norm = self.keys.choice("encoder_hid_dim_type", allowed)
        if width is None:
            if self.keys["encoder_hid_dim_type"] is not None:
                raise FieldError("needed with encoder_hid_dim_type", ("encoder_hid_dim",), "null", "an integer")
            return None
        return TextProjection(input_width=width, norm=norm)

    def _added(self) -> AddedEmbedding | None:
        allowed: dict[str | None, Any] = {None: None, "text_time": "text_time"}
        if self.dreamlite:
            allowed["time"] = "time"
        kind = self.keys.choice("addition_embed_type", allowed)
        if kind is None:
            return None
        time_width = self.keys.integer("addition_time_embed_dim")
        total = self.keys.integer("projection_class_embeddings_input_dim")
        if kind == "time":
            if total % time_width:
                raise FieldError("must be a multiple of addition_time_embed_dim",
                                 ("projection_class_embeddings_input_dim",), total, f"{time_width} x n")  # fmt: skip
            return AddedEmbedding(time_width=time_width, ids=total // time_width, pooled_width=0)
        return split_added(total, time_width)


def split_added(total: int, time_width: int) -> AddedEmbedding:
    """Divide the input of an added embedding between a pooled text embedding and numbers.

    diffusers keeps only the sum.  The pooled widths of the text encoders in use are tried first (SDXL's 2816 is
    1280 + 6 * 256, its refiner's 2560 is 1280 + 5 * 256); else as many of six numbers as fit.
    """
    for pooled in (1280, 768, 1024):
        rest = total - pooled
        if rest > 0 and rest % time_width == 0 and rest // time_width <= 8:
            return AddedEmbedding(time_width=time_width, ids=rest // time_width, pooled_width=pooled)
    if total <= time_width:
        path = ("projection_class_embeddings_input_dim",)
        raise FieldError("too small for a pooled text embedding and a number", path, total, f"> {time_width}")
    ids = min(6, (total - 1) // time_width)
    return AddedEmbedding(time_width=time_width, ids=ids, pooled_width=total - ids * time_width)
