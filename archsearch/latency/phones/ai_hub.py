"""Figures of github.com/qualcomm/ai-hub-models (BSD-3-Clause) as one CSV: whole components on phones' processors.

They time a whole network each, so they calibrate and check a table and give it no rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from archsearch.errors import LatencyError
from archsearch.latency.phones.qed import _header, _rows
from archsearch.latency.rows import positive

COLUMNS = [
    *("repo", "commit", "model", "component", "precision", "device", "runtime", "latency_ms", "primary_compute_unit"),
    *("layers_total", "layers_npu", "layers_gpu", "layers_cpu", "peak_mem_min_mb", "peak_mem_max_mb"),
    *("tool_version", "job_id"),
]


class Component(NamedTuple):
    """One whole network, timed on one device: ``model`` and ``component`` as the source names them."""

    line: int
    repo: str
    commit: str
    model: str
    component: str
    precision: str
    device: str
    runtime: str
    latency_ms: float
    compute_unit: str
    tool_version: str


def is_ai_hub(path: Path) -> bool:
    """Whether the file has this format's columns."""
    return _header(path) == COLUMNS


def read_components(path: Path) -> list[Component]:
    """Every row.

    Raises:
        LatencyError: another file, a malformed row; names file and line.
    """
    if not is_ai_hub(path):
        raise LatencyError("other columns", where=f"{path}:1", allowed=",".join(COLUMNS))
    found = []
    for line, cells in _rows(path):
        row = dict(zip(COLUMNS, cells, strict=True))
        found.append(
            Component(
                line, row["repo"], row["commit"], row["model"], row["component"], row["precision"], row["device"],
                row["runtime"], positive(row["latency_ms"], "latency_ms", f"{path}:{line}"),
                row["primary_compute_unit"], row["tool_version"],
            )
        )  # fmt: skip
    return found
