"""What the pieces of one network have in common: sizes that every block needs to be lowered."""

from __future__ import annotations

from typing import NamedTuple

from archsearch.arch.values import Activation, Architecture, Decoder, TextEncoder, UNet
from archsearch.cost.conditions import Conditions


class Context(NamedTuple):
    """Per-network constants of lowering.  Widths that a network lacks are 0."""

    batch: int
    height: int
    width: int
    text_tokens: int
    text_width: int
    time_width: int
    activation: Activation
    norm_groups: int
    scale_shift: bool

    def timeless(self) -> Context:
        """What blocks other than residual ones, joins and samplers depend on: everything but the time embedding."""
        return self._replace(time_width=0, activation="silu", scale_shift=False)

    def side(self, level: int) -> tuple[int, int]:
        """Height and width after ``level`` halvings (rounded up), or doublings where negative."""
        if level <= 0:
            return self.height << -level, self.width << -level
        return _halve(self.height, level), _halve(self.width, level)


def _halve(side: int, times: int) -> int:
    return -(-side // (1 << times))


def context_of(arch: Architecture, conditions: Conditions) -> Context:
    """The lowering context of ``arch`` under ``conditions``."""
    height, width = conditions.latent
    if isinstance(arch, UNet):
        return Context(
            conditions.batch,
            height,
            width,
            conditions.text,
            arch.text_width or 0,
            arch.time.width,
            arch.activation,
            arch.norm_groups,
            arch.time_shift == "scale_shift",
        )
    if isinstance(arch, Decoder):
        return Context(conditions.batch, height, width, 0, 0, 0, arch.activation, arch.norm_groups, False)
    assert isinstance(arch, TextEncoder)
    return Context(conditions.batch, 1, conditions.text, conditions.text, arch.width, 0, "silu", 1, False)
