"""NSGA-II by Optuna, with crossover and mutation on canonical encodings.

Optuna keeps generations and selects the elite; children are made here, because its own crossover knows neither the
space's rules nor which encodings mean the same network.  The Optuna study lives in memory and is rebuilt from the
trials by asking and telling them again, so that a resumed search equals an uninterrupted one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archsearch.search.encoding import Domain, Encoding, draw
from archsearch.search.trial import Trial

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

ATTEMPTS = 64
CROSSOVER = 0.9
WORST = 1e9
CHILDREN = 1  # stream of random numbers, apart from that of the first generation


class NSGA2:
    """See :class:`archsearch.search.strategy.Strategy`.  The first generation is the baseline and uniform draws."""

    def __init__(self, domain: Domain, objectives: Sequence[str], seed: int, population: int) -> None:
        import optuna

        self._domain = domain
        self._objectives = tuple(objectives)
        self._seed = seed
        self._population = population
        self._complete = 0
        self._next: tuple[int, Mapping[Encoding, int]] | None = None
        self._asked: optuna.trial.Trial | None = None
        self._distributions: dict[str, BaseDistribution] = {
            name: optuna.distributions.IntDistribution(0, count - 1)
            for name, count in zip(domain.names, domain.choices, strict=True)
        }
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.NSGAIISampler(
                population_size=population, seed=seed % 2**32, child_generation_strategy=self._child
            )
        self._study = optuna.create_study(directions=["minimize"] * len(self._objectives), sampler=sampler)

    def propose(self, number: int, known: Mapping[Encoding, int]) -> Encoding:
        """See :class:`Strategy`."""
        if self._complete < self._population:
            first = self._domain.baseline if number == 0 else draw(self._domain, self._seed, number, known)
            self._enqueue(first)
        self._next = (number, known)
        asked = self._ask()
        self._next = None
        return tuple(int(asked.params[name]) for name in self._domain.names)

    def tell(self, trial: Trial) -> None:
        """See :class:`Strategy`."""
        import optuna

        assert self._asked is not None, "tell follows propose"
        asked, self._asked = self._asked, None
        vector = trial.vector(self._objectives)
        if vector is None:
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            return
        for text, violation in trial.violations.items():
            asked.set_constraint(text, min(violation, WORST))
        self._study.tell(asked, vector)
        self._complete += 1

    def replay(self, trial: Trial) -> None:
        """See :class:`Strategy`."""
        self._enqueue(trial.encoding)
        self._ask()
        self.tell(trial)

    def _ask(self) -> optuna.trial.Trial:
        self._asked = asked = self._study.ask(self._distributions)
        # Optuna assigns the generation only when relative parameters are drawn, which fixed ones never need.
        _ = asked.relative_params
        return asked

    def _enqueue(self, encoding: Encoding) -> None:
        self._study.enqueue_trial(dict(zip(self._domain.names, encoding, strict=True)))

    def _child(
        self, study: optuna.Study, search_space: dict[str, BaseDistribution], parents: list[FrozenTrial]
    ) -> dict[str, Any]:
        """Optuna's seam: parameters of a child.  Called for replayed trials too, whose parameters are fixed."""
        if self._next is None:
            return {}
        number, known = self._next
        child = make_child(self._domain, sorted(parents, key=lambda parent: parent.number), known, self._seed, number)
        pairs = zip(self._domain.names, child, strict=True)
        return {name: value for name, value in pairs if name in search_space}  # decisions with a choice


def make_child(
    domain: Domain, parents: Sequence[FrozenTrial], known: Mapping[Encoding, int], seed: int, number: int
) -> Encoding:
    """A canonical child by tournament, uniform crossover and mutation; a known one only if nothing new was found.

    Each attempt that gives a forbidden or known encoding mutates more, so that the neighbourhood of a crowded front
    is left behind.
    """
    import numpy as np

    rng = np.random.default_rng([seed, number, CHILDREN])
    fallback: Encoding | None = None
    encodings = [tuple(int(parent.params[name]) for name in domain.names) for parent in parents]
    for attempt in range(ATTEMPTS):
        first, second = (_tournament(parents, rng) for _ in range(2))
        child = list(encodings[first])
        if rng.random() < CROSSOVER:
            swap = rng.random(len(child)) < 0.5
            child = [b if s else a for a, b, s in zip(child, encodings[second], swap, strict=True)]
        free = [i for i, count in enumerate(domain.choices) if count > 1]
        rate = min(0.5, (1 + attempt / 8) / max(1, len(free)))
        for i in free:
            if rng.random() < rate:
                child[i] = int((child[i] + rng.integers(1, domain.choices[i])) % domain.choices[i])
        found = domain.canonical(tuple(child))
        if found is None:
            continue
        if found not in known:
            return found
        fallback = fallback or found
    return fallback or encodings[0]


def _tournament(parents: Sequence[FrozenTrial], rng: np.random.Generator) -> int:
    """Index of the better of two random parents under constrained domination (the first if neither is)."""
    a, b = (int(i) for i in rng.integers(0, len(parents), size=2))
    return b if _dominates(parents[b], parents[a]) else a


def _dominates(a: FrozenTrial, b: FrozenTrial) -> bool:
    over_a, over_b = (sum(v for v in trial.constraints.values() if v > 0) for trial in (a, b))
    if over_a or over_b:
        return over_a < over_b
    pairs = list(zip(a.values or (), b.values or (), strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)
