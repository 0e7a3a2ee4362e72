"""Weights in: whole, reduced, approximated; the report adds up; inherited weights start lower than random ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from archsearch.arch import (
    Architecture,
    ResBlock,
    Separable,
    SpatialAttention,
    Transformer,
    TransformerBlock,
    UNet,
    load_preset,
    resolve,
)
from archsearch.cost import Conditions
from archsearch.errors import ArchError, ArchsearchError, ModelError
from archsearch.models import build, cuts, example_inputs
from archsearch.models.matching import match
from archsearch.models.weights import inherit, load_diffusers, normalised, read_weights
from tests import strategies
from tests.models import reductions
from tests.models.networks import tiny_unet, transformer
from tests.models.reductions import attentions, feed_forward, separable, validation_loss
from tests.models.test_record import examples


def seeded(arch: Architecture, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return build(arch).eval()


def output(module: Any, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        result: Tensor = module(**inputs)[0]
    return result


def unet_inputs(unet: UNet) -> dict[str, Any]:
    torch.manual_seed(7)
    return example_inputs(unet, Conditions(latent=(8, 8), text=5, batch=2))


def assert_same_function(target: UNet, source_module: Any, *, atol: float = 1e-5) -> None:
    """Inheriting from ``source_module`` gives a network that computes the same."""
    module = seeded(target, 1)
    inherit(module, source_module.arch, source_module.state_dict())
    inputs = unet_inputs(target)
    torch.testing.assert_close(output(module, inputs), output(source_module, inputs), atol=atol, rtol=1e-4)


# ---- whole


@examples(10)
@given(strategies.unets())
def test_a_whole_network_is_copied(unet: UNet) -> None:
    source, target = seeded(unet), seeded(unet, 1)
    report = load_diffusers(target, source.state_dict())
    assert (report.copied, report.sliced, report.new) == (sum(p.numel() for p in source.parameters()), 0, 0)
    assert report.dropped == ()
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


@examples(5)
@given(strategies.decoders() | strategies.text_encoders())
def test_whole_decoders_and_text_encoders_are_copied(arch: Architecture) -> None:
    source, target = seeded(arch), seeded(arch, 1)
    report = inherit(target, arch, source.state_dict())
    assert report.copied == report.params
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


# ---- anything from anything: the report tells the truth


def assert_report_is_true(target: nn.Module, before: dict[str, Tensor], report: Any) -> None:
    after = dict(target.named_parameters())
    assert [tensor.name for tensor in report.tensors] == list(after)
    for tensor in report.tensors:
        changed = int((after[tensor.name] != before[tensor.name]).sum())
        assert tensor.copied + tensor.sliced + tensor.new == after[tensor.name].numel()
        silent = tensor.how == "new" and not after[tensor.name].any()
        assert silent or changed <= tensor.copied + tensor.sliced
        assert tensor.how == (
            "copied" if tensor.copied else "new" if not tensor.sliced else "partly" if tensor.new else "sliced"
        )
    assert report.params == sum(p.numel() for p in target.parameters())
    assert all(bool(p.isfinite().all()) for p in target.parameters())


@examples(12)
@given(strategies.unets(), strategies.unets())
def test_any_unet_inherits_from_any_other(unet: UNet, source: UNet) -> None:
    target = seeded(unet, 1)
    before = {name: p.detach().clone() for name, p in target.named_parameters()}
    state = seeded(source).state_dict()
    report = inherit(target, source, state)
    assert_report_is_true(target, before, report)
    assert report.dropped_params <= sum(p.numel() for p in state.values())
    assert f"{report.params:,} parameters" in str(report)


@examples(8)
@given(strategies.decoders(), strategies.decoders())
def test_any_decoder_inherits_from_any_other(decoder: Architecture, source: Architecture) -> None:
    target = seeded(decoder, 1)
    before = {name: p.detach().clone() for name, p in target.named_parameters()}
    assert_report_is_true(target, before, inherit(target, source, seeded(source).state_dict()))


@examples(5)
@given(strategies.text_encoders(), strategies.text_encoders())
def test_any_text_encoder_inherits_from_any_other(encoder: Architecture, source: Architecture) -> None:
    target = seeded(encoder, 1)
    before = {name: p.detach().clone() for name, p in target.named_parameters()}
    assert_report_is_true(target, before, inherit(target, source, seeded(source).state_dict()))


# ---- reductions that must not change the function


def test_channels_that_do_nothing_in_a_feed_forward_are_the_ones_to_go() -> None:
    source = seeded(tiny_unet())
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if name.endswith("ff.net.2.weight"):
                parameter[:, 1::2] = 0.0
    assert_same_function(feed_forward(1.0)(tiny_unet()), source)


def test_equal_keys_and_values_become_shared_ones() -> None:
    source = seeded(tiny_unet())
    with torch.no_grad():
        for part in source.modules():
            if hasattr(part, "shared_kv"):
                part.to_v.weight.copy_(part.to_k.weight)
    assert_same_function(attentions(shared_kv=True)(tiny_unet()), source)


def test_shared_keys_and_values_become_the_mean() -> None:
    source, target = seeded(tiny_unet()), seeded(attentions(shared_kv=True)(tiny_unet()), 1)
    inherit(target, source.arch, source.state_dict())
    name = "mid_block.attentions.0.transformer_blocks.0.attn2."
    state = source.state_dict()
    mean = (state[f"{name}to_k.weight"] + state[f"{name}to_v.weight"]) / 2
    torch.testing.assert_close(target.state_dict()[f"{name}to_k.weight"], mean)


def test_heads_of_a_group_become_their_mean_and_back() -> None:
    """MQA -> one head each computes the same; averaged again it is what it was."""
    grouped = attentions(kv_heads=1)(tiny_unet())
    source = seeded(grouped)
    full = seeded(tiny_unet(), 1)
    inherit(full, grouped, source.state_dict())
    inputs = unet_inputs(grouped)
    torch.testing.assert_close(output(full, inputs), output(source, inputs), atol=1e-5, rtol=1e-4)
    assert_same_function(grouped, full)


def test_separable_convolutions_become_full_ones_and_back() -> None:
    for expansion in (1.0, 2.0):
        small = separable(expansion)(tiny_unet())
        source = seeded(small)
        assert_same_function(small, source)
        if expansion == 1.0:
            assert_same_function(tiny_unet(), source)
            full = seeded(tiny_unet(), 1)
            inherit(full, small, source.state_dict())
            assert_same_function(small, full, atol=1e-4)


def test_expansion_gives_each_hidden_channel_a_second_kernel() -> None:
    """A full second convolution of rank 2 per channel, after a first of rank 1, is taken over exactly."""
    unet = tiny_unet()
    source = seeded(unet)
    with torch.no_grad():
        for part in source.modules():
            if type(part).__name__ == "ResidualBlock":
                for conv, rank in ((part.conv1, 1), (part.conv2, 2)):
                    depthwise, pointwise = cuts.separable_from_full(conv.weight, rank)
                    whole = cuts.full_from_separable(depthwise, pointwise)
                    conv.weight.copy_(whole.unflatten(1, (-1, rank)).sum(2))
    expanded = reductions.map_blocks(
        unet, lambda b: replace(b, separable=Separable(expansion=2)) if isinstance(b, ResBlock) else b
    )
    assert_same_function(expanded, source, atol=1e-4)


def test_lost_biases_are_folded_where_they_can_be() -> None:
    """Convolutions without bias, from ones with bias: the time projection and the shortcut take them over."""
    source = seeded(separable(stages=(1,))(tiny_unet()))
    target = seeded(separable(bias=False, stages=(1,))(tiny_unet()), 1)
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if name.endswith("depthwise.bias"):  # meets the padding of the pointwise convolution's input: not foldable
                parameter.zero_()
    inherit(target, source.arch, source.state_dict())
    old, new = source.down_blocks[1].resnets[0], target.down_blocks[1].resnets[0]
    assert old.conv_shortcut is not None
    assert new.conv1.pointwise.bias is None
    x, temb = torch.randn(1, 16, 5, 5), torch.randn(1, 32)
    with torch.no_grad():
        torch.testing.assert_close(new(x, temb), old(x, temb), atol=1e-5, rtol=1e-4)


@examples(10)
@given(strategies.unets())
def test_wider_and_back_is_lossless(unet: UNet) -> None:
    """Channels go to places from which slicing takes them again, joins and norm groups included."""
    wide = reductions_double(unet)
    source, middle, target = seeded(unet), seeded(wide, 1), seeded(unet, 2)
    inherit(middle, unet, source.state_dict())
    report = inherit(target, wide, middle.state_dict())
    assert report.new == 0
    for (name, a), b in zip(source.named_parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def reductions_double(unet: UNet) -> UNet:
    """All channels doubled, feed-forwards and transformers as they are."""

    def on(block: Any) -> Any:
        return replace(block, channels=2 * block.channels) if hasattr(block, "channels") else block

    wide = reductions.map_blocks(unet, on)
    stages = tuple(
        replace(s, downsample=s.downsample and on(s.downsample), upsample=s.upsample and on(s.upsample))
        for s in wide.stages
    )
    time = replace(unet.time, width=2 * unet.time.width)
    return replace(wide, stages=stages, conv_in_channels=2 * unet.conv_in_channels, time=time)


def test_a_removed_transformer_is_a_bypass() -> None:
    unet = tiny_unet()
    source = seeded(unet)
    without = replace(unet, middle=(unet.middle[0], unet.middle[2]))
    target = seeded(without, 1)
    inherit(target, unet, source.state_dict())
    with torch.no_grad():
        source.mid_block.attentions[0].proj_out.weight.zero_()
        source.mid_block.attentions[0].proj_out.bias.zero_()
    inputs = unet_inputs(unet)
    torch.testing.assert_close(output(target, inputs), output(source, inputs), atol=1e-6, rtol=1e-5)


def test_a_removed_residual_block_leaves_its_shortcut() -> None:
    unet = tiny_unet()
    source, target = seeded(unet), seeded(reductions.shortcut(1)(unet), 1)
    inherit(target, unet, source.state_dict())
    state = source.state_dict()
    name = "up_blocks.0.{}.0.conv_shortcut.weight"
    assert torch.equal(target.state_dict()[name.format("shortcuts")], state[name.format("resnets")])


def test_new_blocks_start_as_the_identity() -> None:
    small = feed_forward(None)(reductions.transformer_blocks(lambda b: replace(b, first=None))(tiny_unet()))
    small = replace(small, middle=small.middle[:1])
    source = seeded(small)
    deep = replace(tiny_unet(), middle=(ResBlock(channels=24), transformer(24, depth=2), ResBlock(channels=24)))
    assert_same_function(replace(deep, middle=(*deep.middle, SpatialAttention(heads=2))), source)


def test_a_repeated_block_starts_as_a_copy() -> None:
    unet = tiny_unet()
    attention = transformer(24)
    repeated = replace(unet, middle=(unet.middle[0], attention, attention, unet.middle[2]))
    source, target = seeded(unet), seeded(repeated, 1)
    report = inherit(target, unet, source.state_dict())
    assert report.new == 0
    both = target.mid_block.attentions
    assert torch.equal(both[0].proj_in.weight, both[1].proj_in.weight)


# ---- approximations


def test_the_separable_fit_is_the_best_there_is() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 5, 3, 3)
    singular = torch.linalg.svdvals(weight.permute(1, 0, 2, 3).reshape(5, 6, 9))
    for rank in (1, 2):
        depthwise, pointwise = cuts.separable_from_full(weight, rank)
        assert depthwise.shape == (5 * rank, 1, 3, 3)
        assert pointwise.shape == (6, 5 * rank, 1, 1)
        fitted = cuts.full_from_separable(depthwise, pointwise).unflatten(1, (5, rank)).sum(2)
        error = (weight - fitted).square().sum()
        torch.testing.assert_close(error, singular[:, rank:].square().sum(), rtol=1e-4, atol=1e-5)


def test_sinusoids_of_half_the_width_are_every_second_frequency() -> None:
    from archsearch.models.embeddings import Sinusoid

    steps = torch.tensor([3.0, 517.0])
    wide = Sinusoid(16, flip_sin_to_cos=True, freq_shift=0.0)(steps)
    narrow = Sinusoid(8, flip_sin_to_cos=True, freq_shift=0.0)(steps)
    torch.testing.assert_close(wide[:, cuts.sinusoid(16, 8)], narrow)


def test_kernels_are_cropped_and_padded_around_their_centre() -> None:
    weight = torch.randn(2, 3, 3, 3)
    x = torch.randn(1, 3, 6, 6)
    padded = cuts.resized_kernel(weight, 5)
    same = nn.functional.conv2d(x, padded, padding=2)
    torch.testing.assert_close(same, nn.functional.conv2d(x, weight, padding=1))
    assert torch.equal(cuts.resized_kernel(padded, 3), weight)


# ---- matching


def test_bk_sdm_takes_the_layers_that_its_authors_took() -> None:
    """BK-SDM keeps the first down layer, and the first and the last up layer, of every stage (its section 3)."""
    target, source = load_preset("bk-sdm-base").architecture, load_preset("sd15").architecture
    found = {part.path: other.path for part, other in match(target, source) if other is not None}
    for stage in range(4):
        assert found[f"down_blocks.{stage}.resnets.0."] == f"down_blocks.{stage}.resnets.0."
        assert found[f"up_blocks.{stage}.resnets.0."] == f"up_blocks.{stage}.resnets.0."
        assert found[f"up_blocks.{stage}.resnets.1."] == f"up_blocks.{stage}.resnets.2."
    assert len(found) == len(match(target, source))


# ---- files and errors


def test_diffusers_folders_are_read(tmp_path: Path) -> None:
    from archsearch.arch import from_diffusers
    from tests.models.reference import diffusers_unet, reduced

    sd15 = load_preset("sd15").architecture
    assert isinstance(sd15, UNet)
    theirs = diffusers_unet(reduced(sd15))
    theirs.save_pretrained(tmp_path)  # type: ignore[operator]
    arch, state = read_weights(tmp_path)
    assert arch == from_diffusers(reduced(sd15))
    assert inherit(build(arch), arch, state).copied == sum(p.numel() for p in theirs.parameters())


def test_our_own_folders_and_shards_are_read(tmp_path: Path) -> None:
    module = seeded(tiny_unet())
    module.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    arch, state = read_weights(tmp_path)
    assert arch == tiny_unet()
    assert all(torch.equal(state[name], p) for name, p in module.named_parameters())


def test_a_saved_model_is_an_architecture_to_every_command(tmp_path: Path) -> None:
    for arch in (tiny_unet(), load_preset("mobilediffusion-decoder-lite").architecture):
        build(arch, device="meta").save_config(tmp_path)
        assert resolve(str(tmp_path)).architecture == arch
    config = json.loads((tmp_path / "config.json").read_text())
    config["architecture"]["norm_groups"] = -1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArchError, match=r"architecture\.norm_groups"):
        resolve(str(tmp_path))


def test_folders_without_readable_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchsearchError):
        read_weights(tmp_path)
    seeded(tiny_unet()).save_config(tmp_path)
    with pytest.raises(ModelError, match="no weights here"):
        read_weights(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="not a readable safetensors"):
        read_weights(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    for data in ([], {"weight_map": {"a": "../../secret"}}, {"weight_map": {"a": 3}}):
        index.write_text(json.dumps(data))
        with pytest.raises(ModelError):
            read_weights(tmp_path)


def test_prefixes_and_old_names_are_understood() -> None:
    state = {
        "encoder.conv_in.weight": torch.zeros(1),
        "decoder.mid_block.attentions.0.query.weight": torch.zeros(4, 4, 1, 1),
        "decoder.mid_block.attentions.0.proj_attn.bias": torch.zeros(4),
    }
    assert {name: tuple(t.shape) for name, t in normalised(state).items()} == {
        "mid_block.attentions.0.to_q.weight": (4, 4),
        "mid_block.attentions.0.to_out.0.bias": (4,),
    }
    assert list(normalised({"text_model.final_layer_norm.bias": torch.zeros(1)})) == ["final_layer_norm.bias"]


def test_weights_of_another_network_are_refused() -> None:
    module, state = seeded(tiny_unet()), seeded(tiny_unet()).state_dict()
    missing = dict(state)
    missing.pop("conv_out.weight")
    with pytest.raises(ModelError, match=r"conv_out\.weight"):
        load_diffusers(module, missing)
    with pytest.raises(ModelError, match="another shape"):
        load_diffusers(module, {**state, "conv_out.bias": torch.zeros(7)})
    with pytest.raises(ModelError, match="same kind"):
        inherit(module, load_preset("sd-decoder").architecture, {})


# ---- inherited weights are worth something


@pytest.fixture(scope="module")
def trained() -> Any:
    """A small UNet after some seconds of denoising coloured blobs."""
    torch.set_num_threads(1)
    unet = tiny_unet((16, 24), in_channels=3)
    coarse = unet.stages[1]
    unet = replace(unet, stages=(unet.stages[0], replace(coarse, down=coarse.down * 2, up=(*coarse.up, coarse.up[1]))))
    module = seeded(unet)
    untrained = validation_loss(module)
    reductions.train(module, 60)
    assert validation_loss(module) < 0.6 * untrained
    return module


@settings(parent=examples(12), derandomize=True)
@given(change=reductions.random_reductions())
def test_inherited_weights_start_lower_than_random_ones(trained: Any, change: reductions.Reduce) -> None:
    reduced = change(trained.arch)
    module = seeded(reduced, 1)
    random = validation_loss(module)
    report = inherit(module, trained.arch, trained.state_dict())
    assert report.copied + report.sliced + report.new == sum(p.numel() for p in module.parameters())
    assert validation_loss(module) < random


@pytest.mark.parametrize("expansion", [1.0, 2.0])
def test_separable_from_full_beats_random_separable(trained: Any, expansion: float) -> None:
    """All else inherited: only the separable convolutions differ."""
    reduced = separable(expansion)(trained.arch)
    fitted, random = seeded(reduced, 1), seeded(reduced, 1)
    inherit(fitted, trained.arch, trained.state_dict())
    fresh = {
        name: p.clone() for name, p in random.state_dict().items() if ".depthwise." in name or ".pointwise." in name
    }
    random.load_state_dict({**fitted.state_dict(), **fresh})
    assert validation_loss(fitted) < validation_loss(random)


def test_depth_of_transformers_can_shrink() -> None:
    deep = replace(tiny_unet(), middle=(tiny_unet().middle[0], transformer(24, depth=3), tiny_unet().middle[2]))
    source = seeded(deep)
    target = seeded(tiny_unet(), 1)
    report = inherit(target, deep, source.state_dict())
    assert report.new == 0
    name = "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"
    assert torch.equal(target.state_dict()[name], source.state_dict()[name])
    assert sum(name.startswith("mid_block.attentions.0.transformer_blocks.2") for name in report.dropped) == 20


def test_an_empty_transformer_inherits_its_projections() -> None:
    hollow = Transformer(width=24, blocks=(TransformerBlock(),))
    unet = replace(tiny_unet(), middle=(tiny_unet().middle[0], hollow, tiny_unet().middle[2]))
    source, target = seeded(tiny_unet()), seeded(unet, 1)
    assert inherit(target, tiny_unet(), source.state_dict()).new == 0
