"""Noise schedules, v-prediction, and the batches of training: each a pure function of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from archsearch.errors import QualityError
from archsearch.quality import text as captions_text
from archsearch.quality.draws import seed_of

if TYPE_CHECKING:
    from archsearch.arch.values import UNet
    from archsearch.quality.scenes import Split
    from archsearch.quality.shapes import ShapesData

TIMESTEPS = 1000


class Batch(NamedTuple):
    """Noisy images [B, C, H, W], time steps [B], text states [B, L, D], v targets [B, C, H, W] and weights [B]."""

    noisy: Tensor
    timestep: Tensor
    text: Tensor
    target: Tensor
    weight: Tensor

    def losses(self, prediction: Tensor) -> Tensor:
        """The weighted squared error [B] of a v-prediction."""
        return self.weight * (prediction - self.target).square().mean(dim=(1, 2, 3))


def alphas_cumprod(schedule: Literal["cosine", "scaled_linear"]) -> Tensor:
    """Signal power [TIMESTEPS] at each time step, float32.

    ``cosine`` is that of Nichol and Dhariwal (2021), ``scaled_linear`` that of Stable Diffusion.
    """
    if schedule == "cosine":
        steps = torch.arange(TIMESTEPS + 1, dtype=torch.float64) / TIMESTEPS
        bar = torch.cos((steps + 0.008) / 1.008 * torch.pi / 2).square()
        betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    else:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64).square()
    return torch.cumprod(1 - betas, dim=0).float()


def noised(images: Tensor, noise: Tensor, timestep: Tensor, bar: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy images and the v target (Salimans and Ho 2022): v = a * noise - s * image for a^2 + s^2 = 1."""
    power = bar[timestep][:, None, None, None]
    a, s = power.sqrt(), (1 - power).sqrt()
    return a * images + s * noise, a * noise - s * images


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of captioned shapes under a noise schedule.

    With the weighting ``image`` the loss is the squared error of the image that a v-prediction implies,
    x0 = a * noisy - s * v: the error of v times s^2.  Unweighted, the steps with hardly any noise dominate, where all
    is local and networks do not differ.
    """

    data: ShapesData
    bar: Tensor
    guidance_dropout: float = 0.0
    weighting: Literal["image", "velocity"] = "image"

    def train(self, seed: int, step: int, size: int) -> Batch:
        """The batch of a training step.  Time steps are stratified over the batch."""
        import numpy as np

        from archsearch.quality.draws import Draws

        index = np.arange(step * size, (step + 1) * size)
        draws = Draws(f"train/{seed}", index)
        spread = (np.arange(size) + draws.uniform("timestep")) / size
        dropped = draws.uniform("guidance") < self.guidance_dropout
        return self._batch(index, "train", spread, dropped, seed_of("train noise", seed, step))

    def fixed(self, seed: int, size: int, split: Split) -> Batch:
        """A fixed validation batch: nothing in it is seen in training, time steps are spread evenly."""
        import numpy as np

        # Neighbouring time steps go to distant samples, so that any contiguous part is spread as well.
        order = np.argsort((np.arange(size) * 0.6180339887498949) % 1.0)
        spread = (np.argsort(order) + 0.5) / size
        never = np.zeros(size, dtype=bool)
        return self._batch(np.arange(size), split, spread, never, seed_of("validation noise", seed, split))

    def _batch(self, index, split, spread, dropped, noise_seed: int) -> Batch:  # type: ignore[no-untyped-def]
        images, captions = self.data.batch(index, split)
        captions = ["" if drop else caption for caption, drop in zip(captions, dropped, strict=True)]
        image = torch.from_numpy(images)
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(noise_seed))
        timestep = torch.from_numpy((spread * TIMESTEPS).astype("int64")).clamp(max=TIMESTEPS - 1)
        noisy, target = noised(image, noise, timestep, self.bar)
        weight = 1 - self.bar[timestep] if self.weighting == "image" else torch.ones(len(timestep))
        return Batch(noisy, timestep, captions_text.encode(captions_text.tokens(captions)), target, weight)


def check_inputs(header: UNet, latent: tuple[int, int]) -> int:
    """The image size that a space asks for.

    Raises:
        QualityError: the embedded data do not fit the space.
    """
    for name, got, allowed in (
        ("unet.in_channels", header.in_channels, 3),
        ("unet.out_channels", header.out_channels, 3),
        ("unet.text_width", header.text_width, captions_text.WIDTH),
        ("conditions.latent", latent[0], latent[1]),
    ):
        if got != allowed:
            raise QualityError("the embedded shapes do not fit this space", where=name, got=got, allowed=allowed,
                               next_step="train on a space for RGB images, such as demo")  # fmt: skip
    return latent[0]
