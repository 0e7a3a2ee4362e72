"""The image decoder of any architecture value: latents to pixels."""

from __future__ import annotations

from typing import Any, cast

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from archsearch.arch import Decoder, Upsample, from_dict, to_dict, values, walk
from archsearch.errors import ModelError
from archsearch.models.blocks import Common, activation
from archsearch.models.stages import DecoderBlock, MidBlock


class DecoderModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """conv_in, middle, stages from coarse to fine, norm, activation, conv_out.

    Names are those of ``AutoencoderKL``'s ``decoder`` (without that prefix).
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(self, architecture: dict[str, Any]) -> None:
        """Build the module from plain data of a decoder.

        Raises:
            ArchError: the architecture is malformed or not a decoder.
        """
        super().__init__()
        decoder = from_dict(dict(architecture), "architecture")
        if not isinstance(decoder, Decoder):
            raise ModelError("not a decoder", where="architecture.kind", got=decoder.kind, allowed="decoder")
        self.arch = decoder
        common = Common.of(decoder)
        self.conv_in = nn.Conv2d(decoder.latent_channels, decoder.conv_in_channels, 3, padding=1)
        self.mid_block = MidBlock(common)
        self.up_blocks = nn.ModuleList([DecoderBlock(common) for _ in decoder.stages])
        channels = 0
        for step in walk(decoder):
            stage = cast(DecoderBlock, self.up_blocks[step.place.stage])
            if step.role == "block":
                half = self.mid_block if step.place.half == "middle" else stage
                half.add(0, cast(values.Block, step.value), step.in_channels)
            elif step.role == "upsample":
                stage.add_upsample(cast(Upsample, step.value), step.in_channels)
            elif step.role == "head":
                channels = step.in_channels
        self.conv_norm_out = nn.GroupNorm(decoder.norm_groups, channels, decoder.norm_eps)
        self.conv_act = activation(decoder.activation)
        self.conv_out = nn.Conv2d(channels, decoder.out_channels, 3, padding=1)

    @classmethod
    def from_architecture(cls, decoder: Decoder) -> DecoderModel:
        """The module of a decoder value."""
        return cls(architecture=to_dict(decoder))

    def forward(self, latents: Tensor) -> Tensor:
        """[batch, latent_channels, h, w] -> [batch, out_channels, H, W]."""
        x = self.mid_block(self.conv_in(latents))
        for stage in self.up_blocks:
            x = stage(x)
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))
