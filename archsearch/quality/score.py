"""Scores of candidates with a trained supernet's weights.

The validation loss is the loss of training (by default the mean squared error of the predicted image, pixels from -1
to 1) on one fixed set of images, captions, noises and time steps, half of it with combinations of shape and colour
that training never showed.  It depends on the candidate and the checkpoint alone, so it is cached, and neither the
order of evaluation nor the company matters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.arch.identity import arch_id
from archsearch.arch.values import UNet
from archsearch.errors import QualityError, unknown_name
from archsearch.quality.config import RESULT, SCORES, WEIGHTS, read_json, read_run
from archsearch.quality.quiet import quiet_libraries

if TYPE_CHECKING:
    from archsearch.arch.values import Architecture
    from archsearch.quality.diffusion import Batch
    from archsearch.space import Space

VALIDATION_SEED = 1_000_003  # one set for all runs, so that runs compare
SAMPLES = 128
REFERENCES = ("baseline", "largest", "smallest")
CHUNK = 32


@dataclass(frozen=True, slots=True)
class Score:
    """A validation loss (lower is better).

    ``standard_error`` is that of the mean over samples.  It says how far the set stands for all images; two
    candidates on the same set differ by far less noise, see :func:`paired_difference`.
    """

    value: float
    standard_error: float
    losses: tuple[float, ...]

    @property
    def samples(self) -> int:
        """How many samples it is the mean of."""
        return len(self.losses)


@dataclass(frozen=True, slots=True)
class Difference:
    """Loss of one candidate minus loss of another, on the same samples."""

    value: float
    standard_error: float


def paired_difference(first: Score, second: Score) -> Difference:
    """``first - second`` with the standard error of the paired differences.

    Raises:
        QualityError: the scores are not over the same samples.
    """
    if first.samples != second.samples:
        raise QualityError("scores over different samples", got=f"{first.samples} and {second.samples}")
    mean, error = _mean([a - b for a, b in zip(first.losses, second.losses, strict=True)])
    return Difference(mean, error)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    count = len(values)
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, count - 1)
    return mean, math.sqrt(variance / count)


class Scorer:
    """Scores candidates of a finished run.

    Attributes:
        sha256: of the checkpoint's file.
        description: the run in a few words.
    """

    def __init__(self, run_dir: Path | str, *, samples: int = SAMPLES, threads: int = 1) -> None:
        """Open a run.

        Args:
            run_dir: what ``archsearch quality train`` wrote.
            samples: size of the validation set, even.
            threads: of torch.

        Raises:
            QualityError: no run, training has not ended, or its files are damaged.
        """
        from archsearch.quality.state import load_weights

        if samples < 2 or samples % 2:
            raise QualityError("the validation set has two halves", where="samples", got=samples, allowed="even, >= 2")
        self.folder = Path(run_dir)
        self.run = read_run(self.folder)
        self._weights, self.sha256 = load_weights(self.folder / WEIGHTS)
        result = read_json(self.folder / RESULT, "training has not ended")
        self.name = str(result.get("name"))
        self.steps = int(result.get("steps", 0))
        self.description = (
            f"validation loss of a supernet of {self.run.space}, {self.steps} steps, seed {self.run.config.seed}"
        )
        self._samples = samples
        self._threads = threads
        self._cache = _Cache(self.folder / SCORES, f"{self.sha256[:12]}/{samples}")
        self._supernet: Any = None
        self._set: list[Batch] = []

    def validation_loss(self, arch: Architecture) -> Score:
        """The validation loss of a candidate.

        Raises:
            QualityError: the candidate is not covered by the supernet, or the loss is not finite.
        """
        if not isinstance(arch, UNet):
            raise QualityError("only UNets are scored", got=arch.kind, allowed="unet")
        key = arch_id(arch)
        score = self._cache.get(key)
        if score is None:
            losses = self._losses(arch)
            if not all(map(math.isfinite, losses)):
                raise QualityError("the validation loss is not finite", where=key)
            # What is kept is what is returned, so that a cached score equals a fresh one.
            losses = [float(f"{loss:.7g}") for loss in losses]
            score = Score(*_mean(losses), tuple(losses))
            self._cache.put(key, score)
        return score

    def reference(self, name: str) -> UNet:
        """A network of the run's space, one of REFERENCES: its baseline, or the one with most or fewest MACs.

        Raises:
            QualityError: another name.
        """
        if name not in REFERENCES:
            raise QualityError(unknown_name("reference", name, REFERENCES))
        if name == "baseline":
            return self.space.decode(self.space.defaults())
        from archsearch.quality.sampling import extremes

        return extremes(self.space)[name == "smallest"]

    @cached_property
    def space(self) -> Space:
        """The run's own copy of its space."""
        from archsearch.space import load_space

        return load_space(self.folder / self.run.space_file)

    def _losses(self, arch: UNet) -> list[float]:
        import torch

        from archsearch.quality.train import threads_of_torch

        self._load()
        with threads_of_torch(self._threads), torch.inference_mode():
            result: list[float] = []
            for batch in self._set:
                prediction = self._supernet(batch.noisy, batch.timestep, batch.text, arch)
                result += batch.losses(prediction).tolist()
        return result

    def _load(self) -> None:
        """Build the supernet and the validation set, once."""
        if self._supernet is not None:
            return
        import torch

        with quiet_libraries():
            from archsearch.quality.diffusion import Batches, alphas_cumprod, check_inputs
            from archsearch.quality.shapes import ShapesData
            from archsearch.quality.supernet import Supernet

        space = self.space
        supernet = Supernet(space)
        expected = {name: tuple(weight.shape) for name, weight in supernet.weights.items()}
        if {name: tuple(weight.shape) for name, weight in self._weights.items()} != expected:
            raise QualityError("the weights are not those of this space", where=str(self.folder / WEIGHTS))
        with torch.no_grad():
            for name, weight in supernet.weights.items():
                weight.copy_(self._weights[name])
        supernet.eval().requires_grad_(False)
        size = check_inputs(space.chain.headers[0], space.conditions.latent)
        config = self.run.config
        bar = alphas_cumprod(config.schedule)
        batches = Batches(ShapesData(VALIDATION_SEED, size), bar, weighting=config.weighting)
        for split in ("train", "held_out"):
            whole = batches.fixed(VALIDATION_SEED, self._samples // 2, split)
            for start in range(0, self._samples // 2, CHUNK):
                self._set.append(type(whole)(*(tensor[start : start + CHUNK] for tensor in whole)))
        self._supernet = supernet


class _Cache:
    """Scores on disk, one JSON object a line; lines of other checkpoints stay, a line cut short is passed over."""

    def __init__(self, path: Path, checkpoint: str) -> None:
        self._path = path
        self._checkpoint = checkpoint
        self._known: dict[str, Score] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
            try:
                data = json.loads(line)
                if data["checkpoint"] == checkpoint:
                    losses = tuple(map(float, data["losses"]))
                    self._known[str(data["arch_id"])] = Score(*_mean(losses), losses)
            except (ValueError, KeyError, TypeError, ZeroDivisionError):
                continue

    def get(self, key: str) -> Score | None:
        """The score of an architecture id, if known."""
        return self._known.get(key)

    def put(self, key: str, score: Score) -> None:
        """Keep a score.

        Raises:
            QualityError: the file cannot be written.
        """
        self._known[key] = score
        row = {"arch_id": key, "checkpoint": self._checkpoint, "value": score.value,
               "standard_error": score.standard_error, "losses": score.losses}  # fmt: skip
        try:
            with self._path.open("ab+") as stream:
                if stream.tell() and (stream.seek(-1, 2), stream.read(1))[1] != b"\n":
                    stream.write(b"\n")
                stream.write((json.dumps(row) + "\n").encode())
        except OSError as error:
            raise QualityError(f"cannot write ({error.strerror})", where=str(self._path)) from error
