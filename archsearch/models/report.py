"""What became of every weight when one network inherited from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

How: TypeAlias = Literal["copied", "sliced", "partly", "new"]


@dataclass(frozen=True, slots=True)
class TensorReport:
    """Parameters of one target tensor by where they come from.

    ``copied`` were taken as they are, ``sliced`` were cut, averaged or approximated, ``new`` keep their
    initialisation (or are zero, so that a new block starts as the identity).  ``how`` is "partly" where some are
    sliced and some new.
    """

    name: str
    how: How
    copied: int
    sliced: int
    new: int


@dataclass(frozen=True, slots=True)
class Inheritance:
    """The report of an inheritance; copied + sliced + new are all parameters of the target."""

    tensors: tuple[TensorReport, ...]
    dropped: tuple[str, ...]
    dropped_params: int

    @property
    def copied(self) -> int:
        """Parameters taken as they are."""
        return sum(tensor.copied for tensor in self.tensors)

    @property
    def sliced(self) -> int:
        """Parameters cut, averaged or approximated from the source's."""
        return sum(tensor.sliced for tensor in self.tensors)

    @property
    def new(self) -> int:
        """Parameters that nothing was taken over for."""
        return sum(tensor.new for tensor in self.tensors)

    @property
    def params(self) -> int:
        """All parameters of the target."""
        return self.copied + self.sliced + self.new

    def __str__(self) -> str:
        total = max(self.params, 1)
        shares = ", ".join(
            f"{count:,} {word} ({count / total:.1%})"
            for word, count in (("copied", self.copied), ("sliced", self.sliced), ("new", self.new))
        )
        return f"{shares} of {self.params:,} parameters; {self.dropped_params:,} of the source left behind"
