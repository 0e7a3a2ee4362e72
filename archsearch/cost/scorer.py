"""Incremental scoring: the totals of a network as sums over pieces whose costs are remembered.

A piece (block, sampler, join, end) costs the same wherever it meets the same width and resolution, so an architecture
that was never seen costs a walk and look-ups.  The totals equal those of the full lowering exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, NoReturn, Protocol, cast

from archsearch.arch.values import Architecture, Block, Downsample, Layer, ResBlock, Shortcut, Stage, UNet, Upsample
from archsearch.arch.walk import Step, walk
from archsearch.cost.block import BlockOp
from archsearch.cost.conditions import Conditions
from archsearch.cost.context import Context, context_of
from archsearch.cost.count import held_elements
from archsearch.cost.keys import block_key, layer_key
from archsearch.cost.lowering import check_conditions, lower_step
from archsearch.cost.op import Op
from archsearch.cost.runs import head_steps, layer_steps, sampler_steps, stem_steps
from archsearch.cost.trace import Trace

MAX_REMEMBERED = 200_000


class OpLatency(Protocol):
    """Anything that knows the latency of an operator.

    The latency of a network is the sum over its operators and what its blocks take beyond theirs.
    """

    def op_latency_ms(self, op: Op) -> float:
        """Latency of one run of ``op`` in milliseconds."""
        ...

    def between_ms(self, block: BlockOp) -> float:
        """What one run of ``block`` takes beyond the sum of its operators, in milliseconds; may be negative."""
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


class Prices:
    """Prices pieces; an operator is looked up in the tables once."""

    def __init__(self, conditions: Conditions, tables: Sequence[OpLatency] = ()) -> None:
        self._unfused = conditions.attention == "unfused"
        self.tables = tuple(tables)
        self._known: dict[Op, tuple[int, int, int, tuple[float, ...]]] = {}

    def piece(self, trace: Trace) -> PieceCost:
        """The cost of a lowered piece (of one pass)."""
        params = macs = attention = 0
        latency_ms = [0.0] * len(self.tables)
        for traced in trace.ops:
            price = self._known.get(traced.op) or self._price(traced.op)
            params += price[0]
            macs += price[1]
            attention += price[2]
            for i, one in enumerate(price[3]):
                latency_ms[i] += one
        for i, table in enumerate(self.tables):
            latency_ms[i] += sum([table.between_ms(span.block) for span in trace.blocks])
        return PieceCost(params, macs, attention, *trace.peaks(workspace=self._unfused), tuple(latency_ms))

    def _price(self, op: Op) -> tuple[int, int, int, tuple[float, ...]]:
        found = (op.params, op.macs, op.attention_macs, tuple([table.op_latency_ms(op) for table in self.tables]))
        self._known[op] = found
        return found


KEEP, JOIN, PUSH, PUSH_COARSER = range(4)


class _Run(NamedTuple):
    """What one pass through a layer, a sampler or an end costs; the join of an up layer runs with its skip held."""

    params: int
    macs: int
    attention_macs: int
    peak: int
    peak_held: int
    join_peak: int
    join_peak_held: int
    out_channels: int
    latency_ms: tuple[float, ...]


class Scorer:
    """Scores architectures under fixed conditions, remembering the costs of layers and pieces between calls."""

    def __init__(self, conditions: Conditions | None = None, tables: Sequence[OpLatency] = ()) -> None:
        self.conditions = conditions or Conditions()
        self.tables = tuple(tables)
        self._prices = Prices(self.conditions, self.tables)
        self._pieces: dict[Hashable, PieceCost] = {}
        self._known: dict[Context, _Known] = {}

    def score(self, arch: Architecture) -> Score:
        """The totals of ``arch``.

        Raises:
            ArchError: the architecture is inconsistent.
            CostError: the conditions do not suit it.
        """
        ctx = context_of(arch, self.conditions)
        known = self._known.get(ctx)
        if known is None or known.full:
            if len(self._pieces) + sum(map(len, self._known.values())) > MAX_REMEMBERED:
                self._known.clear()
                self._pieces.clear()
            known = self._known[ctx] = _Known(ctx, self.conditions, self._prices, self._pieces)
        return known.unet(arch) if isinstance(arch, UNet) else known.other(arch)


class _Known:
    """What was learned about pieces in one context (text width, norm groups, ...).

    The rules of networks stand in ``arch.walk`` alone: a network with a piece that is not known yet is walked first, so
    a known piece is one that passed, and a network of known pieces needs no more than its layers counted.
    """

    def __init__(self, ctx: Context, conditions: Conditions, prices: Prices, pieces: dict[Hashable, PieceCost]) -> None:
        self.ctx = ctx
        self.conditions = conditions
        self._prices = prices
        self._pieces = pieces  # shared by all contexts
        self._timeless = ctx.timeless()
        self._walked: Architecture | None = None
        self._runs: dict[Hashable, _Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def full(self) -> bool:
        """Whether to forget it all: an endless stream of strange networks must not fill the memory."""
        return len(self._runs) + len(self._pieces) > MAX_REMEMBERED

    def unet(self, unet: UNet) -> Score:
        """Follow a UNet layer by layer, as ``walk`` does step by step."""
        known = self._runs
        ends = (unet.in_channels, unet.conv_in_channels, unet.conv_in_kernel, unet.time, unet.added,
                unet.text_projection)  # fmt: skip
        run = known.get(ends) or self._learn(unet, ends, stem_steps(unet))
        stages = unet.stages
        if not _well_formed(stages):
            return self._refuse(unet)
        parts: list[tuple[Layer | Downsample | Upsample, int, int]] = []  # value, level, effect on the skips
        for level, stage in enumerate(stages):
            parts += [(layer, level, PUSH) for layer in stage.down]
            if stage.downsample is not None:
                parts.append((stage.downsample, level, PUSH_COARSER))
        parts.append((unet.middle, len(stages) - 1, KEEP))
        for level in range(len(stages) - 1, -1, -1):
            stage = stages[level]
            parts += [(layer, level, JOIN) for layer in stage.up]
            if stage.upsample is not None:
                parts.append((stage.upsample, level, KEEP))
        areas = [self.ctx.batch * height * width for height, width in map(self.ctx.side, range(len(stages)))]
        runs = [run]
        channels = run.out_channels
        held = held_elements(unet, self.ctx)  # embeddings and text states, then skips
        peak = held + run.peak
        size = areas[0] * channels
        skips = [(channels, size)]  # channels; elements, 0 for the same tensor as the skip below
        held += size
        is_skip = True  # whether the tensor at hand is the latest skip
        for value, level, effect in parts:
            if effect == JOIN and isinstance(value, tuple):
                skip_channels, size = skips.pop()
                key: Hashable = (layer_key(value), channels, skip_channels, level)
                run = known.get(key) or self._learn(unet, key, _steps(value, channels, level, skip_channels))
                own = held + (run.join_peak_held if is_skip else run.join_peak)
                if own > peak:
                    peak = own
                held -= size
                is_skip = False
            elif not value:
                if effect == PUSH:
                    size = 0 if is_skip else areas[level] * channels
                    skips.append((channels, size))
                    held += size
                    is_skip = True
                continue
            else:
                key = (layer_key(value) if isinstance(value, tuple) else value, channels, level)
                run = known.get(key) or self._learn(unet, key, _steps(value, channels, level))
            own = held + (run.peak_held if is_skip else run.peak)
            if own > peak:
                peak = own
            channels = run.out_channels
            runs.append(run)
            is_skip = effect in (PUSH, PUSH_COARSER)
            if is_skip:
                size = areas[level + effect - PUSH] * channels
                skips.append((channels, size))
                held += size
        last = (channels, unet.out_channels, unet.conv_out_kernel)
        run = known.get(last) or self._learn(unet, last, head_steps(unet, channels))
        runs.append(run)
        return self._score(runs, max(peak, held + (run.peak_held if is_skip else run.peak)))

    def other(self, arch: Architecture) -> Score:
        """Decoders and text encoders have no skips: the sum of their steps."""
        check_conditions(arch, self.conditions)
        runs = [self._sum(arch, [step]) for step in walk(arch)]
        return self._score(runs, max(run.peak for run in runs))

    def _score(self, runs: Sequence[_Run], peak: int) -> Score:
        passes, size = self.conditions.passes, self.conditions.bytes_per_value
        params = sum([run.params for run in runs])
        macs = sum([run.macs for run in runs])
        attention = sum([run.attention_macs for run in runs])
        latencies = zip(*[run.latency_ms for run in runs], strict=True) if self._prices.tables else ()
        return Score(
            params,
            macs * passes,
            (macs - attention) * passes,
            params * size,
            peak * size,
            tuple([sum(one) * passes for one in latencies]),
        )

    def _learn(self, arch: Architecture, key: Hashable, steps: list[Step]) -> _Run:
        if steps[0].role == "join" and not (len(steps) > 1 and isinstance(steps[1].value, (ResBlock, Shortcut))):
            self._refuse(arch)
        run = self._runs[key] = self._sum(arch, steps)
        return run

    def _refuse(self, arch: Architecture) -> NoReturn:
        self._walk(arch)
        raise AssertionError("the walk accepts what the scorer does not")

    def _sum(self, arch: Architecture, steps: list[Step]) -> _Run:
        costs = [self._piece(arch, step) for step in steps]
        join = costs[0] if steps[0].role == "join" else None
        params = macs = attention = peak = 0
        for cost in costs:
            params += cost.params
            macs += cost.macs
            attention += cost.attention_macs
            if cost is not join and cost.peak > peak:
                peak = cost.peak
        # Only the first piece can read a tensor that a skip holds; after a join that is the join.
        held = peak if join else max([costs[0].peak_held, *[cost.peak for cost in costs[1:]]])
        latencies = zip(*[cost.latency_ms for cost in costs], strict=True) if self._prices.tables else ()
        return _Run(
            params,
            macs,
            attention,
            peak,
            held,
            join.peak if join else 0,
            join.peak_held if join else 0,
            steps[-1].out_channels,
            tuple([sum(one) for one in latencies]),
        )

    def _piece(self, arch: Architecture, step: Step) -> PieceCost:
        if step.role not in ("block", "join", "downsample", "upsample"):
            # Ends depend on more than their widths; they are remembered with their run or not at all.
            self._walk(arch)
            return self._prices.piece(lower_step(arch, self.ctx, step))
        value = block_key(cast(Block, step.value)) if step.role == "block" else step.value
        key = (self.ctx if isinstance(step.value, ResBlock) else self._timeless, step.role, value, *step[3:])
        cost = self._pieces.get(key)
        if cost is None:
            self._walk(arch)
            cost = self._pieces[key] = self._prices.piece(lower_step(arch, self.ctx, step))
        return cost

    def _walk(self, arch: Architecture) -> None:
        """Raise what is wrong with a network, with its key path; once for each network."""
        if self._walked is not arch:
            for _ in walk(arch):
                pass
            self._walked = arch


def _steps(value: Layer | Downsample | Upsample, channels: int, level: int, skip_channels: int = 0) -> list[Step]:
    if isinstance(value, tuple):
        return layer_steps(value, channels, skip_channels, level)
    return sampler_steps(value, channels, level)


def _well_formed(stages: tuple[Stage, ...]) -> bool:
    """Numbers of layers and samplers; everything else is part of some layer."""
    last = len(stages) - 1
    return last >= 0 and all(
        len(stage.up) == len(stage.down) + 1
        and (stage.downsample is None) == (level == last)
        and (stage.upsample is None) == (level == 0)
        for level, stage in enumerate(stages)
    )
