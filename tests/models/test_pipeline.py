"""Our UNet where diffusers expects its own: pipelines, ControlNet, attention processors, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from archsearch.arch import UNet, from_diffusers, load_preset
from archsearch.cost import Conditions
from archsearch.errors import ModelError
from archsearch.models import build, example_inputs
from archsearch.models.attention import Attention, Processor
from archsearch.models.unet import UNetModel
from tests.models.networks import tiny_unet
from tests.models.reference import diffusers_unet, inputs_of, reduced


def preset(name: str) -> UNet:
    unet = load_preset(name).architecture
    assert isinstance(unet, UNet)
    return unet


def test_controlnet_residuals_do_what_they_do_in_diffusers() -> None:
    torch.manual_seed(0)
    config = reduced(preset("sd15"))
    theirs = diffusers_unet(config)
    unet = from_diffusers(config)
    ours = build(unet).eval()
    ours.load_state_dict(theirs.state_dict())
    inputs = inputs_of(unet, Conditions(latent=(8, 8), text=5))
    from diffusers import ControlNetModel

    control = ControlNetModel.from_unet(theirs, conditioning_channels=3)  # type: ignore[arg-type]
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight)  # fresh ControlNets add zeros
    with torch.no_grad():
        down, middle = control(
            inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"],
            controlnet_cond=torch.rand(1, 3, 64, 64), return_dict=False,
        )  # fmt: skip
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        expected = theirs(**inputs, **residuals)[0]
        torch.testing.assert_close(ours(**inputs, **residuals)[0], expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(ours(**inputs)[0], expected, atol=1e-2)
    with pytest.raises(ModelError, match="one residual a skip"):
        ours(**inputs, down_block_additional_residuals=down[:-1], mid_block_additional_residual=middle)
    with pytest.raises(ModelError, match="come together"):
        ours(**inputs, down_block_additional_residuals=down)


def tiny_pipeline(unet: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    import diffusers

    torch.manual_seed(0)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=64, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=16, bos_token_id=0, eos_token_id=2, pad_token_id=1,
        )
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1,
        set_alpha_to_one=False,
    )  # fmt: skip
    return diffusers.StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=text.eval(), tokenizer=None, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def generate(pipeline: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(1, 7, 24, generator=generator)
    images = pipeline(
        prompt_embeds=embeddings, negative_prompt_embeds=torch.zeros_like(embeddings), height=16, width=16,
        num_inference_steps=3, guidance_scale=5.0, generator=generator, output_type="pt",
    ).images  # fmt: skip
    return images


def test_a_stable_diffusion_pipeline_runs_on_it() -> None:
    config = reduced(preset("sd15"))
    torch.manual_seed(1)
    theirs = diffusers_unet(config)
    ours = UNetModel.from_architecture(from_diffusers(config), sample_size=8).eval()
    ours.load_state_dict(theirs.state_dict())
    images = generate(tiny_pipeline(ours))
    assert images.shape == (1, 3, 16, 16)
    torch.testing.assert_close(images, generate(tiny_pipeline(theirs)), atol=1e-5, rtol=1e-4)


def test_a_pipeline_with_it_saves_and_loads(tmp_path: Path) -> None:
    import diffusers

    config = reduced(preset("bk-sdm-tiny"))
    pipeline = tiny_pipeline(UNetModel.from_architecture(from_diffusers(config), sample_size=8).eval())
    pipeline.save_pretrained(tmp_path)
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path, tokenizer=None, low_cpu_mem_usage=False)
    assert isinstance(again.unet, UNetModel)
    assert torch.equal(generate(again), generate(pipeline))


def test_attention_processors_can_be_exchanged() -> None:
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    unet = tiny_unet()
    module = build(unet).eval()
    inputs = example_inputs(unet, Conditions(latent=(8, 8), text=5))
    names = set(module.attn_processors)
    assert "mid_block.attentions.0.transformer_blocks.0.attn2.processor" in names
    assert len(names) == sum(isinstance(part, Attention) for part in module.modules())
    with torch.no_grad():
        expected = module(**inputs)[0]
        for processor in (AttnProcessor(), AttnProcessor2_0(), {name: Processor() for name in names}):
            module.set_attn_processor(processor)
            torch.testing.assert_close(module(**inputs)[0], expected, atol=1e-5, rtol=1e-5)


def test_masked_text_tokens_have_no_influence() -> None:
    unet = tiny_unet()
    module = build(unet).eval()
    inputs = example_inputs(unet, Conditions(latent=(8, 8), text=5))
    short = {**inputs, "encoder_hidden_states": inputs["encoder_hidden_states"][:, :3]}
    with torch.no_grad():
        masked = module(**inputs, encoder_attention_mask=torch.tensor([[1, 1, 1, 0, 0]]))[0]
        torch.testing.assert_close(masked, module(**short)[0], atol=1e-5, rtol=1e-5)


def test_gradient_checkpointing_changes_memory_and_nothing_else() -> None:
    torch.manual_seed(0)
    unet = tiny_unet()
    module = build(unet)
    inputs = example_inputs(unet, Conditions(latent=(8, 8), text=5))

    def gradients() -> dict[str, torch.Tensor]:
        module.zero_grad()
        module(**inputs)[0].square().mean().backward()
        return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}

    plain = gradients()
    calls = []
    hook = module.mid_block.resnets[0].register_forward_pre_hook(lambda *_: calls.append(1))
    module.enable_gradient_checkpointing()
    checkpointed = gradients()
    hook.remove()
    assert len(calls) == 2  # run again in the backward pass
    assert set(plain) == set(checkpointed) == {name for name, _ in module.named_parameters()}
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)


def test_unused_arguments_are_refused_not_ignored() -> None:
    unet = tiny_unet()
    module = build(unet).eval()
    inputs = example_inputs(unet, Conditions(latent=(8, 8), text=5))
    for name in ("class_labels", "attention_mask", "down_intrablock_additional_residuals"):
        with pytest.raises(ModelError, match=name):
            module(**inputs, **{name: torch.zeros(1)})


def test_missing_added_conditions_are_named() -> None:
    unet = from_diffusers(reduced(preset("sdxl")))
    inputs = example_inputs(unet, Conditions(latent=(8, 8), text=5))
    inputs["added_cond_kwargs"].pop("text_embeds")
    with pytest.raises(ModelError, match="text_embeds"):
        build(unet).eval()(**inputs)


def test_configuration_answers_what_pipelines_ask() -> None:
    module = UNetModel.from_architecture(from_diffusers(reduced(preset("sdxl"))), sample_size=16)
    config = module.config
    assert (config.sample_size, config.in_channels, config.addition_time_embed_dim) == (16, 4, 8)
    assert config.time_cond_proj_dim is None
    assert config.block_out_channels == (32, 64, 128)
    assert module.add_embedding.linear_1.in_features == config.projection_class_embeddings_input_dim


def test_half_precision_runs() -> None:
    unet = tiny_unet()
    module = build(unet).eval()
    inputs = example_inputs(unet, Conditions(latent=(8, 8), text=5))
    with torch.no_grad():
        expected = module(**inputs)[0]
        half = module.to(torch.bfloat16)
        cast = {
            k: v.to(torch.bfloat16) if torch.is_tensor(v) and v.is_floating_point() else v for k, v in inputs.items()
        }
        got = half(**cast)[0]
    assert got.dtype == torch.bfloat16
    assert (got.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_lora_adapters_through_peft(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="LoRA adapters need peft")
    unet = tiny_unet()
    module = build(unet).eval()
    inputs = example_inputs(unet, Conditions(latent=(8, 8), text=5))
    with torch.no_grad():
        plain = module(**inputs)[0]
        module.add_adapter(
            peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False)
        )
        adapted = module(**inputs)[0]
        assert not torch.allclose(adapted, plain, atol=1e-3)
        assert torch.equal(module(**inputs, cross_attention_kwargs={"scale": 0.0})[0], plain)
        assert torch.equal(module(**inputs)[0], adapted)
        module.save_lora_adapter(tmp_path)
        module.unload_lora()
        assert torch.equal(module(**inputs)[0], plain)
        weights = "pytorch_lora_weights.safetensors"
        module.load_lora_adapter(tmp_path, prefix=None, weight_name=weights, use_safetensors=True)
        assert torch.equal(module(**inputs)[0], adapted)
