from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import (
    Architecture,
    Attention,
    Decoder,
    FeedForward,
    ResBlock,
    Separable,
    SpatialAttention,
    TextEncoder,
    UNet,
    check,
    from_dict,
    from_json,
    load_preset,
    preset_names,
    to_dict,
    to_json,
)
from archsearch.errors import ArchError
from tests.strategies import decoders, text_encoders, unets

SD15 = load_preset("sd15").architecture
ARCHITECTURES = unets() | decoders() | text_encoders()


@settings(deadline=None)
@given(ARCHITECTURES)
def test_json_loses_nothing(arch: Architecture) -> None:
    again = from_json(to_json(arch))
    assert again == arch
    assert type(again) is type(arch)
    assert from_dict(json.loads(json.dumps(to_dict(arch)))) == arch


@pytest.mark.parametrize("name", preset_names())
def test_presets_survive_json(name: str) -> None:
    arch = load_preset(name).architecture
    assert from_json(to_json(arch)) == arch


def test_defaults_are_left_out_but_kinds_are_not() -> None:
    data = to_dict(SD15)
    assert data["schema"] == "archsearch.architecture/1"
    assert data["kind"] == "unet"
    assert "norm_eps" not in data
    assert data["stages"][0]["down"][0][0] == {"kind": "residual", "channels": 320}


def test_a_number_written_as_integer_is_a_number() -> None:
    data = to_dict(SD15)
    data["middle"][1]["blocks"][0]["feed_forward"]["expansion"] = 4
    arch = from_dict(data)
    assert arch == SD15
    assert isinstance(arch, UNet)
    ff = arch.middle[1].blocks[0].feed_forward
    assert ff == FeedForward(expansion=4.0)
    assert type(ff.expansion) is float


def _set(path: str, value: Any) -> Any:
    def run(data: dict[str, Any]) -> None:
        *parents, last = [int(p) if p.isdigit() else p for p in path.split("/")]
        target: Any = data
        for part in parents:
            target = target[part]
        target[last] = value

    return run


MALFORMED: dict[str, tuple[Any, str]] = {
    "boolean as integer": (
        _set("stages/0/down/0/0/channels", True),
        "stages[0].down[0][0].channels: must be an integer; got True",
    ),
    "float as integer": (_set("in_channels", 4.0), "in_channels: must be an integer; got 4.0"),
    "string as integer": (_set("in_channels", "4"), "in_channels: must be an integer; got '4'"),
    "null as integer": (_set("in_channels", None), "in_channels: must be an integer; got null"),
    "zero": (_set("out_channels", 0), "out_channels: out of range; got 0"),
    "negative": (_set("conv_in_channels", -320), "conv_in_channels: out of range; got -320"),
    "absurd": (_set("text_width", 10**400), "text_width: out of range; got an integer of more than 20 digits"),
    "even kernel": (_set("conv_in_kernel", 2), "conv_in_kernel: out of range; got 2; allowed: odd"),
    "nan": (_set("norm_eps", math.nan), "norm_eps: out of range; got nan"),
    "infinite": (
        _set("middle/1/blocks/0/feed_forward/expansion", math.inf),
        "middle[1].blocks[0].feed_forward.expansion: out of range; got inf",
    ),
    "negative expansion": (
        _set("middle/1/blocks/0/feed_forward/expansion", -1.0),
        "middle[1].blocks[0].feed_forward.expansion: out of range; got -1.0; allowed: > 0",
    ),
    "boolean as number": (_set("norm_eps", True), "norm_eps: must be a number; got True"),
    "integer as boolean": (_set("upcast_attention", 1), "upcast_attention: must be a boolean; got 1"),
    "unknown choice": (
        _set("activation", "elu"),
        "activation: unknown choice; got 'elu'; allowed: silu, gelu, relu, mish",
    ),
    "unknown key": (_set("stages/0/down/0/0/chanels", 1), "Did you mean 'channels'?"),
    "unknown kind": (_set("stages/0/down/0/0/kind", "conv"), "stages[0].down[0][0].kind: unknown kind 'conv'"),
    "kind of another union": (_set("middle/1/blocks/0/first/kind", "residual"), "Available: attention, norm"),
    "mapping expected": (_set("time", 5), "time: must be a mapping; got 5"),
    "list expected": (_set("stages", {}), "stages: must be a list; got a mapping"),
    "too long": (_set("middle", [{"kind": "spatial_attention"}] * 2000), "middle: too many items; got 2000"),
    "other schema": (_set("schema", "archsearch.architecture/99"), "schema: another schema"),
    "no stages": (_set("stages", []), "a UNet needs at least one stage"),
    "up layer missing": (_set("stages/0/up", []), "stages[0].up: a stage has one up layer more than down layers"),
    "norm groups": (
        _set("stages/1/down/0/0/channels", 648),
        "stages[1].down[0][0]: norm_groups must divide the channels (its second norm); got 648",
    ),
    "no text width": (_set("text_width", None), "attention to the text needs a text width"),
    "kv heads": (_set("middle/1/blocks/0/first/kv_heads", 3), "kv_heads divides heads"),
    "downsample in the last stage": (_set("stages/3/downsample", {"channels": 1280}), "stages[3].downsample"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_data_is_told_with_its_key_path(name: str) -> None:
    change, expected = MALFORMED[name]
    data = copy.deepcopy(to_dict(SD15))
    change(data)
    with pytest.raises(ArchError) as caught:
        from_dict(data, "some.json")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("some.json: ")


@pytest.mark.parametrize("key", ["time", "stages", "kind", "conv_in_channels"])
def test_missing_keys(key: str) -> None:
    data = to_dict(SD15)
    del data[key]
    with pytest.raises(ArchError, match=f"{key}: a key is missing"):
        from_dict(data)


@pytest.mark.parametrize("data", [None, [], "sd15", 3, True])
def test_anything_but_a_mapping(data: object) -> None:
    with pytest.raises(ArchError, match="must be a mapping"):
        from_dict(data)


def test_broken_json_text() -> None:
    with pytest.raises(ArchError, match="not valid JSON"):
        from_json("{", "stdin")
    with pytest.raises(ArchError, match="not valid JSON"):
        from_json("[" * 100_000)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["kind", "stages", "time", "middle", "blocks", "width", "channels"]), inner),
                    max_leaves=8))  # fmt: skip
def test_no_data_crashes_the_decoder(value: object) -> None:
    data = to_dict(SD15)
    data["middle"] = value
    data["time"] = value
    with pytest.raises(ArchError):
        from_dict(data)


class TestCheck:
    """``check`` on values that were built in Python, where nothing stops a wrong type."""

    def test_presets_are_sound(self) -> None:
        for name in preset_names():
            check(load_preset(name).architecture)

    @pytest.mark.parametrize(
        ("arch", "expected"),
        [
            (replace(SD15, norm_eps=float("nan")), "norm_eps: out of range"),
            (replace(SD15, in_channels=True), "in_channels: must be an integer"),
            (replace(SD15, stages=SD15.stages[:2]), "stages[1].downsample"),
            (
                replace(SD15, middle=(ResBlock(channels=1280, separable=Separable(expansion=0.001)),)),
                "got 1; allowed: a mult",
            ),
            (
                replace(SD15, middle=(ResBlock(channels=1280, separable=Separable(expansion=float("inf"))),)),
                "middle[0]",
            ),
            (replace(SD15, middle=(Attention(to="self", heads=1, head_dim=1),)), "middle[0].kind: unknown kind"),
            (replace(SD15, middle=(SpatialAttention(heads=7),)), "heads must divide the channels"),
            (TextEncoder(width=768, layers=1, heads=7, ff_width=8), "heads must divide the width"),
            (Decoder(conv_in_channels=32, stages=()), "a decoder needs at least one stage"),
            ("sd15", "not an architecture"),
            (None, "not an architecture"),
        ],
    )
    def test_unsound_values(self, arch: Any, expected: str) -> None:
        with pytest.raises(ArchError) as caught:
            check(arch)
        assert expected in str(caught.value)

    @settings(deadline=None, max_examples=30)
    @given(ARCHITECTURES)
    def test_random_sound_values(self, arch: Architecture) -> None:
        check(arch)

    def test_a_sinusoid_needs_room_for_its_shift(self) -> None:
        assert isinstance(SD15, UNet)
        time = replace(SD15.time, input_width=2, freq_shift=1.0)
        with pytest.raises(ArchError, match="too few sinusoids"):
            check(replace(SD15, time=time))
