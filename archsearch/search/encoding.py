"""The search's view of a space: integer encodings, their canonical form, and uniform draws that depend on no state."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from archsearch.errors import SpaceError

if TYPE_CHECKING:
    from archsearch.space import Space

Encoding: TypeAlias = tuple[int, ...]
DRAWS = 32


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

    def sample(self, count: int, seed: int) -> Sequence[Encoding]:
        """Uniform draws over canonical encodings."""
        ...


class SpaceDomain:
    """A search space as a :class:`Domain`."""

    def __init__(self, space: Space) -> None:
        self._space = space
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

    def sample(self, count: int, seed: int) -> list[Encoding]:
        """Uniform draws over canonical encodings."""
        return [tuple(row) for row in self._space.sample(count, seed).tolist()]


def draw(domain: Domain, seed: int, number: int, known: Container[Encoding]) -> Encoding:
    """A uniform draw for trial ``number``, not yet known if that is found within 32 draws."""
    found = domain.sample(DRAWS, derived_seed(seed, number))
    return next((encoding for encoding in found if encoding not in known), found[0])


def derived_seed(seed: int, number: int) -> int:
    """A 32-bit seed for trial ``number`` of a study."""
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
