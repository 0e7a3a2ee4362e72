"""Judging a table beyond its syntax: keys that are no operators, stray layout changes, implausible rows."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Literal, NamedTuple

from archsearch.cost.block import BlockOp, Workload, parse_workload
from archsearch.cost.op import Op
from archsearch.errors import CostError
from archsearch.latency.fit import Features, family, features
from archsearch.latency.rows import OpRow
from archsearch.latency.table import LatencyTable

ALLOWED_TRANSPOSES = {"group_norm": 2, "attention": 5}  # what whole models hold too; all other kinds none
MORE_WORK = 1.5
FASTER = 0.5
ALLOWED_IN_BLOCK = 2  # in and out of a block of tokens among images
_TRANSPOSE = re.compile(r"(?:(\d+) )?\bTRANSPOSE\b")


def allowed_transposes(workload: Workload) -> int:
    """How many TRANSPOSE nodes the model of an operator or a block may hold: as many as it brings into a whole one."""
    if isinstance(workload, BlockOp):
        return ALLOWED_IN_BLOCK + sum(ALLOWED_TRANSPOSES.get(op.kind, 0) for op in workload.ops)
    return ALLOWED_TRANSPOSES.get(workload.kind, 0)


class Finding(NamedTuple):
    """Something wrong (``error``) or suspicious (``warning``) about a row."""

    level: Literal["error", "warning"]
    key: str
    message: str


def check_table(table: LatencyTable) -> list[Finding]:
    """Findings about a table that loads, errors first."""
    findings: list[Finding] = []
    families: dict[str, list[tuple[Features, OpRow]]] = defaultdict(list)
    for row in table.rows.values():
        try:
            op = parse_workload(row.key)
        except CostError as error:
            findings.append(Finding("error", row.key, f"not an operator: {error}"))
            continue
        strays = transposes(row.graph) - allowed_transposes(op)
        if strays > 0:
            findings.append(Finding("error", row.key, f"{strays} TRANSPOSE that a whole model does not hold"))
        if row.provenance == "measured" and row.timing != "steady":
            findings.append(Finding("warning", row.key, f"timed under load ({row.timing or 'unknown'})"))
        if isinstance(op, Op):
            families[family(op)].append((features(op, 4), row))
    for members in families.values():
        findings += _faster_with_more_work(members)
    return sorted(findings, key=lambda finding: (finding.level, finding.key))


def transposes(graph: str) -> int:
    """How many TRANSPOSE nodes a row's graph lists."""
    return sum(int(count or 1) for count in _TRANSPOSE.findall(graph))


def _faster_with_more_work(members: list[tuple[Features, OpRow]]) -> list[Finding]:
    """Rows that take over twice as long as one of their family with half as much work again or more."""
    findings = []
    for small, slow in members:
        for big, fast in members:
            more = big[2] >= MORE_WORK * small[2] and big[1] >= MORE_WORK * small[1]
            if more and fast.latency_ms < FASTER * slow.latency_ms:
                message = f"{slow.latency_ms:.3g} ms, but {fast.key} with more work takes {fast.latency_ms:.3g} ms"
                findings.append(Finding("warning", slow.key, message))
                break
    return findings
