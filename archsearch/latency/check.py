"""Judging a table beyond its syntax: keys that are no operators, stray layout changes, implausible rows."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from archsearch.cost.block import BlockOp, Workload, parse_workload
from archsearch.errors import CostError
from archsearch.latency.plausible import Judged, Peak, above_peak, above_roof, judged, slower_with_less_work
from archsearch.latency.rows import SOUND
from archsearch.latency.table import LatencyTable

ALLOWED_TRANSPOSES = {"group_norm": 2, "attention": 5}  # what whole models hold too; all other kinds none
ALLOWED_IN_BLOCK = 2  # in and out of a block of tokens among images
NO_PEAK = Peak()
Rule: TypeAlias = Literal["file", "key", "layout", "load", "peak", "roofline", "order"]
_TRANSPOSE = re.compile(r"(?:(\d+) )?\bTRANSPOSE\b")


def allowed_transposes(workload: Workload) -> int:
    """How many TRANSPOSE nodes the model of an operator or a block may hold: as many as it brings into a whole one."""
    if isinstance(workload, BlockOp):
        return ALLOWED_IN_BLOCK + sum(ALLOWED_TRANSPOSES.get(op.kind, 0) for op in workload.ops)
    return ALLOWED_TRANSPOSES.get(workload.kind, 0)


class Finding(NamedTuple):
    """Something wrong (``error``) or suspicious (``warning``) about a row, and the rule that says so."""

    level: Literal["error", "warning"]
    key: str
    message: str
    rule: Rule = "file"


def check_table(table: LatencyTable, peak: Peak = NO_PEAK) -> list[Finding]:
    """Findings about a table that loads, errors first.

    A row is *wrong* if its key is no operator, if its model held layout changes that no whole model has, or if it is
    faster than a stated ``peak``; *suspicious* if it was timed under load, if it is slower than one with more work, or
    far faster than the others allow.  Modelled rows were not timed; the rest holds for them as well.
    """
    findings: list[Finding] = []
    rows: list[Judged] = []
    size = table.value_bytes
    for row in table.rows.values():
        try:
            workload = parse_workload(row.key)
        except CostError as error:
            findings.append(Finding("error", row.key, f"not an operator: {error}", "key"))
            continue
        strays = transposes(row.graph) - allowed_transposes(workload)
        if strays > 0:
            findings.append(Finding("error", row.key, f"{strays} TRANSPOSE that a whole model does not hold", "layout"))
        if row.provenance == "measured" and row.timing not in SOUND:
            findings.append(Finding("warning", row.key, f"timed under load ({row.timing or 'unknown'})", "load"))
        rows.append(judged(row, workload, size))
    beyond = above_peak(rows, peak)
    fast = above_roof(rows)
    slow = slower_with_less_work(each for each in rows if each.row.key not in beyond and each.row.key not in fast)
    findings += [Finding("error", key, why, "peak") for key, why in beyond.items()]
    findings += [Finding("warning", key, why, "roofline") for key, why in fast.items() if key not in beyond]
    findings += [Finding("warning", key, why, "order") for key, why in slow.items()]
    return sorted(findings, key=lambda finding: (finding.level, finding.key))


def transposes(graph: str) -> int:
    """How many TRANSPOSE nodes a row's graph lists."""
    return sum(int(count or 1) for count in _TRANSPOSE.findall(graph))
