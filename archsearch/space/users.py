"""How many candidates of a space run each operator, exactly.

A candidate is a path through the chain, so the candidates that never run an operator are the paths over edges that do
not emit it, and counting those is the same dynamic programming that counts the space.  It is done once an operator
between the first and the last step that can emit it; before and after, plain counts of paths serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from archsearch.arch.values import UNet
from archsearch.cost.conditions import Conditions
from archsearch.cost.context import context_of
from archsearch.cost.lowering import lower_step
from archsearch.space.chain import Chain, Ints
from archsearch.space.costs import walked_steps
from archsearch.space.paths import Paths, sum_by_group

if TYPE_CHECKING:
    from archsearch.cost.trace import Trace
    from archsearch.space.space import Space

Bools = np.ndarray[Any, np.dtype[np.bool_]]


def op_keys(trace: Trace) -> Iterable[str]:
    """Keys of a trace's operators."""
    return (traced.op.key for traced in trace.ops)


def block_keys(trace: Trace) -> Iterable[str]:
    """Keys of a trace's blocks."""
    return (span.block.key for span in trace.blocks)


def candidates_using(
    space: Space, conditions: Conditions | None = None, keys: Callable[[Trace], Iterable[str]] = op_keys
) -> dict[str, int]:
    """The exact number of candidates that run each operator at least once, sorted by key.

    Args:
        space: the space.
        conditions: under which operators get their shapes, by default the space's own.
        keys: what is counted of each lowered piece: operators, or blocks (:func:`block_keys`).
    """
    chain, paths = space.chain, space.paths
    steps, names = _emitted(chain, paths, conditions or space.conditions, keys)
    totals = paths.totals
    reached = _reached(chain, paths)
    known: dict[tuple[tuple[int, bytes], ...], int] = {}  # operators that always come together are counted once
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        emitting = {t: step.emits[number] for t, step in enumerate(steps) if number in step.emits}
        pattern = tuple((t, classes.tobytes()) for t, classes in emitting.items())
        if pattern not in known:
            known[pattern] = paths.size - _avoiding(chain, totals, reached, steps, emitting)
        found[name] = known[pattern]
    return dict(sorted(found.items()))


class _Emitted(NamedTuple):
    """What the edges of one step emit.  Edges of one class emit the same; ``emits`` maps a unit to its classes [C]."""

    edge_class: Ints
    emits: dict[int, Bools]


def _emitted(
    chain: Chain, paths: Paths, conditions: Conditions, keys: Callable[[Trace], Iterable[str]]
) -> tuple[list[_Emitted], list[str]]:
    """The units that each step emits, and their names by number."""
    contexts = [context_of(header, conditions) for header in chain.headers]
    numbers: dict[str, int] = {}
    lowered: dict[tuple[object, ...], frozenset[int]] = {}
    steps = []
    for t, step in enumerate(chain.steps):
        classes: dict[frozenset[int], int] = {}
        piece_class = np.zeros(len(step.pieces), dtype=np.int64)
        for number in np.unique(step.edge_piece[paths.alive(t)]).tolist():
            around, emitted = step.pieces[number]
            emission = step.emissions[emitted]
            header = around.header
            if isinstance(emission, UNet):
                header = next(i for i, known in enumerate(chain.headers) if known is emission)
            units: set[int] = set()
            for walked in walked_steps(step, chain.headers[header], around, emission):
                # Values of a chain live as long as it does, so their identity is a key.
                key = (walked.role, id(walked.value), *walked[3:], header)
                if key not in lowered:
                    trace = lower_step(chain.headers[header], contexts[header], walked)
                    lowered[key] = frozenset(numbers.setdefault(name, len(numbers)) for name in keys(trace))
                units |= lowered[key]
            piece_class[number] = classes.setdefault(frozenset(units), len(classes))
        emits: dict[int, Bools] = {}
        for members, c in classes.items():
            for unit in members:
                emits.setdefault(unit, np.zeros(max(len(classes), 1), dtype=bool))[c] = True
        steps.append(_Emitted(piece_class[step.edge_piece], emits))
    return steps, list(numbers)


def _reached(chain: Chain, paths: Paths) -> list[Any]:
    """For each step and each of its groups, the number of ways from the start to it, of those that go on to the end."""
    ways = [np.ones(1, dtype=paths.totals[0].dtype)]
    for t, step in enumerate(chain.steps[:-1]):
        arriving = np.repeat(ways[-1], np.diff(step.edge_start)) * paths.alive(t)
        found = np.zeros(len(paths.totals[t + 1]), dtype=ways[-1].dtype)
        np.add.at(found, step.edge_next, arriving)
        ways.append(found)
    return ways


def _avoiding(
    chain: Chain, totals: list[Any], reached: list[Any], steps: list[_Emitted], emitting: dict[int, Bools]
) -> int:
    """Candidates that never take an edge of an emitting class."""
    first, last = min(emitting), max(emitting)
    rest = totals[last + 1]
    for t in range(last, first - 1, -1):
        step = chain.steps[t]
        weight = rest[step.edge_next]
        if t in emitting:
            weight[emitting[t][steps[t].edge_class]] = 0
        rest = sum_by_group(weight, step.edge_start)
    return int((rest * reached[first]).sum())
