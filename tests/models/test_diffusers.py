"""Invariant 3: our modules take diffusers' weights by name and compute what diffusers computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch.arch import UNet, from_diffusers, load_preset, preset_names, to_diffusers
from archsearch.cost import Conditions
from archsearch.errors import ArchError
from archsearch.models import build
from archsearch.models.unet import UNetModel
from tests import strategies
from tests.arch.strategies import dreamlite_configs, unet_configs
from tests.models.reference import diffusers_unet, inputs_of, reduced
from tests.models.test_record import examples


def expressible() -> list[str]:
    names = []
    for name in preset_names():
        unet = load_preset(name).architecture
        if isinstance(unet, UNet):
            try:
                to_diffusers(unet)
            except ArchError:
                continue
            names.append(name)
    return names


def assert_same_output(config: dict[str, Any], latent: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = diffusers_unet(config)
    unet = from_diffusers(config)
    ours = build(unet).eval()
    ours.load_state_dict(theirs.state_dict())
    inputs = inputs_of(unet, Conditions(latent=latent, text=5, batch=2))
    with torch.no_grad():
        torch.testing.assert_close(ours(**inputs)[0], theirs(**inputs)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", expressible())
def test_presets_compute_what_diffusers_computes(name: str) -> None:
    unet = load_preset(name).architecture
    assert isinstance(unet, UNet)
    assert_same_output(reduced(unet), (8, 8))


@examples(15)
@given(unet_configs(), st.sampled_from([(8, 8), (5, 7), (12, 4)]))
def test_random_configs_compute_what_diffusers_computes(config: dict[str, Any], latent: tuple[int, int]) -> None:
    assert_same_output(config, latent)


@examples(12)
@given(dreamlite_configs(), st.sampled_from([(8, 8), (5, 7)]))
def test_random_dreamlites_compute_what_diffusers_computes(config: dict[str, Any], latent: tuple[int, int]) -> None:
    assert_same_output(config, latent)


@pytest.mark.parametrize("name", ["sd15", "sdxl", "dreamlite"])
def test_full_presets_have_the_names_and_shapes_of_diffusers(name: str) -> None:
    unet = load_preset(name).architecture
    assert isinstance(unet, UNet)
    with torch.device("meta"):
        theirs = diffusers_unet(to_diffusers(unet))
    ours = build(unet, device="meta")
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


@examples(8)
@given(strategies.unets())
def test_saving_and_loading_lose_nothing(unet: UNet) -> None:
    import tempfile

    module = build(unet).eval()
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        again = UNetModel.from_pretrained(folder, low_cpu_mem_usage=False)
    assert again.arch == unet
    state = module.state_dict()
    assert set(state) == set(again.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in again.state_dict().items())
    inputs = inputs_of(unet, Conditions(latent=(6, 6), text=3))
    with torch.no_grad():
        assert torch.equal(module(**inputs)[0], again(**inputs)[0])


@examples(5)
@given(strategies.decoders() | strategies.text_encoders())
def test_decoders_and_text_encoders_save_and_load(arch: Any) -> None:
    import tempfile

    module = build(arch)
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        again = type(module).from_pretrained(folder, low_cpu_mem_usage=False)
    assert again.arch == arch
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in module.state_dict().items())


def test_the_decoder_computes_what_diffusers_computes() -> None:
    import diffusers

    from archsearch.arch.other_configs import decoder_from_diffusers

    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16), up_block_types=("UpDecoderBlock2D",) * 2,
        down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4, layers_per_block=2,
    ).eval()  # fmt: skip
    ours = build(decoder_from_diffusers(dict(vae.config))).eval()
    ours.load_state_dict(vae.decoder.state_dict())
    latents = torch.randn(2, 4, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(ours(latents), vae.decoder(latents), atol=1e-5, rtol=1e-5)


def test_the_text_encoder_computes_what_transformers_computes() -> None:
    transformers = pytest.importorskip("transformers")

    from archsearch.arch import TextEncoder

    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
        max_position_embeddings=12,
    )  # fmt: skip
    theirs = transformers.CLIPTextModel(config).eval()
    ours = build(TextEncoder(vocab=50, positions=12, width=24, layers=2, heads=3, ff_width=40)).eval()
    state = {k.removeprefix("text_model."): v for k, v in theirs.state_dict().items() if "position_ids" not in k}
    ours.load_state_dict(state)
    ids = torch.randint(50, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_meta_construction_keeps_the_frequencies() -> None:
    """Built on the meta device and filled, a module computes what one built on the CPU does."""
    unet = from_diffusers(reduced(load_preset("sd15").architecture))  # type: ignore[arg-type]
    module = build(unet).eval()
    filled = build(unet, device="meta").to_empty(device="cpu").eval()
    filled.load_state_dict(module.state_dict())
    inputs = inputs_of(unet, Conditions(latent=(8, 8), text=3))
    with torch.no_grad():
        assert torch.equal(module(**inputs)[0], filled(**inputs)[0])


def test_a_config_of_another_kind_is_refused(tmp_path: Path) -> None:
    decoder = load_preset("sd-decoder").architecture
    from archsearch.arch import to_dict
    from archsearch.errors import ModelError

    with pytest.raises(ModelError, match="not a UNet"):
        UNetModel(architecture=to_dict(decoder))
