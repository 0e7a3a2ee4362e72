"""The search's view of a space: integer encodings, their canonical form, and uniform draws that depend on no state."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    pass

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


def draw(domain: Domain, seed: int, number: int, known: Container[Encoding]) -> Encoding:
    """A uniform draw for trial ``number``, not yet known if that is found within 32 draws."""
    found = domain.sample(DRAWS, derived_seed(seed, number))
    return next((encoding for encoding in found if encoding not in known), found[0])


def derived_seed(seed: int, number: int) -> int:
    """A 32-bit seed for trial ``number`` of a study."""
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
