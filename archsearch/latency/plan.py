"""What measuring would take: distinct operators and blocks, who uses them, what a table holds, a time for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from archsearch.cost.block import BlockOp, Workload
from archsearch.cost.op import Op
from archsearch.latency.predict import between, estimate
from archsearch.latency.table import LatencyTable

# Seen with litert-torch 0.10 on one core of a 2.8 GHz server; a plan says "about".
WORKER_START_SECONDS = 8.0
CONVERT_OP_SECONDS = 0.35
CONVERT_WEIGHT_SECONDS = 2e-8  # a parameter
MEASURE_OP_SECONDS = 0.25
RUNS = 25
UNKNOWN_MACS_PER_MS = 20e6  # where no table says more
MAX_OP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is planned for: a space, or one architecture (a single candidate).

    ``users`` says by key how many of its ``candidates`` run each of its ``units`` (operators and blocks).
    """

    name: str
    candidates: int
    units: Mapping[str, Workload] = field(repr=False)
    users: Mapping[str, int] = field(repr=False)

    @classmethod
    def single(cls, name: str, units: Iterable[Workload]) -> Source:
        """One architecture."""
        found = {unit.key: unit for unit in units}
        return cls(name=name, candidates=1, units=found, users=dict.fromkeys(found, 1))


@dataclass(frozen=True, kw_only=True)
class UnitPlan:
    """One operator or block.  ``users`` is aligned with the plan's sources (0: not in this one)."""

    unit: Workload
    users: tuple[int, ...]
    held: bool
    seconds: float

    @property
    def is_block(self) -> bool:
        """Whether it is a row of the grain of blocks."""
        return isinstance(self.unit, BlockOp)


@dataclass(frozen=True, kw_only=True)
class KindPlan:
    """The operators, or blocks, of one kind."""

    kind: str
    distinct: int
    held: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Operators before blocks, each group with what most candidates use first."""

    sources: tuple[Source, ...]
    units: tuple[UnitPlan, ...]
    convert_seconds: float

    @property
    def missing(self) -> tuple[Workload, ...]:
        """What the table lacks."""
        return tuple(each.unit for each in self.units if not each.held)

    @property
    def held(self) -> int:
        """How many of the units the table holds."""
        return sum(each.held for each in self.units)

    @property
    def measure_seconds(self) -> float:
        """Time on the device, about."""
        return sum(each.seconds for each in self.units)

    def kinds(self) -> tuple[KindPlan, ...]:
        """The units by kind, kinds of operators first."""
        groups: dict[tuple[bool, str], list[UnitPlan]] = {}
        for each in self.units:
            groups.setdefault((each.is_block, each.unit.kind), []).append(each)
        return tuple(
            KindPlan(
                kind=kind,
                distinct=len(group),
                held=sum(each.held for each in group),
                seconds=sum(each.seconds for each in group),
            )
            for (_, kind), group in sorted(groups.items())
        )


def make_plan(sources: Sequence[Source], table: LatencyTable | None = None) -> Plan:
    """Plan measuring the units of some spaces and architectures into a table (None: an empty one)."""
    units: dict[str, Workload] = {}
    shares: Counter[str] = Counter()
    for source in sources:
        units.update(source.units)
        shares.update({key: users / source.candidates for key, users in source.users.items()})
    held = table.rows if table is not None else {}
    plans = [
        UnitPlan(
            unit=unit,
            users=tuple(source.users.get(key, 0) for source in sources),
            held=key in held,
            seconds=0.0 if key in held else _measure_seconds(unit, table),
        )
        for key, unit in units.items()
    ]
    plans.sort(key=lambda each: (each.is_block, -shares[each.unit.key], each.unit.key))
    missing = [each.unit for each in plans if not each.held]
    return Plan(sources=tuple(sources), units=tuple(plans), convert_seconds=_convert_seconds(missing))


def _measure_seconds(unit: Workload, table: LatencyTable | None) -> float:
    latency_ms = unit.macs / UNKNOWN_MACS_PER_MS
    if table is not None and table.op_rows:
        latency_ms = estimate(table, unit).latency_ms if isinstance(unit, Op) else _block_ms(unit, table)
    return min(MEASURE_OP_SECONDS + RUNS * latency_ms / 1e3, MAX_OP_SECONDS)


def _block_ms(block: BlockOp, table: LatencyTable) -> float:
    return sum(estimate(table, op).latency_ms for op in block.ops) + between(table, block).latency_ms


def _convert_seconds(units: Sequence[Workload]) -> float:
    if not units:
        return 0.0
    return WORKER_START_SECONDS + sum(CONVERT_OP_SECONDS + CONVERT_WEIGHT_SECONDS * unit.params for unit in units)
