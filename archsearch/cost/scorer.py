"""Incremental scoring: the totals of a network as sums over pieces whose costs are remembered.

A piece (block, sampler, join, end) costs the same wherever it meets the same width and resolution, so an architecture
that was never seen costs a walk and look-ups.  The totals equal those of the full lowering exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol

from archsearch.arch.values import Architecture, Decoder, UNet
from archsearch.arch.walk import Step, walk
from archsearch.cost.conditions import Conditions
from archsearch.cost.context import Context, context_of
from archsearch.cost.count import held_elements
from archsearch.cost.lowering import lower_step
from archsearch.cost.op import Op
from archsearch.cost.trace import Trace

MAX_REMEMBERED = 200_000


class OpLatency(Protocol):
    """Anything that knows the latency of an operator.  Latencies of a network are sums over its operators."""

    def op_latency_ms(self, op: Op) -> float:
        """Latency of one run of ``op`` in milliseconds."""
        ...


class Score(NamedTuple):
    """Totals under given conditions; ``latency_ms`` has one entry a table (all guidance passes together)."""

    params: int
    macs: int
    macs_without_attention: int
    weight_bytes: int
    peak_activation_bytes: int
    latency_ms: tuple[float, ...]


class PieceCost(NamedTuple):
    """What one pass through a piece costs.

    ``peak`` and ``peak_held`` are its largest sums of live activation elements, with its input counted and not.
    """

    params: int
    macs: int
    attention_macs: int
    peak: int
    peak_held: int
    latency_ms: tuple[float, ...]


def piece_cost(trace: Trace, conditions: Conditions, tables: Sequence[OpLatency] = ()) -> PieceCost:
    """The cost of a lowered piece (of one pass)."""
    unfused = conditions.attention == "unfused"
    ops = [traced.op for traced in trace.ops]
    return PieceCost(
        sum(op.params for op in ops),
        sum(op.macs for op in ops),
        sum(op.attention_macs for op in ops),
        trace.peak(held=False, workspace=unfused),
        trace.peak(held=True, workspace=unfused),
        tuple(sum(table.op_latency_ms(op) for op in ops) for table in tables),
    )


class Scorer:
    """Scores architectures under fixed conditions, remembering the costs of pieces between calls."""

    def __init__(self, conditions: Conditions | None = None, tables: Sequence[OpLatency] = ()) -> None:
        self.conditions = conditions or Conditions()
        self.tables = tuple(tables)
        self._known: dict[Context, dict[Hashable, PieceCost]] = {}
        self._remembered = 0

    def score(self, arch: Architecture) -> Score:
        """The totals of ``arch``.

        Raises:
            ArchError: the architecture is inconsistent.
        """
        ctx = context_of(arch, self.conditions)
        known = self._known.get(ctx)
        if known is None:
            known = self._known.setdefault(ctx, {})
        params = macs = attention = 0
        latency_ms = [0.0] * len(self.tables)
        live = held_elements(arch, ctx)  # everything held: embeddings, text states, skips
        skips: list[int] = []  # elements; 0 where the skip is the same tensor as the one below
        is_skip = False
        peak = 0
        for step in walk(arch):
            role = step.role
            if role == "push":
                size = 0 if is_skip else _elements(ctx, step)
                skips.append(size)
                live += size
                is_skip = True
                continue
            if role == "block" or role == "downsample" or role == "upsample":
                key: Hashable = (step.value, step.in_channels, step.level)
            elif role == "join":
                key = (step.in_channels, step.skip_channels, step.level)
            else:
                key = _end_key(arch, step)
            cost = known.get(key)
            if cost is None:
                cost = self._remember(known, key, piece_cost(lower_step(arch, ctx, step), self.conditions, self.tables))
            params += cost.params
            macs += cost.macs
            attention += cost.attention_macs
            own = live + (cost.peak_held if is_skip else cost.peak)
            if own > peak:
                peak = own
            for i, one in enumerate(cost.latency_ms):
                latency_ms[i] += one
            is_skip = False
            if role == "join":
                live -= skips.pop()
        passes, size = self.conditions.passes, self.conditions.bytes_per_value
        return Score(
            params,
            macs * passes,
            (macs - attention) * passes,
            params * size,
            peak * size,
            tuple(one * passes for one in latency_ms),
        )

    def _remember(self, known: dict[Hashable, PieceCost], key: Hashable, cost: PieceCost) -> PieceCost:
        self._remembered += 1
        if self._remembered > MAX_REMEMBERED:  # an endless stream of strange networks must not fill the memory
            for pieces in self._known.values():
                pieces.clear()
            self._remembered = 1
        known[key] = cost
        return cost


def _elements(ctx: Context, step: Step) -> int:
    height, width = ctx.side(step.level)
    return ctx.batch * step.out_channels * height * width


def _end_key(arch: Architecture, step: Step) -> Hashable:
    """What the first and last pieces of a network depend on besides widths and level."""
    if isinstance(arch, UNet):
        if step.role == "embed":
            return (arch.time, arch.added, arch.text_projection)
        kernel = arch.conv_in_kernel if step.role == "conv_in" else arch.conv_out_kernel
        return (step.role, step.in_channels, step.out_channels, kernel)
    if isinstance(arch, Decoder):
        return (step.role, step.in_channels, step.out_channels, step.level)
    return arch
