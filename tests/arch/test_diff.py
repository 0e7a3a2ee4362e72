from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import (
    Architecture,
    Attention,
    Downsample,
    FeedForward,
    ResBlock,
    Separable,
    Shortcut,
    Stage,
    Transformer,
    UNet,
    diff,
    load_preset,
    preset_names,
    walk,
)
from archsearch.cost import Conditions, count, lower
from archsearch.errors import ArchError
from tests.strategies import decoders, text_encoders, unets

SD15 = load_preset("sd15").architecture
assert isinstance(SD15, UNet)


def texts(a: Architecture, b: Architecture) -> list[str]:
    return [str(change) for change in diff(a, b).changes]


def costs(arch: Architecture, name: str) -> list[int]:
    pieces = lower(arch, Conditions(latent=(16, 16), text=4)).pieces
    return [sum(getattr(op.op, name) for op in piece.trace.ops) for piece in pieces]


def assert_shares_add_up(a: Architecture, b: Architecture) -> None:
    found = diff(a, b)
    for name in ("params", "macs"):
        before, after = costs(a, name), costs(b, name)
        assert sum(found.shares(before, after)) == sum(after) - sum(before)
    for side, arch in ((0, a), (1, b)):
        owned = [i for change in found.changes for i in (change.before, change.after)[side]]
        owned += [pair[side] for pair in found.unchanged]
        assert sorted(owned) == list(range(len(list(walk(arch)))))


def test_bk_sdm_tiny_in_words() -> None:
    """What readers of the repository could not tell from its code."""
    assert texts(SD15, load_preset("bk-sdm-tiny").architecture) == [
        "down 0: second layer removed (residual + transformer)",
        "down 1: second layer removed (residual + transformer)",
        "down 2: second layer removed (residual + transformer)",
        "stage 3: whole stage removed: 2 down layers (residual), 3 up layers (residual), its samplers",
        "middle: removed (residual + transformer + residual)",
        "up 2: second layer removed (residual + transformer)",
        "up 1: second layer removed (residual + transformer)",
        "up 0: third layer removed (residual + transformer)",
    ]


def test_snapfusion_in_words() -> None:
    told = texts(SD15, load_preset("snapfusion").architecture)
    assert "down 0, first layer: transformer removed" in told
    assert "down 2, second layer: residual removed" in told
    assert "up 2, third layer: residual: residual block removed, its 1x1 shortcut stays" in told
    assert sum("added" in text and text.startswith("up 2") for text in told) == 3


def test_shares_of_bk_sdm_tiny_by_hand() -> None:
    tiny = load_preset("bk-sdm-tiny").architecture
    found = diff(SD15, tiny)
    shares = found.shares(costs(SD15, "params"), costs(tiny, "params"))
    by_text = dict(zip(map(str, found.changes), shares, strict=True))
    # residual 640 -> 640: two norms, two 3x3 with bias, time projection 1280 -> 640
    residual = 2 * 2 * 640 + 2 * (640 * 640 * 9 + 640) + 1280 * 640 + 640
    # group norm, 1x1 in and out; three layer norms; self (4 matrices), text (k and v from 768), GEGLU x4
    transformer = 2 * 640 + 2 * (640 * 640 + 640) + 3 * 2 * 640
    transformer += 4 * 640 * 640 + 640 + (2 * 640 * 640 + 2 * 768 * 640 + 640)
    transformer += 640 * 5120 + 5120 + 2560 * 640 + 640
    assert by_text["down 1: second layer removed (residual + transformer)"] == -(residual + transformer)


def test_nothing_changed() -> None:
    for name in ("sd15", "sd-decoder", "clip-vit-l14", "mobilediffusion"):
        arch = load_preset(name).architecture
        assert diff(arch, arch).changes == ()


def test_two_kinds_cannot_be_compared() -> None:
    with pytest.raises(ArchError, match="only networks of one kind can be compared; got unet and decoder"):
        diff(SD15, load_preset("sd-decoder").architecture)


PRESETS = [name for name in preset_names() if isinstance(load_preset(name).architecture, UNet)]


@pytest.mark.parametrize(("a", "b"), list(pairwise([*PRESETS, PRESETS[0]])))
def test_shares_of_presets_add_up(a: str, b: str) -> None:
    assert_shares_add_up(load_preset(a).architecture, load_preset(b).architecture)


@settings(deadline=None, max_examples=40)
@given(unets(), unets())
def test_shares_of_random_unets_add_up(a: UNet, b: UNet) -> None:
    assert_shares_add_up(a, b)


@settings(deadline=None, max_examples=30)
@given(st.one_of(st.tuples(decoders(), decoders()), st.tuples(text_encoders(), text_encoders())))
def test_shares_of_random_other_networks_add_up(pair: tuple[Architecture, Architecture]) -> None:
    assert_shares_add_up(*pair)


@settings(deadline=None, max_examples=20)
@given(unets(), unets())
def test_the_way_back_costs_the_opposite(a: UNet, b: UNet) -> None:
    forth, back = diff(a, b), diff(b, a)
    assert (forth.changes == ()) == (back.changes == ())
    assert sum(forth.shares(costs(a, "params"), costs(b, "params"))) == count(b).params - count(a).params
    assert sum(back.shares(costs(b, "params"), costs(a, "params"))) == count(a).params - count(b).params


@settings(deadline=None, max_examples=30)
@given(unets(), unets())
def test_no_changes_means_the_same_network(a: UNet, b: UNet) -> None:
    assert (diff(a, b).changes == ()) == (a == b)


def _stage(s: int, **changes: Any) -> UNet:
    assert isinstance(SD15, UNet)
    stages = list(SD15.stages)
    stages[s] = replace(stages[s], **changes)
    return replace(SD15, stages=tuple(stages))


def _transformer(**changes: Any) -> UNet:
    """SD 1.5 with another first transformer in the first stage."""
    assert isinstance(SD15, UNet)
    layer = SD15.stages[0].down[0]
    transformer = layer[1]
    assert isinstance(transformer, Transformer)
    inner = replace(transformer.blocks[0], **changes)
    changed = (layer[0], replace(transformer, blocks=(inner,)))
    return _stage(0, down=(changed, SD15.stages[0].down[1]))


SELF = Attention(to="self", heads=8, head_dim=40)
TEXT = Attention(to="text", heads=8, head_dim=40)
RES = ResBlock(channels=320)
SMALL_CHANGES: dict[str, tuple[UNet, str]] = {
    "self-attention": (_transformer(first=None), "down 0, first layer: transformer: self-attention removed"),
    "feed-forward": (
        _transformer(feed_forward=FeedForward(expansion=3.0, activation="swiglu")),
        "down 0, first layer: transformer: feed-forward geglu x4 -> swiglu x3",
    ),
    "no feed-forward": (_transformer(feed_forward=None), "down 0, first layer: transformer: feed-forward removed"),
    "shared": (
        _transformer(first=replace(SELF, shared_kv=True)),
        "down 0, first layer: transformer: shared keys and values in self-attention",
    ),
    "multi-query": (
        _transformer(first=replace(SELF, kv_heads=1), second=replace(TEXT, kv_heads=1)),
        "down 0, first layer: transformer: key/value heads 8 -> 1",
    ),
    "relu": (
        _transformer(first=replace(SELF, scores="relu"), second=replace(TEXT, scores="relu")),
        "down 0, first layer: transformer: scores softmax -> relu",
    ),
    "heads": (
        _transformer(first=replace(SELF, heads=5, head_dim=64)),
        "down 0, first layer: transformer: heads 8x40 -> 5x64 in self-attention",
    ),
    "separable": (
        replace(SD15, middle=(ResBlock(channels=1280, separable=Separable(expansion=2.0)), *SD15.middle[1:])),
        "middle: residual: full -> separable convolutions, expansion 2",
    ),
    "shortcut": (
        replace(SD15, middle=(Shortcut(channels=1280), *SD15.middle[1:])),
        "middle: residual: residual block removed, its 1x1 shortcut stays",
    ),
    "repeated": (
        replace(SD15, middle=(*SD15.middle, ResBlock(channels=1280))),
        "middle: residual, 1280 channels added",
    ),
    "sampler": (_stage(1, downsample=Downsample(channels=640, separable=True)), "down 1: downsample: separable"),
    "text width": (replace(SD15, text_width=1024), "whole network: text width 768 -> 1024"),
    "input": (replace(SD15, in_channels=8), "input convolution: input channels 4 -> 8"),
    "output": (replace(SD15, out_channels=8), "output convolution: output channels 4 -> 8"),
    "time": (replace(SD15, time=replace(SD15.time, cond_width=256)), "embeddings: guidance condition none -> 256"),
    "groups": (replace(SD15, norm_groups=16), "whole network: norm groups 32 -> 16"),
    "layer": (
        _stage(0, down=((RES,), *SD15.stages[0].down), up=((RES,), *SD15.stages[0].up)),
        "down 0: first layer added (residual)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL_CHANGES)
def test_one_change_in_words(name: str) -> None:
    changed, expected = SMALL_CHANGES[name]
    assert expected in texts(SD15, changed)
    assert_shares_add_up(SD15, changed)


def test_a_stage_on_top() -> None:
    assert isinstance(SD15, UNet)
    last = SD15.stages[-1]
    deeper = Stage(down=((ResBlock(channels=1280),),), up=((ResBlock(channels=1280),),) * 2, upsample=last.upsample)
    taller = replace(SD15, stages=(*SD15.stages[:-1], replace(last, downsample=Downsample(channels=1280)), deeper))
    assert texts(SD15, taller) == [
        "stage 4: whole stage added: 1 down layer (residual), 2 up layers (residual), its samplers",
        "middle: residual: runs at 1/8 -> 1/16 of the input",
        "middle: transformer: runs at 1/8 -> 1/16 of the input",
        "middle: residual: runs at 1/8 -> 1/16 of the input",
    ]
    assert_shares_add_up(SD15, taller)
