"""The search's view of a space: integer encodings, their canonical form, and uniform draws that depend on no state."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Protocol, TypeAlias

from archsearch.errors import SpaceError

if TYPE_CHECKING:
    from archsearch.cost.scorer import OpLatency
    from archsearch.space import Space
    from archsearch.space.chain import Ints

Encoding: TypeAlias = tuple[int, ...]
DRAWS = 8
BLOCK = 32
WIDENINGS = (1.0, 1.05, 1.2, 1.5, 2.0, 4.0, inf)


class Domain(Protocol):
    """What strategies need to know of a space."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the decisions, unique."""
        ...

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of each decision; an encoding holds indices below them."""
        ...

    @property
    def baseline(self) -> Encoding:
        """Encoding of the space's baseline architecture."""
        ...

    def size(self) -> int:
        """Number of candidates."""
        ...

    def canonical(self, encoding: Encoding) -> Encoding | None:
        """The canonical encoding of the same architecture; None where a rule forbids it."""
        ...

    def draws(self, seed: int, number: int) -> Sequence[Encoding]:
        """Independent uniform draws of canonical encodings for trial ``number``; depends on the arguments alone."""
        ...


class SpaceDomain:
    """A search space as a :class:`Domain`.

    Args:
        space: the space.
        limits: upper limits on costs, by the space's names for them.  Draws are uniform over what meets them all; where
            that is too little to be found by drawing, over what meets limits that are wider by one factor.
        tables: the latency tables that limits name.
    """

    def __init__(
        self, space: Space, limits: Mapping[str, float] | None = None, tables: Mapping[str, OpLatency] | None = None
    ) -> None:
        self._space = space
        self._limits = dict(limits or {})
        self._tables = dict(tables or {})
        self._drawn: tuple[int, int, list[Encoding]] = (-1, -1, [])
        self._widening: float | None = None
        self.names: tuple[str, ...] = tuple(decision.name for decision in space.decisions)
        self.choices: tuple[int, ...] = tuple(len(decision.choices) for decision in space.decisions)
        self.baseline: Encoding = space.canonical(space.defaults())

    def size(self) -> int:
        """Number of candidates."""
        return self._space.size()

    def canonical(self, encoding: Encoding) -> Encoding | None:
        """The canonical encoding of the same architecture; None where a rule forbids it."""
        try:
            return self._space.canonical(encoding)
        except SpaceError:
            return None

    def draws(self, seed: int, number: int) -> list[Encoding]:
        """See :class:`Domain`.  Drawn for a block of trials at once, because limits take a while to prepare."""
        block, place = divmod(number, BLOCK)
        if self._drawn[:2] != (seed, block):
            self._drawn = (seed, block, self._draw(derived_seed(seed, block)))
        return self._drawn[2][place * DRAWS : (place + 1) * DRAWS]

    def _draw(self, seed: int) -> list[Encoding]:
        if self._widening is None:  # found out with a fixed seed, so that it depends on the space and the limits alone
            self._widening = next(w for w in WIDENINGS if self._sample(0, w) is not None)
        for widening in WIDENINGS[WIDENINGS.index(self._widening) :]:
            found = self._sample(seed, widening)
            if found is not None:
                return [tuple(row) for row in found.tolist()]
        raise AssertionError("without limits there are always candidates")

    def _sample(self, seed: int, widening: float) -> Ints | None:
        limits = {name: limit * widening for name, limit in self._limits.items()} if widening < inf else {}
        try:
            return self._space.sample(BLOCK * DRAWS, seed, limits or None, tables=self._tables or None)
        except SpaceError:
            return None


def draw(domain: Domain, seed: int, number: int, known: Container[Encoding]) -> Encoding:
    """A uniform draw for trial ``number``, the first of its draws that is not yet known, else the first."""
    found = domain.draws(seed, number)
    return next((encoding for encoding in found if encoding not in known), found[0])


def derived_seed(seed: int, number: int) -> int:
    """A 32-bit seed that differs for every ``number``."""
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
