from __future__ import annotations

import re
from pathlib import Path

import pytest

from archsearch.arch import (
    Preset,
    Published,
    ResBlock,
    Transformer,
    UNet,
    load_preset,
    preset_names,
    resolve,
    to_diffusers,
    to_json,
    walk,
)
from archsearch.cost import Conditions, count
from archsearch.errors import ArchError
from archsearch.resources import data_folder

REQUIRED = {
    "sd15", "sd21-base", "sdxl", "bk-sdm-base", "bk-sdm-small", "bk-sdm-tiny", "bk-sdm-v2-base", "bk-sdm-v2-small",
    "bk-sdm-v2-tiny", "ssd-1b", "segmind-vega", "koala-1b", "koala-700m", "snapfusion", "mobilediffusion",
    "mobilediffusion-lite", "snapgen", "dreamlite", "sd-decoder", "snapfusion-decoder", "mobilediffusion-decoder",
    "mobilediffusion-decoder-lite", "clip-vit-l14",
}  # fmt: skip

# (parameters, MACs without attention products, MACs of the attention products) at latent 64x64 and 77 tokens.
# Parameters and convolution + linear MACs of sd15, bk-sdm-base, bk-sdm-tiny, the decoder and the text encoder are
# published counts (thop and torchinfo; thop adds some element-wise work to its MACs); the others are arithmetic on
# published configurations, done apart from this code.
EXACT = {
    "sd15": (859_520_964, 338_610_585_600, 63_026_135_040),
    "sd21-base": (865_910_724, 339_102_597_120, 63_026_135_040),
    "bk-sdm-base": (579_384_964, 223_672_074_240, 37_824_921_600),
    "bk-sdm-small": (482_346_884, 217_645_383_680, 37_801_820_160),
    "bk-sdm-tiny": (323_384_964, 204_952_698_880, 37_801_820_160),
    "bk-sdm-v2-base": (583_480_964, 223_987_466_240, 37_824_921_600),
    "bk-sdm-v2-small": (485_787_524, 217_910_312_960, 37_801_820_160),
    "bk-sdm-v2-tiny": (326_825_604, 205_217_628_160, 37_801_820_160),
    "sdxl": (2_567_463_684, 766_864_261_120, 27_525_120_000),
    "ssd-1b": (1_331_334_404, 472_553_553_920, 17_218_928_640),
    "segmind-vega": (745_225_604, 322_043_576_320, 9_397_862_400),
    "koala-1b": (1_161_184_324, 387_032_842_240, 13_896_253_440),
    "koala-700m": (782_822_724, 299_510_169_600, 11_932_139_520),
}
AT_128 = {
    "sdxl": (2_988_660_490_240, 391_957_708_800),
    "ssd-1b": (1_853_811_261_440, 250_069_647_360),
    "segmind-vega": (1_272_965_693_440, 138_254_745_600),
    "koala-1b": (1_515_374_018_560, 200_540_160_000),
    "koala-700m": (1_176_193_105_920, 174_564_311_040),
}


def test_all_are_there() -> None:
    assert set(preset_names()) >= REQUIRED


@pytest.mark.parametrize("name", EXACT)
def test_exact_counts(name: str) -> None:
    preset = load_preset(name)
    totals = count(preset.architecture, Conditions(latent=(64, 64), text=77))
    params, without, attention = EXACT[name]
    assert preset.exact
    assert totals.params == params
    assert totals.macs_without_attention == without
    assert totals.macs == without + attention


@pytest.mark.parametrize("name", AT_128)
def test_exact_counts_at_1024_pixels(name: str) -> None:
    totals = count(load_preset(name).architecture, Conditions(latent=(128, 128)))
    assert (totals.macs_without_attention, totals.macs - totals.macs_without_attention) == AT_128[name]


def test_decoder_and_text_encoder() -> None:
    decoder = count(load_preset("sd-decoder").architecture)
    assert decoder.params == 49_490_179
    assert decoder.macs_without_attention == 1_240_079_532_032
    assert count(load_preset("clip-vit-l14").architecture).params == 123_060_480


@pytest.mark.parametrize(
    ("name", "millions", "tolerance"),
    [
        ("mobilediffusion", 386, 0.03),
        ("dreamlite", 390, 0.002),
        ("snapgen", 379, 0.03),
        ("snapfusion-decoder", 13, 0.05),
        ("mobilediffusion-decoder", 39.3, 0.03),
        ("mobilediffusion-decoder-lite", 9.8, 0.03),
    ],
)
def test_reconstructions_come_near_the_sizes_that_were_read(name: str, millions: float, tolerance: float) -> None:
    assert count(load_preset(name).architecture).params / 1e6 == pytest.approx(millions, rel=tolerance)


def _kinds(preset: Preset, half: str, stage: int | None = None) -> tuple[int, int]:
    """(transformers, residual blocks) of a half stage."""
    steps = [s.value for s in walk(preset.architecture)
             if s.role == "block" and s.place.half == half and (stage is None or s.place.stage == stage)]  # fmt: skip
    return sum(isinstance(v, Transformer) for v in steps), sum(isinstance(v, ResBlock) for v in steps)


def test_snapfusion_follows_its_block_table() -> None:
    """arXiv 2306.00980v3, Table 3: (CA, ResNet) of Down-1..3, Mid, Up-1..3."""
    preset = load_preset("snapfusion")
    assert [_kinds(preset, "down", s) for s in range(3)] == [(0, 2), (2, 2), (2, 1)]
    at_8x8 = [_kinds(preset, "down", 3), _kinds(preset, "middle"), _kinds(preset, "up", 3)]
    assert (sum(ca for ca, _ in at_8x8), sum(res for _, res in at_8x8)) == (1, 4)
    assert [_kinds(preset, "up", s) for s in (2, 1, 0)] == [(6, 2), (3, 3), (0, 3)]


@pytest.mark.parametrize(("name", "full"), [("mobilediffusion", 15), ("mobilediffusion-lite", 12)])
def test_mobilediffusion_follows_the_stated_facts(name: str, full: int) -> None:
    preset = load_preset(name)
    unet = preset.architecture
    assert isinstance(unet, UNet)
    assert not preset.exact
    assert (unet.in_channels, unet.out_channels, len(unet.stages)) == (8, 8, 3)
    steps = [step for step in walk(unet) if step.role == "block"]
    assert sum(isinstance(step.value, ResBlock) for step in steps) == 11
    by_level: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for step in steps:
        if isinstance(step.value, Transformer):
            for block in step.value.blocks:
                kinds = [
                    slot.to for slot in (block.first, block.second) if slot is not None and slot.kind == "attention"
                ]
                by_level[step.level].append("+".join(kinds))
                assert block.feed_forward is not None
                assert (block.feed_forward.expansion, block.feed_forward.activation) == (3.0, "swiglu")
    assert by_level == {0: [], 1: ["text"] * 3, 2: ["self+text"] * full}


@pytest.mark.parametrize("name", preset_names())
def test_files_are_complete(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.title
    assert preset.published, "every preset carries published figures"
    assert any(figure.quantity == "params" for figure in preset.published)
    assert preset.notes
    if not preset.exact:
        assert "Approximate" in preset.notes
        assert re.search(r"\bOurs\b|here every|here 3", preset.notes), (
            "an approximate preset says which choices are ours"
        )
    for figure in preset.published:
        assert figure.source
        assert "shared" not in figure.source
        assert "seed" not in figure.source


@pytest.mark.parametrize("name", [n for n in preset_names() if load_preset(n).exact])
def test_exact_presets_meet_the_figures_that_were_read_or_computed(name: str) -> None:
    preset = load_preset(name)
    totals = count(preset.architecture, Conditions(latent=preset.latent))
    for figure in preset.published:
        if figure.status == "recalled":
            continue
        value = figure.value * {"": 1, "M": 1e6, "G": 1e9, "T": 1e12}.get(figure.unit, 0)
        if figure.quantity == "params":
            rounded = figure.unit != "" and figure.status == "seen"
            assert totals.params == pytest.approx(value, rel=0.025 if rounded else 0)
        if figure.quantity == "macs_without_attention":
            assert totals.macs_without_attention == pytest.approx(value, rel=0.001)


class TestResolve:
    def test_names_files_and_folders_give_one_network(self, tmp_path: Path) -> None:
        import json

        sd15 = load_preset("bk-sdm-tiny").architecture
        assert isinstance(sd15, UNet)
        (tmp_path / "value.json").write_text(to_json(sd15))
        pipeline = tmp_path / "pipeline"
        (pipeline / "unet").mkdir(parents=True)
        (pipeline / "unet" / "config.json").write_text(json.dumps(to_diffusers(sd15)))
        shipped = data_folder("search_spaces") / "presets" / "bk-sdm-tiny.yaml"
        for ref in ("bk-sdm-tiny", str(tmp_path / "value.json"), str(pipeline), str(pipeline / "unet"),
                    str(pipeline / "unet" / "config.json"), str(shipped)):  # fmt: skip
            assert resolve(ref).architecture == sd15, ref
        assert resolve(str(pipeline / "unet")).name == "unet"

    def test_near_misses(self) -> None:
        with pytest.raises(ArchError, match=r"unknown architecture 'sd-15'\. Did you mean 'sd15'\?"):
            resolve("sd-15")

    @pytest.mark.parametrize("ref", ["", " ", "a\0b", "x" * 5000, "sd15/", "nowhere.yaml", "some/where.json", "#", "~"])
    def test_nonsense(self, ref: str) -> None:
        with pytest.raises(ArchError):
            resolve(ref)

    def test_a_folder_without_a_network(self, tmp_path: Path) -> None:
        with pytest.raises(ArchError, match="no diffusers network in this folder"):
            resolve(str(tmp_path))

    def test_a_mapping_that_is_no_architecture(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_text("a: 1")
        with pytest.raises(ArchError, match="not an architecture"):
            resolve(str(tmp_path / "x.yaml"))


HEAD = "schema: archsearch.preset/1\n"
BODY = """blocks:
  res: {kind: residual}
  t: {kind: transformer, block: {first: {to: self, heads: 2}, feed_forward: {}}}
unet:
  norm_groups: 4
  conv_in_channels: 8
  stages:
    - {channels: 8, down: [[res]], up: [[res], [res, t]]}
    - channels: 16
      down: [[res, t]]
      up:
        - [res]
        - [{kind: shortcut}]
  middle: [res]
"""
BROKEN = {
    "no schema": (BODY, "schema: another schema; got none"),
    "unknown key": (HEAD + "colour: red\n" + BODY, ":2: colour: unknown key 'colour'"),
    "two architectures": (HEAD + BODY + "decoder: {}\n", "exactly one architecture a file; got unet, decoder"),
    "no architecture": (HEAD, "exactly one architecture a file; got none"),
    "unknown block": (HEAD + BODY.replace("[[res]]", "[[rse]]"), ":9: unet.stages[0].down[0][0]: unknown block 'rse'"),
    "template": (
        HEAD + BODY.replace("{kind: residual}", "{kind: residual, with: 3}"),
        ":3: blocks.res.with: unknown key",
    ),
    "template kind": (
        HEAD + BODY.replace("kind: residual}", "kind: conv}"),
        ":3: blocks.res.kind: unknown kind 'conv'",
    ),
    "heads": (HEAD + BODY.replace("heads: 2", "heads: 3"), ".heads: must divide the width; got 3"),
    "groups": (HEAD + BODY.replace("norm_groups: 4", "norm_groups: 3"), "norm_groups must divide the channels"),
    "layer": (HEAD + BODY.replace("- [res]", "- res"), ":13: unet.stages[1].up[0]: a layer is a list of blocks"),
    "channels": (HEAD + BODY.replace("channels: 16", "channels: true"), "must be an integer; got True"),
    "depth": (HEAD + BODY.replace("kind: transformer,", "kind: transformer, depth: -1,"), "depth: must be a number"),
    "both": (HEAD + BODY.replace("kind: transformer,", "kind: transformer, blocks: [],"), "either block and depth"),
    "stage": (HEAD + BODY.replace("- {channels: 8,", "- {chanels: 8, channels: 8,"), "Did you mean 'channels'"),
    "latent": (HEAD + "latent: [0, 64]\n" + BODY, ":2: latent: must be [height, width]"),
    "exact": (HEAD + "exact: 1\n" + BODY, ":2: exact: must be a boolean"),
    "title": (HEAD + "title: 5\n" + BODY, ":2: title: must be a string"),
    "published": (
        HEAD + "published:\n  - {quantity: params, value: x}\n" + BODY,
        ":3: published[0].value: must be a number",
    ),
    "status": (
        HEAD + "published:\n  - {quantity: params, value: 1, source: me, status: guessed}\n" + BODY,
        ":3: published[0].status: unknown choice; got 'guessed'; allowed: seen, recalled, computed",
    ),
    "config": (HEAD + "diffusers: {act_fn: tanh}\n", ":2: diffusers.act_fn: not covered"),
    "unet": (HEAD + "unet: 5\n", ":2: unet: must be a mapping"),
    "text encoder": (
        HEAD + "text_encoder: {width: 7, layers: 1, heads: 2, ff_width: 4}\n",
        "heads must divide the width",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_told_with_file_line_and_key(tmp_path: Path, name: str) -> None:
    text, expected = BROKEN[name]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ArchError) as caught:
        resolve(str(path))
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def test_the_compact_form_is_expanded(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + BODY)
    preset = resolve(str(path))
    unet = preset.architecture
    assert isinstance(unet, UNet)
    assert preset.name == "mine"
    assert (unet.time.input_width, unet.time.width) == (8, 32)
    assert unet.stages[0].downsample is not None
    assert unet.stages[0].downsample.channels == 8
    assert unet.stages[1].upsample is not None
    assert unet.stages[1].upsample.channels == 16
    transformer = unet.stages[1].down[0][1]
    assert isinstance(transformer, Transformer)
    assert transformer.width == 16
    slot = transformer.blocks[0].first
    assert slot is not None
    assert slot.kind == "attention"
    assert (slot.heads, slot.head_dim) == (2, 8)
    assert unet.middle == (ResBlock(channels=16),)


def test_published_figures_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        HEAD + "published:\n  - {quantity: params, value: 3, unit: M, source: a paper, status: seen}\n" + BODY
    )
    assert resolve(str(path)).published == (
        Published(quantity="params", value=3.0, unit="M", source="a paper", status="seen"),
    )
