"""A profile of ONNX Runtime (``SessionOptions.enable_profiling``): trace events that carry their shapes.

Events of category ``Node`` whose name ends in ``_kernel_time`` count, times in microseconds.  A node that ran more
than once loses its first run, which warms up.  Shapes are NCHW, as in keys.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archsearch.cost.op import Op, OpKind, Shape
from archsearch.errors import LatencyError
from archsearch.latency.imports import Found, file_sha256
from archsearch.latency.profile_rows import Timed, checked_key, merge, remark_of

MAX_BYTES = 512_000_000
_SAME: dict[str, OpKind] = {"Relu": "relu", "Gelu": "gelu", "QuickGelu": "quick_gelu", "Mish": "mish",
                            "LayerNormalization": "layer_norm", "RMSNormalization": "rms_norm"}  # fmt: skip
_BROADCAST: dict[str, OpKind] = {"Add": "add", "Mul": "mul"}


def read_ort_profile(path: Path) -> Found:
    """Rows of the nodes that are operators of their own.

    Raises:
        LatencyError: not such a profile, a time that is none, or no node that is an operator.
    """
    runs: dict[str, list[tuple[float, Mapping[str, Any], str]]] = defaultdict(list)
    for number, event in enumerate(_events(path)):
        if not isinstance(event, dict) or event.get("cat") != "Node":
            continue
        name = str(event.get("name", ""))
        if not name.endswith("_kernel_time"):
            continue
        where = f"{path}: event {number} ({name[:60]})"
        micros: Any = event.get("dur")
        arguments = event.get("args")
        if type(micros) not in (int, float) or not 0 <= micros < 3.6e9 or not isinstance(arguments, dict):
            raise LatencyError("an event without a usable dur and args", where=where, got=micros)
        runs[name].append((micros / 1000, arguments, where))
    timed, others = [], Counter[str]()
    for events in runs.values():
        arguments, where = events[0][1], events[0][2]
        kind = str(arguments.get("op_name", ""))
        key = _key(kind, _shapes(arguments.get("input_type_shape")), _shapes(arguments.get("output_type_shape")))
        times = tuple(time for time, _, _ in events[1:] or events if time > 0)
        if key is None or not times:
            others[kind] += 1
        else:
            timed.append(Timed(key, times, len(times), where, kind))
    if not timed:
        raise LatencyError("no node of the profile is an operator of its own", where=str(path),
                           got=", ".join(f"{n} {kind}" for kind, n in others.most_common(5)) or "no node events",
                           next_step="enable profiling in the session's options, with shapes fixed")  # fmt: skip
    found, places = merge(timed)
    remarks = [f"{len(timed)} nodes of a whole model give {len(found)} rows.", *remark_of(timed)]
    if others:
        listed = ", ".join(f"{n} {kind}" for kind, n in others.most_common(8))
        remarks.append(f"Nodes that are no operator of their own: {listed}.")
    head = {
        "description": "Imported from a profile of ONNX Runtime.",
        "runtime": "onnxruntime",
        "protocol": "Kernel times of the nodes of a whole model, first run of each left out; latency_ms is the median "
        f"over runs and places. Profile sha256 {file_sha256(path)[:16]}.",
    }
    return Found("onnxruntime", found, places, head, tuple(remarks))


def _events(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LatencyError("too large for a profile", where=str(path), allowed=f"<= {MAX_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LatencyError(f"cannot read the profile ({error.strerror})", where=str(path)) from error
    except json.JSONDecodeError as error:
        raise LatencyError(f"not valid JSON, or cut off ({error.msg})", where=f"{path}:{error.lineno}",
                           next_step="end the session's profiling before the file is copied") from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        if isinstance(error, LatencyError):
            raise
        raise LatencyError("not a usable profile", where=str(path), got=str(error)) from error
    events = data.get("traceEvents") if isinstance(data, dict) else data
    if not isinstance(events, list):
        raise LatencyError("not a list of trace events", where=str(path))
    return events


def _shapes(entries: Any) -> tuple[Shape, ...]:
    """``[{"float": [1, 64, 8, 8]}, ...]`` -> shapes; an empty tuple where it is not of that form."""
    found = []
    for entry in entries if isinstance(entries, list) else ():
        sides = next(iter(entry.values()), None) if isinstance(entry, dict) else None
        if not isinstance(sides, list) or not all(isinstance(side, int) and side > 0 for side in sides):
            return ()
        found.append(tuple(sides))
    return tuple(found)


def _key(kind: str, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> str | None:
    """The operator of a node, from its shapes alone."""
    if not inputs or not outputs or not inputs[0]:
        return None
    first, out = inputs[0], outputs[0]
    op = None
    if kind in ("Conv", "FusedConv") and len(first) == 4 and len(inputs) in (2, 3):
        weight = inputs[1]
        if len(weight) == 4 and weight[2] == weight[3] and first[1] % weight[1] == 0:
            stride = max(math.ceil(first[2] / out[2]), 1)
            op = Op("conv2d", (first,), (("bias", int(len(inputs) == 3)), ("g", first[1] // weight[1]),
                                         ("k", weight[2]), ("out", weight[0]), ("s", stride)))  # fmt: skip
    elif kind in ("Gemm", "MatMul", "FusedMatMul") and len(inputs) in (2, 3) and len(inputs[1]) == 2:
        op = Op("linear", (first,), (("bias", int(len(inputs) == 3)), ("out", out[-1])))
    elif kind in _BROADCAST and len(inputs) == 2 and len(first) == len(inputs[1]):
        op = Op(_BROADCAST[kind], inputs)
    elif kind in _SAME:
        op = Op(_SAME[kind], (first,))
    elif kind == "Concat" and len(inputs) == 2:
        op = Op("cat", inputs)
    elif kind in ("Resize", "Upsample") and len(first) == 4:
        op = Op("upsample", (first,), (("h", out[2]), ("w", out[3])))
    return checked_key(op, out) if op else None
