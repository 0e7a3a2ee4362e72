"""Candidates of a space as whole networks to measure, drawn over the whole range of work, and named so as to return."""

from __future__ import annotations

from collections.abc import Sequence

from archsearch.arch import preset_names, resolve
from archsearch.cost.conditions import Conditions
from archsearch.errors import LatencyError
from archsearch.latency.whole import Whole
from archsearch.space import Space, load_space, space_names

DRAWS = 64  # for each that is taken


def draw(space: Space, count: int, seed: int) -> list[Whole]:
    """``count`` candidates, one from each of as many equal strata of MACs, each uniform within its stratum.

    Uniform draws of a large space crowd around its mean; strata reach its ends.
    """
    import numpy as np

    rows = space.sample(DRAWS * count, seed)
    macs = space.batch_scorer().score(rows).macs
    order = np.argsort(macs, kind="stable")
    picks = np.random.default_rng(seed).integers(0, DRAWS, count) + DRAWS * np.arange(count)
    return [candidate(space, rows[i].tolist()) for i in order[picks]]


def candidate(space: Space, encoding: Sequence[int]) -> Whole:
    """One candidate under the conditions of its space."""
    name = f"{space.name}:{'.'.join(map(str, encoding))}"
    return Whole(name, space.decode(encoding), space.conditions)


def whole_of(name: str) -> Whole:
    """The network of a row's name: ``SPACE:0.2.1...`` or a preset.

    Raises:
        ArchsearchError: an unknown name, or an encoding that the space does not have.
    """
    space, mark, encoding = name.partition(":")
    if mark and space in space_names():
        numbers = encoding.split(".")
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise LatencyError("not a candidate's name", got=name, allowed="SPACE:0.2.1...")
        return candidate(load_space(space), [int(number) for number in numbers])
    if name not in preset_names():
        raise LatencyError("neither a preset nor a candidate of a space", got=name,
                           next_step="the row stays, but it cannot be used for calibration")  # fmt: skip
    preset = resolve(name)
    return Whole(name, preset.architecture, Conditions(latent=preset.latent, text=preset.text))
