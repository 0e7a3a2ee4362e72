"""Robust training of a supernet: Lightning runs the loop, this module says what a step is.

Sample, noise, time step and network of a step are pure functions of (seed, step), and the state on disk is all there
is, so a run that was killed and continued equals one that was not.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from archsearch.quality.config import RESULT, SCHEMA, STATE, UPDATES, WEIGHTS, Run, TrainConfig, open_run
from archsearch.quality.quiet import quiet_libraries

if TYPE_CHECKING:
    from archsearch.quality.progress import Progress
    from archsearch.quality.trainer import Trainee
    from archsearch.quality.updates import PathUpdates
    from archsearch.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What training reached: a run is named by its space, seed and steps."""

    run_dir: Path
    space: str
    seed: int
    steps: int
    seconds: float
    loss: float
    updates: tuple[PathUpdates, ...]

    @property
    def name(self) -> str:
        """``demo-seed0-700steps``."""
        return f"{self.space}-seed{self.seed}-{self.steps}steps"


def train(space: Space, config: TrainConfig, run_dir: Path | str, *, progress: Progress | None = None) -> Training:
    """Train the supernet of a space, or continue the training that lies in ``run_dir``.

    Args:
        space: the search space.
        config: what training does; a continued run may have another budget, nothing else.
        run_dir: where the run lives.
        progress: told about every step.

    Returns:
        what was reached, over all calls.

    Raises:
        QualityError: another run lies there, the space does not fit the data, the loss became NaN, or the disk is full.
        KeyboardInterrupt: training was interrupted; the state was saved.
    """
    folder = Path(run_dir)
    with quiet_libraries():
        from archsearch.quality.trainer import Trainee  # checks the space before anything is written

    with threads_of_torch(config.threads):
        trainee = Trainee(space, config)
        run = open_run(folder, space, config)
        trainee.continue_from(folder / STATE, run.space_hash)
        if not trainee.finished:
            _fit(trainee, folder, run, progress)
            trainee.save(folder / STATE, run.space_hash)
        return _finish(trainee, folder, run)


def _fit(trainee: Trainee, folder: Path, run: Run, progress: Progress | None) -> None:
    with quiet_libraries():
        import pytorch_lightning as pl

        from archsearch.quality.lightning import SupernetModule

        with _stop_on_signal() as stop:
            module = SupernetModule(trainee, stop, lambda: trainee.save(folder / STATE, run.space_hash), progress)
            trainer = pl.Trainer(
                accelerator="cpu",
                devices=1,
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                gradient_clip_val=trainee.config.clip_norm or None,
            )
            trainer.fit(module, train_dataloaders=_Steps(trainee.step))
        if stop.requested:
            trainee.save(folder / STATE, run.space_hash)
            raise KeyboardInterrupt


def _finish(trainee: Trainee, folder: Path, run: Run) -> Training:
    from archsearch.quality.config import write_atomic, write_json
    from archsearch.quality.state import save_weights
    from archsearch.quality.updates import to_csv

    rows = trainee.updates.paths()
    result = Training(
        run_dir=folder,
        space=run.space,
        seed=run.config.seed,
        steps=trainee.step,
        seconds=round(trainee.seconds, 3),
        loss=trainee.loss,
        updates=tuple(rows),
    )
    about = {"name": result.name, "space": run.space, "space_hash": run.space_hash, "steps": trainee.step}
    save_weights(folder / WEIGHTS, trainee.ema, about)
    write_atomic(folder / UPDATES, to_csv(rows, trainee.step).encode())
    write_json(
        folder / RESULT,
        {
            "schema": SCHEMA,
            "name": result.name,
            "steps": result.steps,
            "seconds": result.seconds,
            "loss": result.loss,
            "least_updates": min(row.updates for row in rows),
        },
    )
    return result


class _Steps:
    """The numbers of the steps to come: all that a loader hands to Lightning."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __iter__(self) -> Iterator[int]:
        step = self._start
        while True:
            yield step
            step += 1


class Stop:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def _stop_on_signal() -> Iterator[Stop]:
    """The first Ctrl-C ends training after the step at work; the second one as ever."""
    stop = Stop()

    def handler(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not in the main thread: nobody sends signals here
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def threads_of_torch(number: int) -> Iterator[None]:
    """Run with so many torch threads, and put the number back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


__all__ = ["Training", "threads_of_torch", "train"]
