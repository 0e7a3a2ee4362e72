"""From architecture values to modules and example inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archsearch.arch.values import Architecture, Decoder, UNet
from archsearch.cost.conditions import Conditions

if TYPE_CHECKING:
    from torch import nn


def build(arch: Architecture, *, device: str | None = None) -> nn.Module:
    """The module of a UNet, decoder or text encoder, freshly initialised, in training mode.

    Args:
        arch: what to build.
        device: where to create the weights; ``"meta"`` allocates none.

    Raises:
        ArchError: the architecture is inconsistent.
    """
    import torch

    with torch.device(device or torch.get_default_device()):
        if isinstance(arch, UNet):
            from archsearch.models.unet import UNetModel

            return UNetModel.from_architecture(arch)
        if isinstance(arch, Decoder):
            from archsearch.models.decoder import DecoderModel

            return DecoderModel.from_architecture(arch)
        from archsearch.models.text_encoder import TextEncoderModel

        return TextEncoderModel.from_architecture(arch)


def example_inputs(arch: Architecture, conditions: Conditions, *, device: str = "cpu") -> dict[str, Any]:
    """Keyword arguments of one forward pass under ``conditions``: random tensors of the right shapes.

    ``passes`` has no influence: it says how often the forward pass runs.
    """
    import torch

    batch = conditions.batch
    height, width = conditions.latent

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device)

    if isinstance(arch, Decoder):
        return {"latents": noise(batch, arch.latent_channels, height, width)}
    if not isinstance(arch, UNet):
        return {"input_ids": torch.randint(arch.vocab, (batch, conditions.text), device=device)}
    inputs: dict[str, Any] = {
        "sample": noise(batch, arch.in_channels, height, width),
        "timestep": torch.randint(1000, (batch,), device=device),
        "encoder_hidden_states": None,
        "return_dict": False,
    }
    if arch.text_width is not None:
        text = arch.text_projection
        inputs["encoder_hidden_states"] = noise(batch, conditions.text, text.input_width if text else arch.text_width)
    if arch.time.cond_width is not None:
        inputs["timestep_cond"] = noise(batch, arch.time.cond_width)
    if arch.added is not None:
        added = {"time_ids": noise(batch, arch.added.ids)}
        if arch.added.pooled_width:
            added["text_embeds"] = noise(batch, arch.added.pooled_width)
        inputs["added_cond_kwargs"] = added
    return inputs
