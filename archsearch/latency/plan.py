"""What measuring would take: distinct operators, those that a table holds, and a rough time for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archsearch.cost.op import Op
from archsearch.latency.predict import estimate
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
class KindPlan:
    """The operators of one kind."""

    kind: str
    distinct: int
    held: int
    uses: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``uses`` maps each operator to how many of the sources (spaces and architectures) run it."""

    ops: Mapping[str, Op]
    uses: Mapping[str, int]
    missing: tuple[Op, ...]
    kinds: tuple[KindPlan, ...]
    convert_seconds: float
    measure_seconds: float

    @property
    def held(self) -> int:
        """Distinct operators that the table holds."""
        return len(self.ops) - len(self.missing)


def make_plan(sources: Sequence[Mapping[str, Op]], table: LatencyTable | None = None) -> Plan:
    """Plan measuring the operators of some spaces and architectures into a table (None: an empty one)."""
    ops: dict[str, Op] = {}
    uses: Counter[str] = Counter()
    for source in sources:
        ops.update(source)
        uses.update(source.keys())
    held = table.rows if table is not None else {}
    missing = tuple(op for key, op in ops.items() if key not in held)
    seconds = {op.key: _measure_seconds(op, table) for op in missing}
    kinds = []
    for kind in sorted({op.kind for op in ops.values()}):
        keys = [key for key, op in ops.items() if op.kind == kind]
        kinds.append(
            KindPlan(
                kind=kind,
                distinct=len(keys),
                held=sum(key in held for key in keys),
                uses=sum(uses[key] for key in keys),
                seconds=sum(seconds.get(key, 0.0) for key in keys),
            )
        )
    return Plan(
        ops=ops,
        uses=uses,
        missing=missing,
        kinds=tuple(kinds),
        convert_seconds=_convert_seconds(missing),
        measure_seconds=sum(seconds.values()),
    )


def _measure_seconds(op: Op, table: LatencyTable | None) -> float:
    latency_ms = op.macs / UNKNOWN_MACS_PER_MS
    if table is not None and table.rows:
        latency_ms = estimate(table, op).latency_ms
    return min(MEASURE_OP_SECONDS + RUNS * latency_ms / 1e3, MAX_OP_SECONDS)


def _convert_seconds(ops: Sequence[Op]) -> float:
    if not ops:
        return 0.0
    return WORKER_START_SECONDS + sum(CONVERT_OP_SECONDS + CONVERT_WEIGHT_SECONDS * op.params for op in ops)
