"""A tiny hand-made space for tests of the search: 4 decisions, one rule, one decision that can be without effect."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from archsearch.arch import (
    Architecture,
    Attention,
    Downsample,
    FeedForward,
    ResBlock,
    Separable,
    Stage,
    TimeEmbedding,
    Transformer,
    TransformerBlock,
    UNet,
    Upsample,
)
from archsearch.cost import Conditions
from archsearch.search.encoding import Encoding
from archsearch.search.evaluate import QualityScore

CONDITIONS = Conditions(latent=(16, 16), text=8)
WIDTHS = (16, 24, 32, 48)
DEPTHS = (0, 1, 2)
EXPANSIONS = (1.0, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Toy:
    """Decisions: bottom width, transformer depth, feed-forward expansion (no effect at depth 0), separable.

    Rule: separable convolutions only below width 48.
    """

    names: tuple[str, ...] = ("bottom width", "depth", "expansion", "separable", "fixed")
    choices: tuple[int, ...] = (4, 3, 4, 2, 1)
    baseline: Encoding = (3, 2, 3, 0, 0)

    def canonical(self, encoding: Encoding) -> Encoding | None:
        width, depth, expansion, separable, fixed = encoding
        if separable and WIDTHS[width] == 48:
            return None
        return (width, depth, expansion if depth else 3, separable, fixed)

    def enumerate(self) -> list[Encoding]:
        every = product(*(range(count) for count in self.choices))
        return sorted({found for e in every if (found := self.canonical(e)) is not None})

    def size(self) -> int:
        return len(self.enumerate())

    def draws(self, seed: int, number: int) -> list[Encoding]:
        every = self.enumerate()
        return [every[i] for i in np.random.default_rng([seed, number]).integers(0, len(every), size=8)]

    def decode(self, encoding: Encoding) -> UNet:
        width, depth, expansion, separable, _ = encoding
        channels = WIDTHS[width]
        sep = Separable() if separable else None
        block = TransformerBlock(
            first=Attention(to="self", heads=2, head_dim=8),
            second=Attention(to="text", heads=2, head_dim=8),
            feed_forward=FeedForward(expansion=EXPANSIONS[expansion]),
        )
        deep = (ResBlock(channels=channels, separable=sep),)
        if depth:
            deep = (*deep, Transformer(width=channels, blocks=(block,) * depth))
        return UNet(
            in_channels=3,
            out_channels=3,
            conv_in_channels=16,
            text_width=12,
            norm_groups=8,
            time=TimeEmbedding(input_width=16, width=32),
            stages=(
                Stage(
                    down=((ResBlock(channels=16),),),
                    up=((ResBlock(channels=16),), (ResBlock(channels=16),)),
                    downsample=Downsample(channels=16),
                ),
                Stage(down=(deep,), up=(deep, deep), upsample=Upsample(channels=channels)),
            ),
            middle=(ResBlock(channels=channels),),
        )


def loss(arch: Architecture) -> QualityScore:
    """A made-up landscape for tests of the machinery: larger is better, with a kink that rewards depth."""
    from archsearch.cost import count

    total = count(arch, CONDITIONS)
    return QualityScore(0.1 + 4.0 / total.params**0.5 + 300.0 / total.macs**0.5, 0.002)
