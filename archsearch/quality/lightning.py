"""The Lightning module around a :class:`~archsearch.quality.trainer.Trainee`.  Importing it imports Lightning."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor

if TYPE_CHECKING:
    from archsearch.quality.progress import Progress
    from archsearch.quality.train import Stop
    from archsearch.quality.trainer import Trainee


class SupernetModule(pl.LightningModule):
    """Hands steps from Lightning's loop to the trainee; saves from time to time; stops at the budget."""

    def __init__(self, trainee: Trainee, stop: Stop, save: Callable[[], None], progress: Progress | None) -> None:
        super().__init__()
        self.supernet = trainee.supernet
        self._trainee = trainee
        self._stop = stop
        self._save = save
        self._progress = progress
        self._saved = time.monotonic()

    def configure_optimizers(self) -> Any:
        """The trainee's own optimiser, so that a continued run finds its moments."""
        return self._trainee.optimizer

    def on_train_start(self) -> None:
        """The budget counts training, not imports."""
        self._trainee.start_clock()

    def training_step(self, step: int, batch_idx: int) -> Tensor:
        """The loss of a step."""
        return self._trainee.loss_of(int(step))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Average, save, report, stop."""
        trainee = self._trainee
        trainee.after_step()
        if self._progress is not None:
            self._progress.update(trainee.step, trainee.seconds, trainee.loss)
        if time.monotonic() - self._saved >= trainee.config.save_seconds:
            self._save()
            self._saved = time.monotonic()
        if trainee.finished or self._stop.requested:
            self.trainer.should_stop = True
