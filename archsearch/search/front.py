"""The Pareto front of a study's trials: non-dominated feasible candidates, their knee, and hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archsearch.search.trial import Trial

if TYPE_CHECKING:
    import numpy as np

    from archsearch.search.objectives import Objective
    from archsearch.search.study import Study

SCHEMA = "archsearch.front/1"
MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps objective values to fractions: 0 at ``ideal`` (least), 1 at ``nadir`` (largest)."""

    ideal: tuple[float, ...]
    nadir: tuple[float, ...]

    def __call__(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        """Scaled points, [number, objectives]; an objective without spread is 0."""
        import numpy as np

        low, high = np.asarray(self.ideal, dtype=float), np.asarray(self.nadir, dtype=float)
        width = np.where(high > low, high - low, 1.0)
        scaled: np.ndarray = (np.asarray(points, dtype=float).reshape(-1, len(low)) - low) / width
        return scaled


def scale_of(points: Sequence[Sequence[float]]) -> Scale:
    """The scale spanned by points (at least one)."""
    columns = list(zip(*points, strict=True))
    return Scale(tuple(min(column) for column in columns), tuple(max(column) for column in columns))


def scored(trials: Sequence[Trial], names: Sequence[str]) -> list[tuple[Trial, tuple[float, ...]]]:
    """Distinct candidates whose objectives are all finite, with their objective vectors."""
    pairs = ((trial, trial.vector(names)) for trial in trials if trial.duplicate_of is None)
    return [(trial, vector) for trial, vector in pairs if vector is not None]


def front(trials: Sequence[Trial], names: Sequence[str]) -> list[Trial]:
    """The non-dominated feasible candidates, by the first objective; equal points are all kept."""
    import moocore

    pairs = [(trial, vector) for trial, vector in scored(trials, names) if trial.feasible]
    if not pairs:
        return []
    keep = moocore.is_nondominated([vector for _, vector in pairs], keep_weakly=True)
    members = [pair for pair, kept in zip(pairs, keep, strict=True) if kept]
    return [trial for trial, _ in sorted(members, key=lambda pair: (pair[1], pair[0].number))]


def knee(members: Sequence[Trial], names: Sequence[str]) -> Trial | None:
    """The compromise: the front member nearest to the ideal point, each objective scaled to its range on the front."""
    vectors = [vector for trial in members if (vector := trial.vector(names)) is not None]
    if not vectors:
        return None
    distances = (scale_of(vectors)(vectors) ** 2).sum(axis=1).tolist()
    return members[min(range(len(members)), key=lambda i: (distances[i], members[i].number))]


def hypervolume(points: Sequence[Sequence[float]], scale: Scale) -> float:
    """Hypervolume of scaled points against the reference point 1.1 in every objective (0 without points)."""
    if not len(points):
        return 0.0
    import moocore

    return float(moocore.hypervolume(scale(points), ref=[MARGIN] * len(scale.ideal)))


def hypervolume_history(trials: Sequence[Trial], names: Sequence[str], steps: int = 100) -> list[tuple[int, float]]:
    """(number of trials, hypervolume so far) at up to ``steps`` moments, on the scale of all feasible trials."""
    import moocore

    feasible = {trial.number: vector for trial, vector in scored(trials, names) if trial.feasible}
    if not feasible:
        return []
    scale = scale_of(list(feasible.values()))
    count = len(trials)
    moments = (
        sorted({round(count * (i + 1) / steps) for i in range(steps)} - {0})
        if count > steps
        else [*range(1, count + 1)]
    )
    history = []
    best: list[tuple[float, ...]] = []
    done = 0
    for moment in moments:
        best += [feasible[n] for n in range(done, moment) if n in feasible]
        if best:
            best = [point for point, kept in zip(best, moocore.is_nondominated(best), strict=True) if kept]
        done = moment
        history.append((moment, hypervolume(best, scale)))
    return history


def front_json(study: Study) -> dict[str, Any]:
    """The contract object ``archsearch.front/1``: the front with values, constraints and architectures."""
    from archsearch.arch import to_dict

    names = [objective.name for objective in study.objectives]
    members = front(study.trials, names)
    chosen = knee(members, names)
    return {
        "schema": SCHEMA,
        "study": study.name,
        "space": study.config.space.name,
        "objectives": names,
        "knee": chosen.number if chosen else None,
        "bounds": dict(study.config.bounds),
        "trials": [
            {
                "number": trial.number,
                "arch": to_dict(study.architecture(trial.number)),
                "arch_id": trial.arch_id,
                "values": dict(trial.values),
                "constraints": dict(trial.violations),
                "intervals": {name: list(pair) for name, pair in trial.intervals.items()},
                "standard_errors": dict(trial.errors),
                "encoding": list(trial.encoding),
            }
            for trial in members
        ],
    }


def spread(members: Sequence[Trial], objectives: Sequence[Objective]) -> list[tuple[Objective, Trial]]:
    """For each objective, the front member that is best in it."""
    found = []
    for objective in objectives:
        best = min(members, key=lambda trial: (trial.vector([objective.name]), trial.number), default=None)
        if best is not None:
            found.append((objective, best))
    return found
