"""The op profile that LiteRT's benchmark_model writes with ``--enable_op_profiling``, joined with the model that ran.

The profile is several tables in one file; what counts is the block *Run Order* of the regular runs.  Its rows carry no
shapes, so they are joined with the nodes of the flatbuffer: the n-th row of a type belongs to the n-th node of that
type, and a type of which the profile has another number of rows than the model has nodes (a delegate fused or renamed
them) is left out and told.  Times are means over the runs; the profile has no medians.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from archsearch.errors import LatencyError
from archsearch.latency.imports import Found, file_sha256
from archsearch.latency.profile_rows import Timed, merge, remark_of

MAX_BYTES = 64_000_000
REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs"
_NEEDED = ("node type", "avg_ms", "times called", "name")
_KERNELS = (  # how delegates name the kernels of a node: XNNPACK first, then the GPU delegate
    ("dwconv", "DEPTHWISE_CONV_2D"),
    ("depthwise_convolution", "DEPTHWISE_CONV_2D"),
    ("convolution", "CONV_2D"),
    ("fully connected", "FULLY_CONNECTED"),
    ("fully_connected", "FULLY_CONNECTED"),
    ("batch matrix multiply", "BATCH_MATMUL"),
    ("multiply", "MUL"),
    ("sigmoid", "LOGISTIC"),
    ("gelu", "GELU"),
    ("add", "ADD"),
)


class ProfileRow(NamedTuple):
    """A line of *Run Order*: type and name of the node, mean time, runs, and where it stands."""

    type: str
    name: str
    mean_ms: float
    runs: int
    where: str


def read_op_profile(path: Path, model: Path | None) -> Found:
    """Rows of the operators that one node (or the few nodes of one) computes.

    Raises:
        LatencyError: no model given, no profile, a time that is none, or nothing that could be joined.
    """
    if model is None:
        raise LatencyError("an op profile has no shapes: the model that ran is needed", where=str(path),
                           next_step="give it with --model FILE.tflite")  # fmt: skip
    from archsearch.latency.tflite_nodes import timed_units

    rows = parse_profile(path)
    timed, left_out = timed_units(model, _by_type(rows))
    if not timed:
        raise LatencyError("no row of the profile could be joined with a node of the model", where=str(path),
                           got=", ".join(f"{n} {name}" for name, n in Counter(row.type for row in rows).most_common(4)),
                           next_step="profile the model that was given, or measure single-operator models with "
                           "`archsearch latency bundle`")  # fmt: skip
    found, places = merge(timed)
    remarks = [
        f"Means over the runs of a whole model, profiled: {len(timed)} places in it give {len(found)} rows.",
        *([f"Not joined: {left_out}."] if left_out else []),
        *remark_of(timed),
    ]
    head = {
        "description": "Imported from an op profile.",
        "runtime": "litert benchmark_model",
        "protocol": "Per-operator means of benchmark_model --enable_op_profiling on a whole model, joined with the "
        f"nodes of the flatbuffer by type and order. Profile sha256 {file_sha256(path)[:16]}, model sha256 "
        f"{file_sha256(model)[:16]}. Rows of an operator that stands in several places take the median of their means "
        "as latency_ms, and quantiles over the places as p10_ms and p90_ms.",
    }
    return Found("op-profile", found, places, head, tuple(remarks))


def parse_profile(path: Path) -> list[ProfileRow]:
    """The *Run Order* rows of the regular runs, in either format (CSV or the table on stdout), old header or new.

    Raises:
        LatencyError: no such block, or a row in it that is cut off or has no usable time; names file and line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LatencyError(f"cannot read the profile ({error.strerror})", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise LatencyError("too large for a profile", where=str(path), allowed=f"<= {MAX_BYTES} bytes")
    lines = raw.decode("utf-8", "replace").splitlines()
    start = next((n for n, line in enumerate(lines) if REGULAR in line), 0)
    order = next((n for n in range(start, len(lines)) if "Run Order" in lines[n]), None)
    if order is None or order + 1 >= len(lines):
        raise LatencyError("no block `Run Order`", where=str(path),
                           next_step="run benchmark_model with --enable_op_profiling=true")  # fmt: skip
    header_line = lines[order + 1]
    tabs = "\t" in header_line
    header = [name.replace("avg ms", "avg_ms").lower() for name in _cells(header_line, tabs)]
    for name in _NEEDED:
        if name not in header:
            raise LatencyError(f"the profile has no column `{name}`", where=f"{path}:{order + 2}",
                               got=", ".join(header))  # fmt: skip
    rows = []
    for number in range(order + 2, len(lines)):
        line = lines[number]
        if not line.strip() or "====" in line:
            break
        cells = _cells(line, tabs)
        if not tabs and len(cells) > len(header):  # "Convolution (NHWC, F32) IGEMM" stands without quotes
            extra = len(cells) - len(header) + 1
            cells = [", ".join(cells[:extra]), *cells[extra:]]
        where = f"{path}:{number + 1}"
        if len(cells) != len(header):
            raise LatencyError("a row has another number of cells (truncated?)", where=where, got=len(cells),
                               allowed=len(header))  # fmt: skip
        values = dict(zip(header, cells, strict=True))
        rows.append(
            ProfileRow(
                values["node type"],
                values["name"],
                _number(values["avg_ms"], "avg_ms", where),
                int(_number(values["times called"], "times called", where)),
                where,
            )
        )
    if not rows:
        raise LatencyError("the block `Run Order` is empty", where=f"{path}:{order + 1}")
    return rows


def _cells(line: str, tabs: bool) -> list[str]:
    if tabs:
        return [cell.strip().removeprefix("[").removesuffix("]") for cell in line.strip("\t").split("\t")]
    return [cell.strip() for cell in line.split(",")]


def _number(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < 3.6e6:
        raise LatencyError(f"{name} must be a number, not negative", where=where, got=text or "nothing")
    return value


def node_type(text: str) -> str:
    """The builtin operator that a profile's node type stands for: itself, or what a delegate's kernel computes."""
    name = text.removeprefix("Delegate/").strip()
    if name.isupper():
        return name
    lowered = name.lower()
    return next((builtin for kernel, builtin in _KERNELS if kernel in lowered), name)


def _by_type(rows: Sequence[ProfileRow]) -> dict[str, list[Timed]]:
    found: dict[str, list[Timed]] = defaultdict(list)
    for row in rows:
        found[node_type(row.type)].append(Timed("", (row.mean_ms,), row.runs, row.where, ""))
    return dict(found)
