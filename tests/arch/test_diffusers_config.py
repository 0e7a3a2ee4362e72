from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.arch import (
    AddedEmbedding,
    Attention,
    NormOnly,
    ResBlock,
    Separable,
    TextProjection,
    Transformer,
    UNet,
    from_diffusers,
    load_preset,
    to_diffusers,
)
from archsearch.arch.diffusers_config import split_added
from archsearch.cost import Conditions, count
from archsearch.errors import ArchError
from tests.arch.reference import TEXT, diffusers_reference
from tests.arch.strategies import dreamlite_configs, unet_configs

EXACT = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
LATENTS = st.sampled_from([(8, 8), (5, 7), (12, 4)])
SMALL: dict[str, Any] = {
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 6,
    "attention_head_dim": 2,
}


def assert_exact(config: dict[str, Any], latent: tuple[int, int]) -> None:
    """Our counts, of the value and of the config written back from it, equal what diffusers builds and runs."""
    unet = from_diffusers(config)
    added = (unet.added.pooled_width, unet.added.ids) if unet.added else None
    expected = diffusers_reference(config, latent, added)
    got = count(unet, Conditions(latent=latent, text=TEXT))
    assert (got.params, got.macs) == (expected.params, expected.macs)


@settings(EXACT, max_examples=12)
@given(unet_configs(), LATENTS)
def test_counts_of_random_unets_are_exact(config: dict[str, Any], latent: tuple[int, int]) -> None:
    assert_exact(config, latent)


@settings(EXACT, max_examples=10)
@given(dreamlite_configs(), LATENTS)
def test_counts_of_random_dreamlites_are_exact(config: dict[str, Any], latent: tuple[int, int]) -> None:
    assert_exact(config, latent)


@pytest.mark.slow
@settings(EXACT, max_examples=400)
@given(unet_configs() | dreamlite_configs(), LATENTS)
def test_counts_of_many_random_configs_are_exact(config: dict[str, Any], latent: tuple[int, int]) -> None:
    assert_exact(config, latent)


@settings(EXACT, max_examples=6)
@given(unet_configs() | dreamlite_configs())
def test_diffusers_builds_the_same_from_the_written_config(config: dict[str, Any]) -> None:
    unet = from_diffusers(config)
    written = json.loads(json.dumps(to_diffusers(unet)))
    added = (unet.added.pooled_width, unet.added.ids) if unet.added else None
    assert diffusers_reference(written, (4, 4), added) == diffusers_reference(config, (4, 4), added)


@settings(EXACT, max_examples=200)
@given(st.one_of(unet_configs(), dreamlite_configs()))
def test_round_trip(config: dict[str, Any]) -> None:
    unet = from_diffusers(config)
    assert from_diffusers(json.loads(json.dumps(to_diffusers(unet)))) == unet


class TestSurprises:
    """What diffusers does where its keys say something else."""

    def test_attention_head_dim_is_the_number_of_heads(self) -> None:
        first = _first(from_diffusers(SMALL))
        assert isinstance(first, Attention)
        assert (first.heads, first.head_dim) == (2, 4)

    def test_heads_that_do_not_divide_the_channels_narrow_the_inner_width(self) -> None:
        unet = from_diffusers({**SMALL, "attention_head_dim": 3})
        transformer = unet.stages[0].down[0][1]
        assert isinstance(transformer, Transformer)
        assert transformer.width == 6

    def test_only_cross_attention_gives_two_attentions_to_the_text_but_not_in_the_middle(self) -> None:
        unet = from_diffusers({**SMALL, "only_cross_attention": True})
        transformer = unet.stages[0].down[0][1]
        assert isinstance(transformer, Transformer)
        block = transformer.blocks[0]
        assert isinstance(block.first, Attention)
        assert isinstance(block.second, Attention)
        assert (block.first.to, block.second.to) == ("text", "text")
        middle = unet.middle[1]
        assert isinstance(middle, Transformer)
        assert isinstance(middle.blocks[0].first, Attention)
        assert middle.blocks[0].first.to == "self"

    def test_depth_zero_keeps_the_projections(self) -> None:
        unet = from_diffusers({**SMALL, "transformer_layers_per_block": 0})
        assert unet.stages[0].down[0][1] == Transformer(width=8)

    def test_the_middle_takes_the_first_depth_of_the_last_stage(self) -> None:
        config = {**SMALL, "layers_per_block": 2, "transformer_layers_per_block": [[1, 1], [3, 2]],
                  "reverse_transformer_layers_per_block": [1, [2, 1, 1]]}  # fmt: skip
        middle = from_diffusers(config).middle[1]
        assert isinstance(middle, Transformer)
        assert len(middle.blocks) == 3

    def test_the_attention_free_middle_is_one_residual_block(self) -> None:
        unet = from_diffusers({**SMALL, "mid_block_type": "UNetMidBlock2D"})
        assert unet.middle == (ResBlock(channels=16),)
        assert from_diffusers({**SMALL, "mid_block_type": None}).middle == ()

    def test_the_old_prefix_of_block_types(self) -> None:
        old = {**SMALL, "down_block_types": ["UNetResCrossAttnDownBlock2D", "UNetResDownBlock2D"]}
        assert from_diffusers(old) == from_diffusers(SMALL)

    def test_dreamlite_without_self_attention_keeps_the_norm(self) -> None:
        unet = load_preset("dreamlite").architecture
        assert isinstance(unet, UNet)
        assert _first(unet) == NormOnly()
        assert unet.stages[0].down[0][0] == ResBlock(channels=256, separable=Separable(expansion=2.0, bias=False))
        assert unet.text_projection == TextProjection(input_width=2048, norm="rms_norm")
        assert unet.added == AddedEmbedding(time_width=256, ids=2, pooled_width=0)

    def test_a_diffusers_model_writes_keys_without_effect(self) -> None:
        extra = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42", "_name_or_path": "x",
                 "sample_size": 64, "dropout": 0.1, "mid_block_only_cross_attention": True, "decay": 0.9999,
                 "class_embed_type": None, "mid_block_scale_factor": 1, "downsample_padding": 1}  # fmt: skip
        assert from_diffusers({**SMALL, **extra}) == from_diffusers(SMALL)


def _first(unet: UNet) -> object:
    transformer = unet.stages[0].down[0][1]
    assert isinstance(transformer, Transformer)
    return transformer.blocks[0].first


@pytest.mark.parametrize(
    ("total", "time_width", "expected"),
    [
        (2816, 256, (1280, 6)),
        (2560, 256, (1280, 5)),
        (1792, 256, (1280, 2)),
        (832, 64, (768, 1)),
        (100, 8, (52, 6)),
        (20, 8, (4, 2)),
    ],
)
def test_added_embeddings_are_divided_sanely(total: int, time_width: int, expected: tuple[int, int]) -> None:
    added = split_added(total, time_width)
    assert added.input_width == total
    assert (added.pooled_width, added.ids) == expected


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"widths": [1]}, "widths: unknown key 'widths'"),
    "unknown class": ({"_class_name": "UNet3DConditionModel"}, "_class_name: class not covered"),
    "block type": (
        {"down_block_types": ["CrossAttnDownBlock2D", "SkipDownBlock2D"]},
        "down_block_types[1]: unknown block type 'SkipDownBlock2D'",
    ),
    "middle type": ({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "mid_block_type: not covered"),
    "class embedding": ({"class_embed_type": "timestep"}, "class_embed_type: not covered"),
    "classes": ({"num_class_embeds": 10}, "num_class_embeds: not covered"),
    "gated attention": ({"attention_type": "gated"}, "attention_type: not covered"),
    "two transformers": ({"dual_cross_attention": True}, "dual_cross_attention: not covered"),
    "fourier": ({"time_embedding_type": "fourier"}, "time_embedding_type: not covered"),
    "centred input": ({"center_input_sample": True}, "center_input_sample: not covered"),
    "padding": ({"downsample_padding": 0}, "downsample_padding: not covered"),
    "scale": ({"mid_block_scale_factor": 1.4}, "mid_block_scale_factor: not covered"),
    "named heads": ({"num_attention_heads": 8}, "num_attention_heads: not covered"),
    "image projection": ({"encoder_hid_dim": 4, "encoder_hid_dim_type": "image_proj"}, "encoder_hid_dim_type"),
    "projection without width": ({"encoder_hid_dim_type": "text_proj"}, "encoder_hid_dim: needed"),
    "added text": ({"addition_embed_type": "text"}, "addition_embed_type: not covered"),
    "added without width": ({"addition_embed_type": "text_time"}, "addition_time_embed_dim: must be an integer"),
    "no norm groups": ({"norm_num_groups": None}, "norm_num_groups: must be an integer; got null"),
    "odd groups": ({"norm_num_groups": 3}, "norm_groups must divide the channels"),
    "activation": ({"act_fn": "tanh"}, "act_fn: not covered; got 'tanh'"),
    "spatial norm": ({"resnet_time_scale_shift": "spatial"}, "resnet_time_scale_shift: not covered"),
    "too few types": ({"up_block_types": ["UpBlock2D"]}, "up_block_types: must have one entry per stage"),
    "too few layers": ({"layers_per_block": [1]}, "layers_per_block: must have one entry per stage"),
    "too many heads": ({"attention_head_dim": 9}, "attention_head_dim[0]: more heads than channels"),
    "several text widths": ({"cross_attention_dim": [6, 8]}, "cross_attention_dim: not covered"),
    "boolean width": ({"cross_attention_dim": True}, "cross_attention_dim: must be an integer"),
    "negative depth": ({"transformer_layers_per_block": -1}, "transformer_layers_per_block: out of range"),
    "nested one way": ({"transformer_layers_per_block": [[1], [1]]}, "reverse_transformer_layers_per_block"),
    "short nesting": (
        {"transformer_layers_per_block": [[1], [1]], "reverse_transformer_layers_per_block": [[1, 1], [1]]},
        "reverse_transformer_layers_per_block[1]: must have one entry per layer",
    ),
    "no stages": ({"block_out_channels": []}, "block_out_channels: a UNet needs at least one stage"),
    "text for a number": ({"in_channels": "4"}, "in_channels: must be an integer; got '4'"),
    "not a number": ({"norm_eps": float("nan")}, "norm_eps"),
    "even kernel": ({"conv_in_kernel": 2}, "conv_in_kernel"),
    "dreamlite's projection": ({"encoder_hid_dim": 4, "encoder_hid_dim_type": "text_proj_rms"}, "encoder_hid_dim_type"),
    "dreamlite's key": ({"ff_mult": 3}, "ff_mult: unknown key"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_covered_is_refused_by_key(name: str) -> None:
    change, expected = REFUSED[name]
    with pytest.raises(ArchError) as caught:
        from_diffusers({**SMALL, **change}, "config.json")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("config.json: ")


def test_dreamlite_refuses_what_it_would_do_by_halves() -> None:
    config = {"_class_name": "DreamLiteUNetModel", "resnet_time_scale_shift": "scale_shift"}
    with pytest.raises(ArchError, match="only some of its blocks"):
        from_diffusers(config)


@given(st.sampled_from(sorted(SMALL)), st.recursive(st.none() | st.booleans() | st.integers(-5, 10**30) | st.floats()
       | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=6))  # fmt: skip
def test_no_value_crashes_the_reader(key: str, value: object) -> None:
    try:
        unet = from_diffusers({**SMALL, key: value})
    except ArchError:
        return
    assert isinstance(unet, UNet)


INEXPRESSIBLE = {
    "mobilediffusion": "diffusers' transformer blocks have a GEGLU feed-forward; got swiglu",
    "snapfusion": "a diffusers layer is one residual block, then a transformer in all or none",
    "snapgen": "second an attention to the text",
}


@pytest.mark.parametrize("name", INEXPRESSIBLE)
def test_what_diffusers_cannot_express_is_named_by_place(name: str) -> None:
    unet = load_preset(name).architecture
    assert isinstance(unet, UNet)
    with pytest.raises(ArchError) as caught:
        to_diffusers(unet)
    assert INEXPRESSIBLE[name] in str(caught.value)
    assert "stages[" in str(caught.value)


@pytest.mark.parametrize("name", ["sd15", "sd21-base", "sdxl", "ssd-1b", "koala-700m", "bk-sdm-tiny", "dreamlite"])
def test_presets_go_through_diffusers_configs(name: str) -> None:
    unet = load_preset(name).architecture
    assert isinstance(unet, UNet)
    config = to_diffusers(unet)
    assert config["_class_name"] == ("DreamLiteUNetModel" if name == "dreamlite" else "UNet2DConditionModel")
    assert from_diffusers(config) == unet
