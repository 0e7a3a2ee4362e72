"""Running a study: propose, evaluate, write to disk, tell the strategy; one trial after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from archsearch.search.encoding import Domain, Encoding
from archsearch.search.evaluate import Evaluator, violations
from archsearch.search.front import Scale, front, hypervolume, scale_of
from archsearch.search.strategy import make_strategy
from archsearch.search.study import Study, open_log
from archsearch.search.trial import Trial, TrialLog, finite_or_none

if TYPE_CHECKING:
    from archsearch.arch import UNet


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running search stands.  ``hypervolume`` is on the scale of the first ``population`` trials."""

    trials: int
    budget: int
    distinct: int
    front_size: int
    hypervolume: float
    seconds_left: float | None


def run_study(
    study: Study,
    domain: Domain,
    decode: Callable[[Encoding], UNet],
    evaluator: Evaluator,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Study:
    """Run a study up to its budget, or until every candidate of the space is known.

    A trial counts when it is on the disk; killing the process at any moment loses none of those.

    Raises:
        SearchError: another process runs the study, or it cannot be written.
        ArchsearchError: a candidate cannot be evaluated.
    """
    study, log = open_log(study)
    with log:
        return _Runner(study, log, domain, decode, evaluator, on_progress).run()


class _Runner:
    def __init__(
        self,
        study: Study,
        log: TrialLog,
        domain: Domain,
        decode: Callable[[Encoding], UNet],
        evaluator: Evaluator,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._study = study
        self._log = log
        self._domain = domain
        self._decode = decode
        self._evaluator = evaluator
        self._on_progress = on_progress
        self._trials = list(study.trials)
        config = study.config
        self._strategy = make_strategy(config.strategy, domain, config.objectives, config.seed, config.population)
        self._known: dict[Encoding, int] = {}
        self._scale: Scale | None = None
        self._front: list[Trial] = []

    def run(self) -> Study:
        for trial in self._trials:
            self._strategy.replay(trial)
            self._known.setdefault(trial.encoding, trial.number)
        budget = self._study.config.trials
        size = self._domain.size()
        began, first = time.monotonic(), len(self._trials)
        self._front = front(self._trials, self._study.config.objectives)
        while len(self._trials) < budget and len(self._known) < size:
            trial = self._evaluate(self._strategy.propose(len(self._trials), self._known))
            self._log.append(trial)
            self._trials.append(trial)
            self._known.setdefault(trial.encoding, trial.number)
            self._strategy.tell(trial)
            done = len(self._trials) - first
            self._progress((time.monotonic() - began) / done * (budget - len(self._trials)))
        return Study(self._study.folder, self._study.config, tuple(self._trials))

    def _evaluate(self, encoding: Encoding) -> Trial:
        from archsearch.arch import arch_id

        began = time.monotonic()
        number = len(self._trials)
        earlier = self._known.get(encoding)
        if earlier is not None:
            twin = self._trials[earlier]
            return Trial(
                number=number, encoding=encoding, arch_id=twin.arch_id, values=twin.values, intervals=twin.intervals,
                errors=twin.errors, violations=twin.violations, duplicate_of=earlier, finished=_now(),
            )  # fmt: skip
        unet = self._decode(encoding)
        result = self._evaluator(unet)
        return Trial(
            number=number,
            encoding=encoding,
            arch_id=arch_id(unet),
            values={name: finite_or_none(value) for name, value in result.values.items()},
            intervals=result.intervals,
            errors=result.errors,
            violations=violations(result.values, self._study.constraints, self._study.config.bounds),
            seconds=round(time.monotonic() - began, 6),
            finished=_now(),
        )

    def _progress(self, seconds_left: float) -> None:
        names = self._study.config.objectives
        self._front = front([*self._front, self._trials[-1]], names)
        if self._scale is None and len(self._trials) >= min(self._study.config.population, self._study.config.trials):
            vectors = [v for t in self._trials[: self._study.config.population] if (v := t.vector(names)) is not None]
            self._scale = scale_of(vectors) if vectors else None
        points = [vector for trial in self._front if (vector := trial.vector(names)) is not None]
        volume = hypervolume(points, self._scale) if self._scale and points else 0.0
        self._on_progress(
            Progress(
                trials=len(self._trials),
                budget=self._study.config.trials,
                distinct=len(self._known),
                front_size=len(self._front),
                hypervolume=volume,
                seconds_left=seconds_left,
            )
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
