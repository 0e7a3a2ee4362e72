"""Strategies: what proposes the next candidate.  Trial n depends on the study's seed, n and the trials before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from archsearch.search.encoding import Domain, Encoding, draw
from archsearch.search.trial import Trial


class Strategy(Protocol):
    """Proposes candidates and learns from trials.

    A strategy keeps no state of its own on disk: before it proposes trial n it has been told trials 0 to n-1, in
    order, whether they were run just now (``propose`` then ``tell``) or read from a resumed study (``replay``).
    """

    def propose(self, number: int, known: Mapping[Encoding, int]) -> Encoding:
        """The canonical encoding to try as trial ``number``; ``known`` maps those tried to their trials."""
        ...

    def tell(self, trial: Trial) -> None:
        """The result of the latest proposal."""
        ...

    def replay(self, trial: Trial) -> None:
        """A finished trial of a study that is being resumed."""
        ...


class RandomStrategy:
    """Uniform draws over the candidates, without repetition as far as a few draws find one; trial 0 is the baseline."""

    def __init__(self, domain: Domain, seed: int) -> None:
        self._domain = domain
        self._seed = seed

    def propose(self, number: int, known: Mapping[Encoding, int]) -> Encoding:
        """See :class:`Strategy`."""
        return self._domain.baseline if number == 0 else draw(self._domain, self._seed, number, known)

    def tell(self, trial: Trial) -> None:
        """Nothing is learnt."""

    def replay(self, trial: Trial) -> None:
        """Nothing is learnt."""


def make_strategy(name: str, domain: Domain, objectives: Sequence[str], seed: int, population: int) -> Strategy:
    """The strategy of a study's configuration."""
    from archsearch.search.nsga2 import NSGA2

    makers: dict[str, Callable[[], Strategy]] = {
        "nsga2": lambda: NSGA2(domain, objectives, seed, population),
        "random": lambda: RandomStrategy(domain, seed),
    }
    return makers[name]()
