"""What is trained: the supernet, its optimiser and average, and one step of both.  No framework around it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from archsearch.quality.config import TrainConfig
from archsearch.quality.diffusion import Batches, alphas_cumprod, check_inputs
from archsearch.quality.sampling import NetworkSampler
from archsearch.quality.shapes import ShapesData
from archsearch.quality.state import load_state, not_finite, save_state
from archsearch.quality.supernet import Supernet
from archsearch.quality.updates import UpdateCounter

if TYPE_CHECKING:
    from archsearch.space import Space

LOSS_MEMORY = 0.98  # of the smoothed loss that progress shows


class Trainee:
    """A supernet in training: all that changes from step to step, and nothing else."""

    def __init__(self, space: Space, config: TrainConfig) -> None:
        """Begin at step 0.

        Raises:
            QualityError: the embedded data do not fit the space, or it has a block that no supernet has a place for.
        """
        self.config = config
        size = check_inputs(space.chain.headers[0], space.conditions.latent)
        self.supernet = Supernet(space, config.seed)
        self.sampler = NetworkSampler(space, config)
        self.batches = Batches(
            ShapesData(config.seed, size), alphas_cumprod(config.schedule), config.guidance_dropout, config.weighting
        )
        self.optimizer = torch.optim.AdamW(
            self.supernet.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.ema: dict[str, Tensor] = {name: p.detach().clone() for name, p in self.supernet.weights.items()}
        self.updates = UpdateCounter(self.supernet)
        self.step = 0
        self.seconds = 0.0
        self.loss = math.nan
        self._since = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        steps, seconds = self.config.steps, self.config.seconds
        return (steps is not None and self.step >= steps) or (seconds is not None and self.seconds >= seconds)

    def start_clock(self) -> None:
        """Count seconds from here."""
        self._since = time.monotonic()

    def loss_of(self, step: int) -> Tensor:
        """The loss of one step.

        Raises:
            QualityError: it is NaN or infinite.
        """
        assert step == self.step
        network = self.sampler.network(step)
        batch = self.batches.train(self.config.seed, step, self.config.batch)
        prediction = self.supernet(batch.noisy, batch.timestep, batch.text, network)
        loss = batch.losses(prediction).mean()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise not_finite(step, value)
        self.updates.add(network)
        memory = min(LOSS_MEMORY, step / (step + 1))
        self.loss = value if memory == 0 else memory * self.loss + (1 - memory) * value
        return loss

    def after_step(self) -> None:
        """Average the weights and count the step; the average forgets faster at the start."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.values()), list(self.supernet.weights.values()), 1 - decay)
        self.step += 1
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now

    def save(self, path: Path, space_hash: str) -> None:
        """Write all of it.

        Raises:
            QualityError: a weight is not finite, or the disk is full.
        """
        state: dict[str, Any] = {
            "space": space_hash,
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "weights": {name: weight.detach() for name, weight in self.supernet.weights.items()},
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates.tensor(),
        }
        save_state(path, state)

    def continue_from(self, path: Path, space_hash: str) -> None:
        """Take up the state in a file, if there is one.

        Raises:
            QualityError: it is damaged or of another space.
        """
        state = load_state(path, space_hash)
        if state is None:
            return
        with torch.no_grad():
            for name, weight in self.supernet.weights.items():
                weight.copy_(state["weights"][name])
                self.ema[name].copy_(state["ema"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates.restore(state["updates"])
        self.step, self.seconds, self.loss = int(state["step"]), float(state["seconds"]), float(state["loss"])
