"""Costs of a whole space under given conditions: what every edge of its chain adds, exact ranges, batched scores.

Parameters, MACs, bytes and latency add up over edges.  The peak of activation memory is the maximum over edges of
what is held there (skips, embeddings) and what the piece at work needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from archsearch.arch.values import Downsample, ResBlock, UNet, Upsample
from archsearch.arch.walk import Step as WalkStep
from archsearch.cost.block import BlockOp
from archsearch.cost.conditions import Conditions
from archsearch.cost.context import context_of
from archsearch.cost.count import held_elements
from archsearch.cost.lowering import lower_step
from archsearch.cost.op import Op
from archsearch.cost.runs import head_steps, layer_steps, sampler_steps, stem_steps
from archsearch.cost.scorer import OpLatency, PieceCost, Prices
from archsearch.cost.trace import Trace
from archsearch.errors import SpaceError
from archsearch.space.chain import Chain, Ints, Step
from archsearch.space.machine import Emission, Local, Machine
from archsearch.space.paths import Paths

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
MOST = 1 << 60


class StepCost(NamedTuple):
    """Costs of the edges of one step (of one pass; memory in elements), and of its groups' held tensors."""

    params: Ints
    macs: Ints
    attention_macs: Ints
    peak: Ints
    latency_ms: Floats  # [tables, E]


@dataclass(frozen=True)
class Costs:
    """The costs of every edge of a chain."""

    chain: Chain
    conditions: Conditions
    tables: int
    steps: tuple[StepCost, ...]


@lru_cache(maxsize=4)
def chain_costs(chain: Chain, conditions: Conditions, tables: tuple[OpLatency, ...] = ()) -> Costs:
    """Lower every piece of the chain once.

    Raises:
        SpaceError: costs that cannot be summed in 64 bits.
    """
    pricing = _Pricing(chain, conditions, tables)
    return Costs(chain, conditions, len(tables), tuple(pricing.step(step) for step in chain.steps))


class _Pricing:
    """Prices the pieces of a chain; a block between the same widths is lowered once."""

    def __init__(self, chain: Chain, conditions: Conditions, tables: Sequence[OpLatency]) -> None:
        self.chain = chain
        self.conditions = conditions
        self.tables = tables
        self.prices = Prices(conditions, tables)
        self.contexts = [context_of(header, conditions) for header in chain.headers]
        timeless = [ctx.timeless() for ctx in self.contexts]
        self.shared = [timeless.index(ctx) for ctx in timeless]
        self.held = [held_elements(h, ctx) for h, ctx in zip(chain.headers, self.contexts, strict=True)]
        self._known: dict[tuple[object, ...], PieceCost] = {}

    def step(self, step: Step) -> StepCost:
        """The costs of a step's edges."""
        rows = [self._piece(step, around, number) for around, number in step.pieces]
        biggest = max(value for row in rows for value in row)
        if biggest * len(self.chain.steps) * self.conditions.passes * 8 >= MOST:
            raise SpaceError("costs this large cannot be summed exactly", got=f"{biggest:.3g} in one piece",
                             next_step="are the widths or the resolution a mistake?")  # fmt: skip
        exact = np.array([row[:5] for row in rows], dtype=np.int64)
        latency = np.array([row[5:] for row in rows], dtype=np.float64)
        piece = step.edge_piece
        params, macs, attention, joining, working = exact[piece].T
        machine = step.group_machine[np.repeat(np.arange(len(step.group_machine)), np.diff(step.edge_start))]
        memory = np.array([self._skips(m) for m in step.machines], dtype=np.int64)[machine]
        peak = np.where(working > 0, memory[:, 0] + working, 0)
        if step.site.role == "up":  # it joins with its skip still held, and works without
            peak = np.where(working > 0, peak - memory[:, 1], 0)
            peak = np.maximum(peak, np.where(joining > 0, memory[:, 0] + joining, 0))
        return StepCost(*map(np.ascontiguousarray, (params, macs, attention, peak, latency[piece].T)))

    def _piece(self, step: Step, around: Local, number: int) -> list[float]:
        """Parameters, MACs, those of attention products, memory while joining and after, latency on each table."""
        emission = step.emissions[number]
        header = around.header
        if isinstance(emission, UNet):
            header = next(i for i, known in enumerate(self.chain.headers) if known is emission)
        params = macs = attention = joining = working = 0
        latency_ms = [0.0] * len(self.tables)
        is_skip = around.is_skip
        for walked in walked_steps(step, self.chain.headers[header], around, emission):
            cost = self._price(walked, header)
            params += cost.params
            macs += cost.macs
            attention += cost.attention_macs
            own = self.held[header] + (cost.peak_held if is_skip else cost.peak)
            is_skip = False
            if walked.role == "join":
                joining = own
            else:
                working = max(working, own)
            for i, one in enumerate(cost.latency_ms):
                latency_ms[i] += one
        return [params, macs, attention, joining, working, *latency_ms]

    def _price(self, walked: WalkStep, header: int) -> PieceCost:
        if walked.role in ("block", "join", "downsample", "upsample") and not isinstance(walked.value, ResBlock):
            header = self.shared[header]
        # Values of a chain live as long as it does, so their identity is a key.
        key = (walked.role, id(walked.value), walked.in_channels, walked.skip_channels, walked.level, header)
        cost = self._known.get(key)
        if cost is None:
            trace = lower_step(self.chain.headers[header], self.contexts[header], walked)
            cost = self._known[key] = self.prices.piece(trace)
        return cost

    def _skips(self, machine: Machine) -> tuple[int, int]:
        """Elements of all skips, and of the latest one (0 for an alias)."""
        if not machine.skips:
            return 0, 0
        ctx = self.contexts[machine.header]
        sizes = [0 if s.alias else ctx.batch * s.channels * prod(ctx.side(s.level)) for s in machine.skips]
        return sum(sizes), sizes[-1]


def walked_steps(step: Step, header: UNet, around: Local, emission: Emission) -> list[WalkStep]:
    """The steps of ``arch.walk`` that one site stands for, pushes left out."""
    if step.site.role == "head":
        return head_steps(header, around.channels)
    if emission is None:
        return []
    if isinstance(emission, UNet):
        return stem_steps(header)
    if isinstance(emission, (Downsample, Upsample)):
        return sampler_steps(emission, around.channels, around.level)
    return layer_steps(emission, around.channels, around.skip_channels, around.level)


def distinct_ops(chain: Chain, paths: Paths, conditions: Conditions) -> dict[str, Op]:
    """Every operator that some candidate runs, by key."""
    traces = distinct_traces(chain, paths, conditions)
    return dict(sorted({traced.op.key: traced.op for trace in traces for traced in trace.ops}.items()))


def distinct_blocks(chain: Chain, paths: Paths, conditions: Conditions) -> dict[str, BlockOp]:
    """Every block that some candidate runs, by key."""
    traces = distinct_traces(chain, paths, conditions)
    return dict(sorted({span.block.key: span.block for trace in traces for span in trace.blocks}.items()))


def distinct_traces(chain: Chain, paths: Paths, conditions: Conditions) -> list[Trace]:
    """The lowered pieces that some candidate has, each once."""
    contexts = [context_of(header, conditions) for header in chain.headers]
    found: list[Trace] = []
    seen: set[tuple[object, ...]] = set()
    for t, step in enumerate(chain.steps):
        for number in np.unique(step.edge_piece[paths.alive(t)]).tolist():
            around, emitted = step.pieces[number]
            emission = step.emissions[emitted]
            header = around.header
            if isinstance(emission, UNet):
                header = next(i for i, known in enumerate(chain.headers) if known is emission)
            for walked in walked_steps(step, chain.headers[header], around, emission):
                key = (walked.role, id(walked.value), *walked[3:], header)
                if key not in seen:
                    seen.add(key)
                    found.append(lower_step(chain.headers[header], contexts[header], walked))
    return found


class BatchScores(NamedTuple):
    """Scores of n encodings; rows that are not ``valid`` (a rule forbids them) hold zeros.

    ``latency_ms`` is [tables, n], all guidance passes together.
    """

    valid: np.ndarray[Any, np.dtype[np.bool_]]
    params: Ints
    macs: Ints
    macs_without_attention: Ints
    weight_bytes: Ints
    peak_activation_bytes: Ints
    latency_ms: Floats


class BatchScorer:
    """Scores encodings [n, decisions], canonical or not, by look-ups alone."""

    def __init__(self, paths: Paths, costs: Costs) -> None:
        self._paths = paths
        self.costs = costs

    def score(self, encodings: Any) -> BatchScores:
        """Totals of a batch; equal to ``cost.count`` and the tables' sums exactly."""
        path, valid = self._paths.follow(np.asarray(encodings, dtype=np.int64))
        return self.score_paths(path, valid)

    def score_paths(self, path: Ints, valid: Any) -> BatchScores:
        """Totals of paths."""
        n = len(path)
        params, macs, attention, peak = (np.zeros(n, dtype=np.int64) for _ in range(4))
        latency_ms = np.zeros((self.costs.tables, n))
        for t, cost in enumerate(self.costs.steps):
            edge = path[:, t]
            params += cost.params[edge]
            macs += cost.macs[edge]
            attention += cost.attention_macs[edge]
            np.maximum(peak, cost.peak[edge], out=peak)
            for i in range(self.costs.tables):
                latency_ms[i] += cost.latency_ms[i][edge]
        conditions = self.costs.conditions
        passes, size = conditions.passes, conditions.bytes_per_value
        for array in (params, macs, attention, peak):
            array *= valid
        return BatchScores(
            valid,
            params,
            macs * passes,
            (macs - attention) * passes,
            params * size,
            peak * size,
            latency_ms * passes * valid,
        )
