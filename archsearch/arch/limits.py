"""Which numbers make sense in which field of an architecture.  Wide enough for any real network."""

from __future__ import annotations

from typing import NamedTuple

MAX_WIDTH = 1 << 16
MAX_ITEMS = 1024


class Limit(NamedTuple):
    """A closed range; ``odd`` for kernels, ``low_open`` where the low end itself is excluded."""

    low: float
    high: float
    odd: bool = False
    low_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` (finite) lies inside."""
        if not self.low <= value <= self.high or (self.low_open and value == self.low):
            return False
        return not self.odd or value % 2 == 1

    def __str__(self) -> str:
        opening = ">" if self.low_open else ">="
        odd = "odd, " if self.odd else ""
        return f"{odd}{opening} {self.low:g} and <= {self.high:g}"


_WIDTH = Limit(1, MAX_WIDTH)
_LIMITS: dict[str, Limit] = {
    "conv_in_kernel": Limit(1, 15, odd=True),
    "conv_out_kernel": Limit(1, 15, odd=True),
    "expansion": Limit(0, 64, low_open=True),
    "norm_eps": Limit(0, 1, low_open=True),
    "freq_shift": Limit(0, 16),
    "ids": Limit(1, MAX_ITEMS),
    "pooled_width": Limit(0, MAX_WIDTH),
    "vocab": Limit(1, 1 << 24),
    "positions": Limit(1, 1 << 20),
    "layers": Limit(1, MAX_ITEMS),
    "ff_width": Limit(1, 1 << 20),
    "value": Limit(-1e15, 1e15),
    "input_width": Limit(2, MAX_WIDTH),
}


def limit_of(field: str) -> Limit:
    """The range of a numeric field, by its name."""
    return _LIMITS.get(field, _WIDTH)
