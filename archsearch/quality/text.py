"""Captions of the embedded data as token ids and text states.  Nothing here is learnt.

The text encoder is fixed: each word of a tiny vocabulary has one of 64 orthogonal vectors, to which come a position
and the neighbouring words through fixed rotations (so that "red circle" differs from "red" and "circle" apart).  The
places after the caption hold the sum of its words, as the padding of a trained encoder also sums a caption up.  It
takes the place of a trained text encoder where captions come from a closed vocabulary, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from archsearch.errors import QualityError, unknown_name
from archsearch.quality.scenes import COLOURS, GROUNDS, SHAPES
from archsearch.quality.shapes import COLUMNS, NUMBERS, PLURALS, ROWS

if TYPE_CHECKING:
    from torch import Tensor

LENGTH = 16
WIDTH = 64
PAD = 0
_SEED = 20240229
_NEIGHBOUR = 0.5


def _vocabulary() -> dict[str, int]:
    words = ["", "a", "the", "of", "on", "and", "above", "same", "colour", "all", "alike", "its", "mirror", "image"]
    words += [*NUMBERS, *ROWS, *COLUMNS, *COLOURS, *GROUNDS, *SHAPES, *PLURALS.values()]
    assert len(set(words)) == len(words) <= WIDTH
    return {word: i for i, word in enumerate(words)}


VOCABULARY: dict[str, int] = _vocabulary()


def tokens(captions: Sequence[str]) -> Tensor:
    """Token ids [N, LENGTH], padded with PAD; the empty caption is all PAD (the unconditional one).

    Raises:
        QualityError: a word outside the vocabulary, or a caption of more than LENGTH words.
    """
    import torch

    return torch.tensor([_ids(caption) for caption in captions], dtype=torch.int64).reshape(-1, LENGTH)


@lru_cache(maxsize=65536)
def _ids(caption: str) -> tuple[int, ...]:
    words = re.findall(r"[^\s,.]+", caption.lower())
    for word in words:
        if word not in VOCABULARY:
            known = [known for known in VOCABULARY if known]
            raise QualityError(unknown_name("word", word, known), where="caption", got=caption)
    if len(words) > LENGTH:
        raise QualityError("caption too long", where="caption", got=len(words), allowed=f"<= {LENGTH} words")
    return (*(VOCABULARY[word] for word in words), *[PAD] * (LENGTH - len(words)))


def encode(ids_NL: Tensor) -> Tensor:
    """Text states [N, LENGTH, WIDTH] of token ids, about unit variance."""
    import torch

    words, positions, before, after = (table.to(ids_NL.device) for table in _tables())
    own_NLD = words[ids_NL]
    previous = torch.nn.functional.pad(own_NLD[:, :-1], (0, 0, 1, 0)) @ before
    following = torch.nn.functional.pad(own_NLD[:, 1:], (0, 0, 0, 1)) @ after
    states = own_NLD + _NEIGHBOUR * (previous + following)
    padding_NL1 = ids_NL.eq(PAD)[:, :, None]
    number_N11 = (LENGTH - padding_NL1.sum(1, keepdim=True)).clamp(min=1)
    sentence_N1D = own_NLD.sum(1, keepdim=True) / number_N11.sqrt()
    states = torch.where(padding_NL1, sentence_N1D, states)
    scale: float = (1.25 + 2 * _NEIGHBOUR**2) ** -0.5
    return (states + 0.5 * positions) * scale


@lru_cache(maxsize=1)
def _tables() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Word vectors [words, WIDTH], positions [LENGTH, WIDTH], and the rotations of both neighbours [WIDTH, WIDTH]."""
    import torch

    generator = torch.Generator().manual_seed(_SEED)

    def orthogonal() -> Tensor:
        q, r = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64))
        result: Tensor = q * torch.sign(torch.diagonal(r))
        return result

    scale = WIDTH**0.5
    words = orthogonal()[: len(VOCABULARY)] * scale
    words[PAD] = 0
    positions = orthogonal()[:LENGTH] * scale
    return words.float(), positions.float(), orthogonal().float(), orthogonal().float()
