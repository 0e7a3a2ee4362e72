"""Configs of the networks around the UNet: diffusers' ``AutoencoderKL`` and transformers' ``CLIPTextModel``."""

from __future__ import annotations

from typing import Any

from archsearch.arch.check import check
from archsearch.arch.codec import FieldError
from archsearch.arch.diffusers_keys import boolean, integer
from archsearch.arch.values import Block, Decoder, DecoderStage, ResBlock, SpatialAttention, TextEncoder, Upsample
from archsearch.files import Locate

DECODER_CLASS = "AutoencoderKL"
TEXT_MODELS = ("clip_text_model",)


def decoder_from_diffusers(config: dict[str, Any], where: str | Locate = "") -> Decoder:
    """The decoder half of an ``AutoencoderKL`` (``post_quant_conv``, 1x1 on the latent, is not part of it).

    Raises:
        ArchError: a key that the vocabulary does not cover.
    """
    try:
        decoder = _decoder(config)
    except FieldError as problem:
        raise problem.located(where) from None
    check(decoder, where)
    return decoder


def _decoder(config: dict[str, Any]) -> Decoder:
    channels = _items(config, "block_out_channels", (64,))
    widths = [integer(c, ("block_out_channels", i)) for i, c in enumerate(channels)]
    for i, name in enumerate(_items(config, "up_block_types", ("UpDecoderBlock2D",))):
        if name != "UpDecoderBlock2D":
            raise FieldError("block type not covered", ("up_block_types", i), repr(name), "UpDecoderBlock2D")
    _fixed(config, {"act_fn": ("silu", "swish")})
    layers = integer(config.get("layers_per_block", 1), ("layers_per_block",)) + 1
    top = widths[-1]
    middle: tuple[Block, ...] = (ResBlock(channels=top),)
    if boolean(config.get("mid_block_add_attention", True), ("mid_block_add_attention",)):
        middle = (*middle, SpatialAttention(heads=1))
    stages = tuple(
        DecoderStage(blocks=(ResBlock(channels=c),) * layers, upsample=Upsample(channels=c) if i else None)
        for i, c in reversed(list(enumerate(widths)))
    )
    return Decoder(
        latent_channels=integer(config.get("latent_channels", 4), ("latent_channels",)),
        out_channels=integer(config.get("out_channels", 3), ("out_channels",)),
        conv_in_channels=top,
        middle=(*middle, ResBlock(channels=top)),
        stages=stages,
        norm_groups=integer(config.get("norm_num_groups", 32), ("norm_num_groups",)),
    )


def text_encoder_from_transformers(config: dict[str, Any], where: str | Locate = "") -> TextEncoder:
    """The text encoder of a ``CLIPTextModel`` config.

    Raises:
        ArchError: a key that the vocabulary does not cover.
    """

    def size(key: str, default: int) -> int:
        return integer(config.get(key, default), (key,))

    try:
        _fixed(config, {"hidden_act": ("quick_gelu", "gelu"), "layer_norm_eps": (1e-5,)})
        encoder = TextEncoder(
            vocab=size("vocab_size", 49408),
            positions=size("max_position_embeddings", 77),
            width=size("hidden_size", 512),
            layers=size("num_hidden_layers", 12),
            heads=size("num_attention_heads", 8),
            ff_width=size("intermediate_size", 2048),
            activation=config.get("hidden_act", "quick_gelu"),
        )
    except FieldError as problem:
        raise problem.located(where) from None
    check(encoder, where)
    return encoder


def _items(config: dict[str, Any], key: str, default: tuple[Any, ...]) -> list[Any]:
    value = config.get(key, default)
    if not isinstance(value, (list, tuple)) or not value:
        raise FieldError("must be a list with entries", (key,), repr(value))
    return list(value)


def _fixed(config: dict[str, Any], allowed: dict[str, tuple[Any, ...]]) -> None:
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            raise FieldError("not covered", (key,), repr(config[key]), ", ".join(map(str, values)))
