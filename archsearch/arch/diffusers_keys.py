"""Typed, strict reading of a diffusers config: every key is understood, without effect, or refused by name."""

from __future__ import annotations

from typing import Any

from archsearch.arch.codec import FieldError
from archsearch.errors import unknown_name
from archsearch.files import KeyPath, type_name

UNDERSTOOD: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "only_cross_attention": False,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "reverse_transformer_layers_per_block": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "attention_head_dim": 8,
    "use_linear_projection": False,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "upcast_attention": False,
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "projection_class_embeddings_input_dim": None,
}
DREAMLITE: dict[str, Any] = {
    **UNDERSTOOD,
    "down_block_types": (
        "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
        "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
        "DreamLiteCrossAttnDownBlock2D",
    ),
    "mid_block_type": "DreamLiteUNetMidBlock2DCrossAttn",
    "up_block_types": (
        "DreamLiteCrossAttnUpBlock2D",
        "DreamLiteCrossAttnNoSelfAttnUpBlock2D",
        "DreamLiteUpBlock2D",
    ),
    "block_out_channels": (320, 640, 1280),
    "cross_attention_dim": 2048,
    "attention_head_dim": 64,
    "qk_norm": "rms_norm",
    "use_sep_conv": True,
    "ff_mult": 6,
    "num_kv_heads": 1,
    "num_mid_layers": 1,
}
# Other values of these name networks outside the vocabulary.
FIXED: dict[str, Any] = {
    "center_input_sample": False,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "num_attention_heads": None,
    "dual_cross_attention": False,
    "class_embed_type": None,
    "num_class_embeds": None,
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "attention_type": "default",
    "class_embeddings_concat": False,
    "cross_attention_norm": None,
}
# Without effect on the network: conditions of use, training only, or read by blocks that are refused anyway.
# The second line is written by diffusers' EMA helper.
NO_EFFECT = frozenset(
    ("sample_size", "dropout", "mid_block_only_cross_attention", "addition_embed_type_num_heads",
     "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup")
)  # fmt: skip


class Keys:
    """The understood keys of one config, defaults filled in."""

    def __init__(self, config: dict[str, Any], defaults: dict[str, Any]) -> None:
        for key, value in config.items():
            if not isinstance(key, str):
                raise FieldError("a key must be a string", (), repr(key))
            if key.startswith("_") or key in NO_EFFECT or key in defaults:
                continue
            if key not in FIXED:
                raise FieldError(unknown_name("key", key, [*defaults, *FIXED]), (key,))
            if value != FIXED[key] or isinstance(value, bool) != isinstance(FIXED[key], bool):
                raise FieldError("not covered", (key,), _show(value), _show(FIXED[key]))
        self._values = {key: config.get(key, default) for key, default in defaults.items()}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def integer(self, key: str, low: int = 1) -> int:
        """An integer of at least ``low``."""
        return integer(self[key], (key,), low)

    def optional_integer(self, key: str) -> int | None:
        """A positive integer or None."""
        return None if self[key] is None else self.integer(key)

    def number(self, key: str) -> float:
        """A number (no boolean)."""
        value = self[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise FieldError("must be a number", (key,), _show(value))
        return float(value)

    def boolean(self, key: str) -> bool:
        """A boolean."""
        return boolean(self[key], (key,))

    def choice(self, key: str, allowed: dict[str | None, Any]) -> Any:
        """What one of a few names (or null) stands for."""
        value = self[key]
        if (value is not None and not isinstance(value, str)) or value not in allowed:
            names = ", ".join("null" if name is None else name for name in allowed)
            raise FieldError("not covered", (key,), _show(value), names)
        return allowed[value]

    def items(self, key: str, count: int | None = None) -> list[Any]:
        """A list, of ``count`` entries if given."""
        value = self[key]
        if not isinstance(value, (list, tuple)):
            raise FieldError("must be a list", (key,), _show(value))
        if count is not None and len(value) != count:
            raise FieldError("must have one entry per stage", (key,), f"{len(value)} entries", f"{count} entries")
        return list(value)

    def per_stage(self, key: str, count: int) -> list[Any]:
        """A list of ``count`` entries; a single value stands for all of them."""
        value = self[key]
        return self.items(key, count) if isinstance(value, (list, tuple)) else [value] * count


def integer(value: object, path: KeyPath, low: int = 1) -> int:
    """``value`` as an integer of at least ``low`` and at most a million."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError("must be an integer", path, _show(value), f">= {low}")
    if not low <= value <= 1_000_000:
        raise FieldError("out of range", path, _show(value), f">= {low} and <= 1000000")
    return value


def boolean(value: object, path: KeyPath) -> bool:
    """``value`` as a boolean."""
    if not isinstance(value, bool):
        raise FieldError("must be a boolean", path, _show(value))
    return value


def _show(value: object) -> str:
    if isinstance(value, (str, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**20 else "an integer of more than 20 digits"
    return type_name(value)
