"""The denoising UNet of any architecture value, as a diffusers model."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, FrozenDict, register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import RMSNorm
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from diffusers.utils.constants import USE_PEFT_BACKEND
from diffusers.utils.peft_utils import scale_lora_layers, unscale_lora_layers
from torch import Tensor, nn

from archsearch.arch import Downsample, UNet, Upsample, from_dict, to_dict, values, walk
from archsearch.errors import ModelError
from archsearch.models.blocks import Common, activation
from archsearch.models.embeddings import Sinusoid, TimestepEmbedding
from archsearch.models.stages import DownBlock, MidBlock, UpBlock


class UNetModel(ModelMixin, AttentionMixin, ConfigMixin, PeftAdapterMixin):  # type: ignore[misc]
    """A text-conditioned UNet, usable where diffusers takes a ``UNet2DConditionModel``.

    Every operator that ``archsearch.cost`` counts is one that ``forward`` runs.  Parameters carry diffusers' names
    wherever diffusers has the layer; removed blocks are absent.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules: Any = ("ResidualBlock", "TransformerBlock")
    _repeated_blocks: Any = ("TransformerBlock",)
    _skip_layerwise_casting_patterns: Any = ("norm",)

    @register_to_config
    def __init__(self, architecture: dict[str, Any], sample_size: int | tuple[int, int] | None = 64) -> None:
        """Build the module.

        Args:
            architecture: plain data of a UNet (``archsearch.arch.to_dict``).
            sample_size: latent side or (height, width) that pipelines take by default.

        Raises:
            ArchError: the architecture is malformed or not a UNet.
        """
        super().__init__()
        unet = from_dict(dict(architecture), "architecture")
        if not isinstance(unet, UNet):
            raise ModelError("not a UNet", where="architecture.kind", got=unet.kind, allowed="unet")
        self.arch = unet
        self.sample_size = sample_size
        common = Common.of(unet)
        time, added, text = unet.time, unet.added, unet.text_projection
        self.time_proj = Sinusoid(time.input_width, flip_sin_to_cos=time.flip_sin_to_cos, freq_shift=time.freq_shift)
        self.time_embedding = TimestepEmbedding(time.input_width, time.width, unet.activation, time.cond_width)
        if added is not None:
            self.add_time_proj = Sinusoid(
                added.time_width, flip_sin_to_cos=time.flip_sin_to_cos, freq_shift=time.freq_shift
            )
            self.add_embedding = TimestepEmbedding(added.input_width, time.width, "silu")
        self.encoder_hid_proj = None if text is None else _text_projection(text, cast(int, unet.text_width))
        self.conv_in = _conv(unet.in_channels, unet.conv_in_channels, unet.conv_in_kernel)
        self.down_blocks = nn.ModuleList([DownBlock(common) for _ in unet.stages])
        self.mid_block = MidBlock(common)
        self.up_blocks = nn.ModuleList([UpBlock(common) for _ in unet.stages])
        channels = self._add_blocks(unet)
        self.conv_norm_out = nn.GroupNorm(unet.norm_groups, channels, unet.norm_eps)
        self.conv_act = activation(unet.activation)
        self.conv_out = _conv(channels, unet.out_channels, unet.conv_out_kernel)

    @classmethod
    def from_architecture(cls, unet: UNet, sample_size: int | tuple[int, int] | None = 64) -> UNetModel:
        """The module of a UNet value, with torch's default initialisation.

        Raises:
            ArchError: the architecture is inconsistent.
        """
        return cls(architecture=to_dict(unet), sample_size=sample_size)

    def _add_blocks(self, unet: UNet) -> int:
        channels = 0
        last = len(unet.stages) - 1
        for s, stage in enumerate(unet.stages):  # layers without blocks still push their skips
            cast(DownBlock, self.down_blocks[s]).reach(len(stage.down) - 1)
        for step in walk(unet):
            place = step.place
            if step.role == "block":
                half = cast(
                    "DownBlock | MidBlock | UpBlock",
                    {"down": self.down_blocks, "up": self.up_blocks}[place.half][
                        place.stage if place.half == "down" else last - place.stage
                    ]
                    if place.half != "middle"
                    else self.mid_block,
                )
                half.add(place.layer, cast(values.Block, step.value), step.in_channels)
            elif step.role == "downsample":
                down = cast(DownBlock, self.down_blocks[place.stage])
                down.add_downsample(cast(Downsample, step.value), step.in_channels)
            elif step.role == "upsample":
                up = cast(UpBlock, self.up_blocks[last - place.stage])
                up.add_upsample(cast(Upsample, step.value), step.in_channels)
            elif step.role == "head":
                channels = step.in_channels
        return channels

    @property
    def config(self) -> FrozenDict:
        """The saved configuration, and what pipelines ask of a UNet's configuration besides."""
        return FrozenDict({**_facts(self.arch), **super().config})

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor | None = None,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        down_block_additional_residuals: tuple[Tensor, ...] | None = None,
        mid_block_additional_residual: Tensor | None = None,
        down_intrablock_additional_residuals: tuple[Tensor, ...] | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """Denoise; arguments and order are those of diffusers' ``UNet2DConditionModel.forward``.

        Args:
            sample: noisy latents [batch, in_channels, H, W], any H and W.
            timestep: a number or [batch].
            encoder_hidden_states: text states [batch, tokens, text width] (before the text projection, if any).
            class_labels: must be None.
            timestep_cond: [batch, cond_width] for guidance-conditioned students.
            attention_mask: must be None.
            cross_attention_kwargs: passed to the attention processors; ``scale`` scales LoRA layers.
            added_cond_kwargs: ``time_ids`` [batch, ids] and ``text_embeds`` [batch, pooled_width].
            down_block_additional_residuals: ControlNet's residuals, one a skip.
            mid_block_additional_residual: ControlNet's residual of the middle.
            down_intrablock_additional_residuals: must be None.
            encoder_attention_mask: [batch, tokens], 1 or True keeps a text token.
            return_dict: wrap the result.

        Returns:
            the prediction [batch, out_channels, H, W].

        Raises:
            ModelError: an argument that this network has no use for or that is missing.
        """
        for name, value in (
            ("class_labels", class_labels),
            ("attention_mask", attention_mask),
            ("down_intrablock_additional_residuals", down_intrablock_additional_residuals),
        ):
            if value is not None:
                raise ModelError("this UNet has no use for the argument", where=name, got="a value", allowed="None")
        temb = self._time(sample, timestep, timestep_cond, added_cond_kwargs)
        text = encoder_hidden_states
        if self.encoder_hid_proj is not None:
            text = self.encoder_hid_proj(text)
        attention = dict(cross_attention_kwargs or {})
        lora_scale = attention.pop("scale", None)
        if encoder_attention_mask is not None:
            attention["text_mask"] = ((1 - encoder_attention_mask.to(sample.dtype)) * -10000.0)[:, None]
        if lora_scale is not None and USE_PEFT_BACKEND:
            scale_lora_layers(self, lora_scale)
        try:
            x = self._denoise(
                sample, temb, text, attention, down_block_additional_residuals, mid_block_additional_residual
            )
        finally:
            if lora_scale is not None and USE_PEFT_BACKEND:
                unscale_lora_layers(self, lora_scale)
        return UNet2DConditionOutput(sample=x) if return_dict else (x,)

    def _denoise(
        self,
        sample: Tensor,
        temb: Tensor,
        text: Tensor | None,
        attention: dict[str, Any],
        down_residuals: tuple[Tensor, ...] | None,
        mid_residual: Tensor | None,
    ) -> Tensor:
        x = self.conv_in(sample)
        skips = [x]
        for down in self.down_blocks:
            x, new = down(x, temb, text, **attention)
            skips += new
        if (down_residuals is None) != (mid_residual is None):
            missing = "down_block_additional_residuals" if down_residuals is None else "mid_block_additional_residual"
            raise ModelError("ControlNet residuals come together", where=missing, got="None", allowed="a value")
        if down_residuals is not None:
            if len(down_residuals) != len(skips):
                raise ModelError("one residual a skip", where="down_block_additional_residuals",
                                 got=len(down_residuals), allowed=len(skips))  # fmt: skip
            skips = [skip + residual for skip, residual in zip(skips, down_residuals, strict=True)]
        x = self.mid_block(x, temb, text, **attention)
        if mid_residual is not None:
            x = x + mid_residual
        for up in self.up_blocks:
            x = up(x, skips, temb, text, **attention)
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))

    def _time(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        timestep_cond: Tensor | None,
        added_cond_kwargs: dict[str, Tensor] | None,
    ) -> Tensor:
        """The time embedding [batch, time width], added conditions included."""
        batch = sample.shape[0]
        steps = timestep if isinstance(timestep, Tensor) else torch.tensor([timestep], device=sample.device)
        steps = steps.to(sample.device).reshape(-1).expand(batch)
        temb = self.time_embedding(self.time_proj(steps).to(sample.dtype), timestep_cond)
        added = self.arch.added
        if added is None:
            return temb
        conditions = added_cond_kwargs or {}
        for name in ("time_ids", "text_embeds") if added.pooled_width else ("time_ids",):
            if name not in conditions:
                raise ModelError("this UNet needs an added condition", where=f"added_cond_kwargs[{name!r}]",
                                 got="nothing")  # fmt: skip
        features = self.add_time_proj(conditions["time_ids"].flatten()).reshape(batch, -1)
        if added.pooled_width:
            features = torch.cat([conditions["text_embeds"], features.to(conditions["text_embeds"].dtype)], dim=-1)
        return temb + self.add_embedding(features.to(temb.dtype))


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)


def _text_projection(text: values.TextProjection, width: int) -> nn.Module:
    linear = nn.Linear(text.input_width, width)
    return linear if text.norm is None else nn.Sequential(linear, RMSNorm(width, eps=1e-5))


def _facts(unet: UNet) -> dict[str, Any]:
    """Configuration entries of a ``UNet2DConditionModel`` that pipelines read and that follow from the value."""
    added, text = unet.added, unet.text_projection
    return {
        "in_channels": unet.in_channels,
        "out_channels": unet.out_channels,
        "center_input_sample": False,
        "time_cond_proj_dim": unet.time.cond_width,
        "cross_attention_dim": unet.text_width,
        "encoder_hid_dim": None if text is None else text.input_width,
        "encoder_hid_dim_type": None if text is None else "text_proj_rms" if text.norm else "text_proj",
        "addition_embed_type": None if added is None else "text_time" if added.pooled_width else "time",
        "addition_time_embed_dim": None if added is None else added.time_width,
        "projection_class_embeddings_input_dim": None if added is None else added.input_width,
        "class_embed_type": None,
        "num_class_embeds": None,
        "block_out_channels": tuple(_stage_channels(unet)),
    }


def _stage_channels(unet: UNet) -> list[int]:
    """Channels at the end of each down half, before its downsampler."""
    channels = [0] * len(unet.stages)
    for step in walk(unet):
        if step.role == "push" and step.place.half == "down" and step.level == step.place.stage:
            channels[step.place.stage] = step.out_channels
    return channels
