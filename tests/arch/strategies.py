"""Random diffusers configs, small enough to build on the meta device in milliseconds."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def _depths(draw: st.DrawFn, layers: list[int], nested: bool) -> tuple[list[Any], list[Any] | None]:
    depth = st.integers(0, 2)
    down: list[Any] = []
    for count in layers:
        if nested and draw(st.booleans()):
            down.append([draw(depth) for _ in range(max(count, 1))])
        else:
            down.append(draw(depth))
    up: list[Any] | None = None
    if nested:
        up = []
        for count in reversed(layers):
            if draw(st.booleans()):
                up.append([draw(depth) for _ in range(count + 1)])
            else:
                up.append(draw(depth))
    return down, up


def _common(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 3))
    channels = [draw(st.sampled_from([8, 12, 16, 24])) for _ in range(count)]
    layers = [draw(st.integers(1, 2)) for _ in range(count)]
    for i in range(count):  # without layers a stage must keep its width
        if channels[i] == channels[max(i - 1, 0)] and draw(st.integers(0, 5)) == 0:
            layers[i] = 0
    down, up = _depths(draw, layers, draw(st.booleans()))
    config: dict[str, Any] = {
        "in_channels": draw(st.integers(1, 9)),
        "out_channels": draw(st.integers(1, 8)),
        "block_out_channels": channels,
        "layers_per_block": layers if len(set(layers)) > 1 or draw(st.booleans()) else layers[0],
        "norm_num_groups": draw(st.sampled_from([1, 2, 4])),
        "cross_attention_dim": draw(st.sampled_from([4, 10, 16])),
        "transformer_layers_per_block": down if up or draw(st.booleans()) else draw(st.integers(0, 2)),
        "reverse_transformer_layers_per_block": up,
        "only_cross_attention": draw(st.one_of(st.booleans(), st.lists(st.booleans(), min_size=count, max_size=count))),
        "use_linear_projection": draw(st.booleans()),
        "act_fn": draw(st.sampled_from(["silu", "swish", "gelu", "relu", "mish"])),
        "resnet_time_scale_shift": draw(st.sampled_from(["default", "scale_shift"])),
        "conv_in_kernel": draw(st.sampled_from([1, 3, 5])),
        "conv_out_kernel": draw(st.sampled_from([1, 3])),
        "upcast_attention": draw(st.booleans()),
        "time_embedding_dim": draw(st.sampled_from([None, 20])),
        "time_cond_proj_dim": draw(st.sampled_from([None, 6])),
        "flip_sin_to_cos": draw(st.booleans()),
        "freq_shift": draw(st.sampled_from([0, 1])),
        "norm_eps": draw(st.sampled_from([1e-5, 1e-6])),
    }
    return config


def _added(draw: st.DrawFn, config: dict[str, Any], kinds: list[str | None], projections: list[str | None]) -> None:
    kind = draw(st.sampled_from(kinds))
    if kind is not None:
        width = draw(st.sampled_from([4, 8]))
        rest = 0 if kind == "time" else draw(st.integers(1, 9))
        config |= {
            "addition_embed_type": kind,
            "addition_time_embed_dim": width,
            "projection_class_embeddings_input_dim": width * draw(st.integers(1, 7)) + rest,
        }
    projection = draw(st.sampled_from(projections))
    if projection is not None:
        config |= {"encoder_hid_dim": draw(st.sampled_from([6, 12])), "encoder_hid_dim_type": projection}


@st.composite
def unet_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A config of ``UNet2DConditionModel``."""
    config = _common(draw)
    count = len(config["block_out_channels"])
    heads = [draw(st.integers(1, 5)) for _ in range(count)]
    config |= {
        "_class_name": "UNet2DConditionModel",
        "down_block_types": [draw(st.sampled_from(["CrossAttnDownBlock2D", "DownBlock2D"])) for _ in range(count)],
        "up_block_types": [draw(st.sampled_from(["CrossAttnUpBlock2D", "UpBlock2D"])) for _ in range(count)],
        "mid_block_type": draw(st.sampled_from(["UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None])),
        "attention_head_dim": heads if draw(st.booleans()) else heads[0],
    }
    _added(draw, config, [None, "text_time"], [None, "text_proj"])
    return config


_LITE_DOWN = ["DreamLiteCrossAttnDownBlock2D", "DreamLiteCrossAttnNoSelfAttnDownBlock2D", "DreamLiteDownBlock2D",
              "CrossAttnDownRemoveSelfAttnBlock2D"]  # fmt: skip
_LITE_UP = ["DreamLiteCrossAttnUpBlock2D", "DreamLiteCrossAttnNoSelfAttnUpBlock2D", "DreamLiteUpBlock2D",
            "CrossAttnUpRemoveSelfAttnBlock2DV1"]  # fmt: skip


@st.composite
def dreamlite_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A config of ``DreamLiteUNetModel``."""
    config = _common(draw)
    count = len(config["block_out_channels"])
    kv_heads = draw(st.sampled_from([None, 1, 2]))
    heads = [draw(st.sampled_from([2, 4])) for _ in range(count)]
    middle = draw(st.integers(0, 2))
    last = config["transformer_layers_per_block"]
    if isinstance(last, list) and isinstance(last[-1], list):
        middle = min(middle, len(last[-1]))
    config |= {
        "_class_name": "DreamLiteUNetModel",
        "down_block_types": [draw(st.sampled_from(_LITE_DOWN)) for _ in range(count)],
        "up_block_types": [draw(st.sampled_from(_LITE_UP)) for _ in range(count)],
        "mid_block_type": draw(st.sampled_from(["DreamLiteUNetMidBlock2DCrossAttn", "UNetMidBlock2DCrossAttn", None])),
        "attention_head_dim": heads if draw(st.booleans()) else heads[0],
        "qk_norm": draw(st.sampled_from([None, "rms_norm", "layer_norm"])),
        "use_sep_conv": draw(st.booleans()),
        "ff_mult": draw(st.sampled_from([1, 3, 4, 6])),
        "num_kv_heads": kv_heads,
        "num_mid_layers": middle,
    }
    kinds = {"no" if name.removeprefix("DreamLite").startswith(("Down", "Up")) else "yes"
             for name in [*config["down_block_types"], *config["up_block_types"]]}  # fmt: skip
    if len(kinds) > 1 or (kinds == {"yes"} and config["mid_block_type"] is not None):
        config["resnet_time_scale_shift"] = "default"  # DreamLite would use the other in only some blocks
    _added(draw, config, [None, "text_time", "time"], [None, "text_proj", "text_proj_rms"])
    return config
