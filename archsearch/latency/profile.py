"""A profile: what a network costs, row by row, under stated conditions and on any number of latency tables.

Rows exist at three grains (stage, block, op) and add up to the totals for parameters, MACs and latency at each of
them, exactly: predicted latencies are whole numbers of one quantum (see ``latency.predict``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from archsearch.arch import Architecture, arch_id, to_dict
from archsearch.cost import Conditions, Op, Totals, lower, totals
from archsearch.latency.predict import Prediction, predict
from archsearch.latency.table import LatencyTable

OVERHEAD = "overhead"
By: TypeAlias = Literal["stage", "block", "op"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a stage, a block of a stage, one operator of a block, or what a block takes beyond its operators.

    The last kind of row is called ``overhead``; its latency is negative where a runtime merges operators.

    ``latency_ms`` (all guidance passes together) is aligned with the profile's tables; ``provenance`` likewise
    (``measured``, ``modelled``, ...).
    """

    stage: str
    block: str
    kind: str
    name: str
    op: Op | None
    params: int
    macs: int
    macs_without_attention: int
    latency_ms: tuple[float, ...]
    provenance: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """Totals, predictions and operator rows of one network.

    Predictions are aligned with ``tables``; ``rows`` are at the grain of operators, in the order of execution, with
    the overhead of a block after its operators.
    """

    name: str
    arch: Architecture
    conditions: Conditions
    totals: Totals
    tables: tuple[LatencyTable, ...]
    predictions: tuple[Prediction, ...]
    rows: tuple[Row, ...]

    def by(self, grain: By) -> tuple[Row, ...]:
        """The rows at a grain; their columns add up to the same totals."""
        if grain == "op":
            return self.rows
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.stage, row.block if grain == "block" else ""), []).append(row)
        return tuple(_merge(stage, block, rows) for (stage, block), rows in groups.items())


def profile(
    name: str, arch: Architecture, conditions: Conditions | None = None, tables: Sequence[LatencyTable] = ()
) -> Profile:
    """Count and predict one network.

    Raises:
        ArchError: the architecture is inconsistent.
        CostError: the conditions do not suit it.
    """
    lowering = lower(arch, conditions)
    conditions = lowering.conditions
    predictions = tuple(predict(lowering, table) for table in tables)
    passes = conditions.passes
    rows = []
    i = 0
    for number, piece in enumerate(lowering.pieces):
        place = piece.step.place
        block = block_name(place.layer, place.index, piece.kind)
        for traced in piece.trace.ops:
            op = traced.op
            rows.append(
                Row(
                    place.stage_name,
                    block,
                    piece.kind,
                    traced.name or op.kind,
                    op,
                    op.params,
                    op.macs * passes,
                    (op.macs - op.attention_macs) * passes,
                    tuple(p.op_ms[i] for p in predictions),
                    tuple(p.op_provenance[i] for p in predictions),
                )
            )
            i += 1
        between_ms = tuple(p.between_ms[number] for p in predictions)
        if any(between_ms):
            provenance = tuple(p.between_provenance[number] for p in predictions)
            rows.append(
                Row(place.stage_name, block, OVERHEAD, "between operators", None, 0, 0, 0, between_ms, provenance)
            )
    return Profile(name, arch, conditions, totals(lowering), tuple(tables), predictions, tuple(rows))


def block_name(layer: int, index: int, kind: str) -> str:
    """``1.0 residual``: layer, position in the layer, kind."""
    return kind if kind in ("embed", "conv_in", "head", "encoder") else f"{layer}.{index} {kind}"


def _merge(stage: str, block: str, rows: list[Row]) -> Row:
    return Row(
        stage,
        block,
        rows[0].kind if block else "stage",
        "",
        None,
        sum(row.params for row in rows),
        sum(row.macs for row in rows),
        sum(row.macs_without_attention for row in rows),
        tuple(map(sum, zip(*(row.latency_ms for row in rows), strict=True))),
        tuple(_common(column) for column in zip(*(row.provenance for row in rows), strict=True)),
    )


def _common(values: Iterable[str]) -> str:
    kinds = set(values)
    return kinds.pop() if len(kinds) == 1 else "mixed"


def to_json(profile: Profile, by: By = "block") -> dict[str, Any]:
    """The contract object ``archsearch.profile/1``."""
    conditions = profile.conditions
    return {
        "schema": "archsearch.profile/1",
        "name": profile.name,
        "arch": to_dict(profile.arch),
        "arch_id": arch_id(profile.arch),
        "conditions": {
            "latent": list(conditions.latent),
            "text": conditions.text,
            "batch": conditions.batch,
            "passes": conditions.passes,
            "precision": conditions.precision,
            "attention": conditions.attention,
        },
        "totals": profile.totals._asdict(),
        "latency": {
            table.name: prediction.to_dict()
            for table, prediction in zip(profile.tables, profile.predictions, strict=True)
        },
        "by": by,
        "rows": [_row_json(profile, row, by) for row in profile.by(by)],
    }


def _row_json(profile: Profile, row: Row, by: By) -> dict[str, Any]:
    result: dict[str, Any] = {"stage": row.stage, "block": row.block, "kind": row.kind}
    if row.op is not None:
        result |= {"name": row.name, "op": row.op.key}
    elif row.kind == OVERHEAD:
        result |= {"name": row.name, "op": None}
    result |= {"params": row.params, "macs": row.macs, "macs_without_attention": row.macs_without_attention}
    names = [table.name for table in profile.tables]
    result["latency_ms"] = dict(zip(names, row.latency_ms, strict=True))
    if names:
        result["provenance"] = dict(zip(names, row.provenance, strict=True))
    return result
