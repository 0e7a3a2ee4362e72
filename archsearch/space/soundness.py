"""Checking a space by what it contains: sampled candidates are networks and come back from their encodings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsearch.arch.check import check
from archsearch.cost.count import count
from archsearch.cost.scorer import Scorer
from archsearch.errors import ArchsearchError
from archsearch.space.decisions import choice_text
from archsearch.space.space import Space

MAX_FAILURES = 10


class Soundness(NamedTuple):
    """Failures in words (at most ten), and ``decision: choice`` of every choice that no candidate makes."""

    sampled: int
    failures: tuple[str, ...]
    without_effect: tuple[str, ...]


def soundness(space: Space, samples: int, seed: int) -> Soundness:
    """Decode, check, re-encode and count sampled candidates, the baseline first."""
    scorer = Scorer(space.conditions)
    encodings = [space.defaults(), *map(tuple, space.sample(samples - 1, seed).tolist())]
    failures: list[str] = []
    for encoding in encodings:
        try:
            unet = space.decode(encoding)
            check(unet)
            if space.encode(unet) != encoding:
                failures.append(f"{encoding}: comes back as {space.encode(unet)}")
            exact, fast = count(unet, space.conditions), scorer.score(unet)
            if (exact.params, exact.macs, exact.peak_activation_bytes) != (
                fast.params,
                fast.macs,
                fast.peak_activation_bytes,
            ):
                failures.append(f"{encoding}: two ways of counting disagree: {exact} and {fast}")
        except ArchsearchError as problem:
            failures.append(f"{encoding}: {problem}")
        if len(failures) >= MAX_FAILURES:
            break
    return Soundness(len(encodings), tuple(failures), tuple(_never_chosen(space)))


def _never_chosen(space: Space) -> list[str]:
    """Choices that lie on no canonical way (a canonical candidate may need a rule to allow more than the way)."""
    made: list[set[int]] = [set() for _ in space.decisions]
    for t, step in enumerate(space.chain.steps):
        ways = np.flatnonzero(np.repeat(space.paths.alive(t), np.diff(step.way_start)))
        chosen = step.choices[np.unique(step.way[ways] % len(step.choices))]
        for i, d in enumerate(step.decisions):
            made[d].update(np.unique(chosen[:, i]).tolist())
    return [
        f"{decision.name}: {choice_text(choice)}"
        for decision, used in zip(space.decisions, made, strict=True)
        for i, choice in enumerate(decision.choices)
        if i not in used
    ]
