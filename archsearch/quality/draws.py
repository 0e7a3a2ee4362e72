"""Random numbers that are pure functions of names and numbers: no generator, no state, no order."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
    Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@lru_cache(maxsize=4096)
def hash64(text: str) -> int:
    """64 bits of a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def seed_of(*parts: object) -> int:
    """A seed below 2**63 for a generator that belongs to ``parts`` alone, such as (seed, "noise", step)."""
    return hash64("/".join(map(str, parts))) >> 1


class Draws:
    """Uniform numbers for a batch of indices; each depends on (stream, index, name) and nothing else.

    The generator is SplitMix64 applied to the hashed stream, the index and the hashed name.
    """

    def __init__(self, stream: str, indices: Ints) -> None:
        """Prepare.

        Args:
            stream: names the family of numbers, seed included.
            indices: whole numbers >= 0, [N].
        """
        import numpy as np

        index = np.asarray(indices, dtype=np.int64).astype(np.uint64)
        self._key = _mix(index * np.uint64(0x9E3779B97F4A7C15) + np.uint64(hash64(stream)))

    def uniform(self, name: str) -> Floats:
        """[N] in [0, 1)."""
        import numpy as np

        bits = _mix(self._key ^ np.uint64(hash64(name)))
        uniform: Floats = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return uniform

    def uniforms(self, name: str, count: int) -> Floats:
        """[N, count] in [0, 1)."""
        import numpy as np

        return np.stack([self.uniform(f"{name}{i}") for i in range(count)], axis=1)

    def below(self, name: str, bound: int) -> Ints:
        """[N] whole numbers in 0 .. bound - 1."""
        import numpy as np

        return (self.uniform(name) * bound).astype(np.int64)


def _mix(bits: Any) -> Any:
    """SplitMix64's finalizer (Steele, Lea, Flood 2014), on an array of unsigned 64-bit integers."""
    import numpy as np

    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
