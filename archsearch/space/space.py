"""A search space: a finite set of UNets, each with exactly one canonical encoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from archsearch.arch.identity import effect_key
from archsearch.arch.values import Downsample, Layer, Stage, UNet, Upsample
from archsearch.cost.block import BlockOp
from archsearch.cost.conditions import Conditions
from archsearch.cost.op import Op
from archsearch.cost.scorer import OpLatency
from archsearch.errors import SpaceError, unknown_name
from archsearch.space.chain import Chain, Ints, Step
from archsearch.space.constrained import sample_within
from archsearch.space.costs import BatchScorer, chain_costs, distinct_blocks, distinct_ops
from archsearch.space.decisions import Choice, Decision, Rule, choice_text
from archsearch.space.machine import Emission
from archsearch.space.paths import Paths
from archsearch.space.ranges import Extent, Statistics, extents, statistics
from archsearch.space.skeleton import Site

BATCH = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Space:
    """Decisions, rules and the chain they were compiled to.  An encoding holds one choice number a decision."""

    name: str
    title: str
    description: str = field(repr=False)
    conditions: Conditions
    decisions: tuple[Decision, ...] = field(repr=False)
    rules: tuple[Rule, ...] = field(repr=False)
    chain: Chain = field(repr=False)
    path: Path

    @cached_property
    def paths(self) -> Paths:
        """The counted paths of the chain."""
        return Paths(self.chain, [len(decision.choices) for decision in self.decisions])

    def size(self) -> int:
        """The exact number of candidates."""
        return self.paths.size

    def defaults(self) -> tuple[int, ...]:
        """The encoding in which every decision takes its default: the baseline architecture."""
        return tuple(decision.default for decision in self.decisions)

    def sample(
        self,
        n: int,
        seed: int,
        constraints: Mapping[str, float] | None = None,
        conditions: Conditions | None = None,
        tables: Mapping[str, OpLatency] | None = None,
    ) -> Ints:
        """``n`` independent candidates, uniform over the space, as canonical encodings [n, decisions].

        Args:
            n: how many.
            seed: of the random numbers.
            constraints: upper limits by cost name (``params``, ``macs``, ``latency:T``, ...; see :meth:`ranges`);
                candidates are then uniform over those that meet all of them.
            conditions: under which the constraints hold, by default the space's own.
            tables: the latency tables that constraints name.

        Raises:
            SpaceError: a constraint that cannot be met; says which, and the nearest reachable value.
        """
        for name, number in (("n", n), ("seed", seed)):
            if number < 0:
                raise SpaceError("must not be negative", where=name, got=number)
        rng = np.random.default_rng(seed)
        if not constraints:
            return self.paths.encodings(self.paths.sample(n, rng))
        named = tables or {}
        costs = chain_costs(self.chain, conditions or self.conditions, tuple(named.values()))
        return self.paths.encodings(sample_within(self.paths, costs, list(named), constraints, n, rng))

    def unrank(self, numbers: Sequence[int]) -> Ints:
        """The candidates of numbers 0 .. size - 1, as canonical encodings [n, decisions].

        Raises:
            SpaceError: a number outside the space.
        """
        for number in numbers:
            if not 0 <= number < self.size():
                raise SpaceError("no such candidate", where=self.name, got=number, allowed=f"0 to {self.size() - 1}")
        return self.paths.encodings(self.paths.unrank(np.array(numbers, dtype=object)))

    def enumerate(self) -> Iterator[tuple[int, ...]]:
        """Every canonical encoding, once."""
        for start in range(0, self.size(), BATCH):
            numbers = np.array(range(start, min(start + BATCH, self.size())), dtype=object)
            for row in self.paths.encodings(self.paths.unrank(numbers)).tolist():
                yield tuple(row)

    def canonical(self, encoding: Sequence[int]) -> tuple[int, ...]:
        """The canonical encoding of the same network.

        Raises:
            SpaceError: not an encoding of this space, or one that a rule forbids.
        """
        return self.paths.encoding_of(self._path(encoding))

    def canonical_batch(self, encodings: Ints) -> tuple[Ints, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Canonical encodings [n, decisions] of a batch, and which of them are valid (other rows are arbitrary)."""
        path, valid = self.paths.follow(np.asarray(encodings, dtype=np.int64))
        return self.paths.encodings(path), valid

    def neighbours(self, encoding: Sequence[int]) -> list[tuple[int, ...]]:
        """The other candidates that one changed decision leads to, canonical, in order of the decisions."""
        origin = self.canonical(encoding)
        changed = [
            (*origin[:d], choice, *origin[d + 1 :])
            for d, decision in enumerate(self.decisions)
            for choice in range(len(decision.choices))
            if choice != origin[d]
        ]
        if not changed:
            return []
        found, valid = self.canonical_batch(np.array(changed, dtype=np.int64))
        unique = dict.fromkeys(tuple(row) for row, ok in zip(found.tolist(), valid, strict=True) if ok)
        unique.pop(origin, None)
        return list(unique)

    def decode(self, encoding: Sequence[int]) -> UNet:
        """The architecture of an encoding, canonical or not.  Equal parts of candidates are shared objects.

        Raises:
            SpaceError: not an encoding of this space, or one that a rule forbids.
        """
        emissions = [
            step.emissions[step.edge_emission.item(edge)]
            for step, edge in zip(self.chain.steps, self._path(encoding), strict=True)
        ]
        return assemble([step.site for step in self.chain.steps], emissions)

    def batch_scorer(self, conditions: Conditions | None = None, tables: Sequence[OpLatency] = ()) -> BatchScorer:
        """A scorer of encodings, by default under the space's own conditions.

        Args:
            conditions: what to count under.
            tables: latency tables, in the order of the scores' ``latency_ms``.
        """
        return BatchScorer(self.paths, chain_costs(self.chain, conditions or self.conditions, tuple(tables)))

    def ranges(
        self, conditions: Conditions | None = None, tables: Mapping[str, OpLatency] | None = None
    ) -> dict[str, Extent]:
        """The exact least and largest value of every cost over the whole space, by name (``latency:T`` for tables)."""
        named = tables or {}
        costs = chain_costs(self.chain, conditions or self.conditions, tuple(named.values()))
        return extents(self.paths, costs, list(named))

    def statistics(
        self,
        conditions: Conditions | None = None,
        tables: Mapping[str, OpLatency] | None = None,
        samples: int = 10_000,
        seed: int = 0,
    ) -> dict[str, Statistics]:
        """Exact least, sampled median and exact largest value of every cost, by name (``latency:T`` for tables)."""
        named = tables or {}
        costs = chain_costs(self.chain, conditions or self.conditions, tuple(named.values()))
        return statistics(self.paths, costs, list(named), samples, seed)

    def distinct_ops(self, conditions: Conditions | None = None) -> dict[str, Op]:
        """Every operator that some candidate runs, by key."""
        return distinct_ops(self.chain, self.paths, conditions or self.conditions)

    def distinct_blocks(self, conditions: Conditions | None = None) -> dict[str, BlockOp]:
        """Every block (``cost.block``) that some candidate runs, by key."""
        return distinct_blocks(self.chain, self.paths, conditions or self.conditions)

    def encode(self, unet: UNet) -> tuple[int, ...]:
        """The canonical encoding of an architecture.

        Raises:
            SpaceError: not a member of this space; says where it departs.
        """
        from archsearch.space.member import take_apart

        parts = take_apart(unet, [step.site for step in self.chain.steps])
        group = 0
        path = []
        for t, (step, (part, place)) in enumerate(zip(self.chain.steps, parts, strict=True)):
            alive = self.paths.alive(t)
            edges = [e for e in range(step.edge_start[group], step.edge_start[group + 1]) if alive[e]]
            wanted = effect_key(part)
            edge = next((e for e in edges if _edge_key(step, e) == wanted), None)
            if edge is None:
                from archsearch.space.member import departure

                raise departure(self.name, place, part, [step.emissions[int(step.edge_emission[e])] for e in edges])
            path.append(edge)
            group = int(step.edge_next[edge])
        return self.paths.encoding_of(path)

    def __contains__(self, unet: object) -> bool:
        if not isinstance(unet, UNet):
            return False
        try:
            self.encode(unet)
        except SpaceError:
            return False
        return True

    def choices(self, encoding: Sequence[int]) -> dict[str, Choice]:
        """Decision names and what they chose."""
        row = self.checked(encoding)
        return {decision.name: decision.choices[i] for decision, i in zip(self.decisions, row, strict=True)}

    def encoding(self, choices: Mapping[str, Choice]) -> tuple[int, ...]:
        """The canonical encoding of named choices; what is not named takes its default.

        Raises:
            SpaceError: an unknown decision or choice, or a combination that a rule forbids.
        """
        row = list(self.defaults())
        names = {decision.name: d for d, decision in enumerate(self.decisions)}
        for name, choice in choices.items():
            if name not in names:
                raise SpaceError(unknown_name("decision", name, names), where=self.name)
            decision = self.decisions[names[name]]
            row[names[name]] = decision.index(choice)
            if row[names[name]] < 0:
                raise SpaceError("not a choice", where=f"{self.name}: {name}", got=choice,
                                 allowed=", ".join(map(choice_text, decision.choices)))  # fmt: skip
        return self.canonical(row)

    def checked(self, encoding: Sequence[int]) -> list[int]:
        """An encoding as plain integers.

        Raises:
            SpaceError: wrong length, or a number that is no choice.
        """
        if len(encoding) != len(self.decisions):
            raise SpaceError("an encoding has one number a decision", where=self.name, got=len(encoding),
                             allowed=len(self.decisions))  # fmt: skip
        for decision, number in zip(self.decisions, encoding, strict=True):
            if not 0 <= number < len(decision.choices) or number != int(number):
                raise SpaceError("not the number of a choice", where=f"{self.name}: {decision.name}", got=number,
                                 allowed=f"0 to {len(decision.choices) - 1}")  # fmt: skip
        return [int(number) for number in encoding]

    def _path(self, encoding: Sequence[int]) -> list[int]:
        row = self.checked(encoding)
        path = self.paths.follow_one(row)
        if path is None:
            raise self._forbidden(row)
        return path

    def _forbidden(self, row: list[int]) -> SpaceError:
        effective = self._effective(row)
        for rule in self.rules:
            if rule.forbidden.holds(effective):
                return SpaceError(f"a rule forbids this combination: {rule.reason}", where=self.name)
        return SpaceError("not a candidate", where=self.name)

    def _effective(self, row: list[int]) -> list[int]:
        """Decisions whose condition does not hold take their default."""
        result = list(row)
        settled: set[int] = set()
        while len(settled) < len(result):
            for d, decision in enumerate(self.decisions):
                if d not in settled and settled.issuperset(decision.condition.scope):
                    if not decision.condition.holds(result):
                        result[d] = decision.default
                    settled.add(d)
        return result


def _edge_key(step: Step, edge: int) -> str:
    return effect_key(step.emissions[int(step.edge_emission[edge])])


def assemble(sites: Sequence[Site], emissions: Sequence[Emission]) -> UNet:
    """The UNet of what the sites emitted, in the order of execution."""
    header: UNet | None = None
    middle: Layer = ()
    down: dict[int, list[Layer]] = {}
    up: dict[int, list[Layer]] = {}
    downsample: dict[int, Downsample] = {}
    upsample: dict[int, Upsample] = {}
    for site, value in zip(sites, emissions, strict=True):
        if isinstance(value, UNet):
            header = value
        elif isinstance(value, Downsample):
            downsample[site.stage] = value
        elif isinstance(value, Upsample):
            upsample[site.stage] = value
        elif value is not None and site.role == "middle":
            middle = value
        elif value is not None and site.role != "head":
            (down if site.role == "down" else up).setdefault(site.stage, []).append(value)
    assert header is not None
    stages = tuple(
        Stage(
            down=tuple(down.get(s, ())),
            up=tuple(up[s]),
            downsample=downsample.get(s),
            upsample=upsample.get(s),
        )
        for s in sorted(up)
    )
    return replace(header, stages=stages, middle=middle)
