"""The conditions of a profile: what is not part of the architecture but decides what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from archsearch.errors import CostError

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]
BYTES: dict[str, int] = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Latent height and width, text tokens, batch, guidance passes, and how bytes are counted.

    Passes run one after the other: MACs and latency multiply, memory and parameters do not.  ``attention`` says
    whether the scores of an attention are materialised (as LiteRT does) or never leave the kernel.
    """

    latent: tuple[int, int] = (64, 64)
    text: int = 77
    batch: int = 1
    passes: int = 1
    precision: Precision = "fp32"
    attention: Literal["unfused", "fused"] = "unfused"

    def __post_init__(self) -> None:
        for name, value, low in (
            ("latent height", self.latent[0], 1),
            ("latent width", self.latent[1], 1),
            ("text length", self.text, 1),
            ("batch", self.batch, 1),
            ("passes", self.passes, 1),
        ):
            if value < low:
                raise CostError("must be positive", where=name, got=value, allowed=f">= {low}")
        if self.precision not in BYTES:
            raise CostError("unknown precision", where="precision", got=self.precision, allowed=", ".join(BYTES))

    @property
    def bytes_per_value(self) -> int:
        """Bytes of one weight or activation at the chosen precision."""
        return BYTES[self.precision]
