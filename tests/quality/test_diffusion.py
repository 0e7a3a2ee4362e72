from __future__ import annotations

import numpy as np
import pytest
import torch

from archsearch.quality.diffusion import TIMESTEPS, Batches, alphas_cumprod, noised
from archsearch.quality.shapes import ShapesData

SCHEDULES = ("cosine", "scaled_linear")


@pytest.mark.parametrize(("schedule", "theirs"), [("cosine", "squaredcos_cap_v2"), ("scaled_linear", "scaled_linear")])
def test_schedules_and_velocities_are_those_of_diffusers(schedule, theirs):
    from diffusers import DDPMScheduler

    reference = DDPMScheduler(TIMESTEPS, beta_start=0.00085, beta_end=0.012, beta_schedule=theirs)
    bar = alphas_cumprod(schedule)
    torch.testing.assert_close(bar, reference.alphas_cumprod, rtol=2e-4, atol=1e-6)
    images, noise = torch.randn(2, 5, 3, 8, 8)
    timestep = torch.tensor([0, 10, 500, 990, 999])
    noisy, target = noised(images, noise, timestep, reference.alphas_cumprod)
    torch.testing.assert_close(noisy, reference.add_noise(images, noise, timestep))
    torch.testing.assert_close(target, reference.get_velocity(images, noise, timestep))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_images_come_back_from_noisy_ones_and_targets(schedule):
    bar = alphas_cumprod(schedule)
    images, noise = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64)
    timestep = torch.tensor([3, 300, 700, 999])
    noisy, target = noised(images, noise, timestep, bar.double())
    a, s = bar.double()[timestep][:, None, None, None].sqrt(), (1 - bar.double()[timestep])[:, None, None, None].sqrt()
    torch.testing.assert_close(a * noisy - s * target, images)


def batches(dropout: float = 0.0) -> Batches:
    return Batches(ShapesData(7, 32), alphas_cumprod("cosine"), dropout)


def test_training_batches_are_functions_of_seed_and_step():
    a, b = batches().train(1, 5, 6), batches().train(1, 5, 6)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    for other in (batches().train(2, 5, 6), batches().train(1, 6, 6)):
        assert not torch.equal(a.noisy, other.noisy)
        assert not torch.equal(a.timestep, other.timestep)


def test_time_steps_of_a_batch_are_stratified():
    timestep = batches().train(0, 3, 20).timestep
    assert (timestep // (TIMESTEPS // 20)).tolist() == list(range(20))


def test_guidance_dropout_empties_captions_at_its_rate():
    from archsearch.quality.text import encode, tokens

    empty = encode(tokens([""]))[0]
    dropped = [bool(torch.equal(state, empty)) for step in range(10) for state in batches(0.25).train(0, step, 40).text]
    assert 0.17 < np.mean(dropped) < 0.33
    assert not any(torch.equal(state, empty) for state in batches().train(0, 0, 40).text)


def test_validation_batches_are_fixed_and_spread_over_time():
    first, again = (batches().fixed(9, 64, "held_out") for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert sorted((first.timestep * 64 // TIMESTEPS).tolist()) == list(range(64))
    for start in range(0, 64, 16):  # every part has early and late time steps
        part = first.timestep[start : start + 16]
        assert int(part.min()) < 150
        assert int(part.max()) > 850
