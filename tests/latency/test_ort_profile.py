"""Profiles of ONNX Runtime: trace events with shapes."""

import json
from pathlib import Path
from typing import Any

import pytest

from archsearch.errors import LatencyError
from archsearch.latency.imports import Options, detect, read


def event(name: str, kind: str, micros: object, inputs: list[list[int]], output: list[int]) -> dict[str, Any]:
    shapes = [{"float": shape} for shape in inputs]
    return {"cat": "Node", "pid": 1, "tid": 2, "dur": micros, "ts": 5, "ph": "X", "name": f"{name}_kernel_time",
            "args": {"op_name": kind, "provider": "CPUExecutionProvider", "input_type_shape": shapes,
                     "output_type_shape": [{"float": output}]}}  # fmt: skip


def write(path: Path, events: object) -> Path:
    path.write_text(json.dumps(events))
    return path


CONV = ("Conv", [[1, 8, 16, 16], [4, 8, 3, 3], [4]], [1, 4, 8, 8])


def test_nodes_become_rows(tmp_path: Path) -> None:
    session = {"cat": "Session", "name": "model_run", "dur": 9, "ts": 1, "ph": "X", "args": {}}
    events = [session]
    for micros in (900, 100, 300, 200):  # the first warms up
        events.append(event("a", CONV[0], micros, CONV[1], CONV[2]))
    events += [
        event("b", "Conv", 50, [[1, 8, 16, 16], [8, 1, 3, 3]], [1, 8, 16, 16]),
        event("c", "MatMul", 20, [[1, 64, 32], [32, 16]], [1, 64, 16]),
        event("d", "MatMul", 20, [[1, 4, 64, 8], [1, 4, 8, 64]], [1, 4, 64, 64]),  # part of an attention
        event("e", "Concat", 8, [[1, 4, 8, 8], [1, 8, 8, 8]], [1, 12, 8, 8]),
        event("f", "Resize", 8, [[1, 4, 8, 8]], [1, 4, 16, 16]),
        event("g", "Softmax", 8, [[1, 4, 64, 64]], [1, 4, 64, 64]),
        {**event("h", "Conv", 1, [], []), "name": "h_fence_before"},
    ]
    path = write(tmp_path / "p.json", events)
    assert detect(path) == "onnxruntime"
    found = read(path, Options())
    conv = found.rows["conv2d[1x8x16x16](bias=1,g=1,k=3,out=4,s=2)@nhwc"]
    assert (conv.latency_ms, conv.runs, conv.provenance) == (0.2, 3, "imported")
    assert conv.p10_ms == pytest.approx(0.12)
    assert set(found.rows) == {
        conv.key,
        "conv2d[1x8x16x16](bias=0,g=8,k=3,out=8,s=1)@nhwc",
        "linear[1x64x32](bias=0,out=16)@row",
        "cat[1x4x8x8|1x8x8x8]()@nhwc",
        "upsample[1x4x8x8](h=16,w=16)@nhwc",
    }
    assert "1 MatMul" in " ".join(found.remarks)
    assert "1 Softmax" in " ".join(found.remarks)


@pytest.mark.parametrize("micros", [-1, "12", None, True, 1e300])
def test_events_with_impossible_times_are_refused(tmp_path: Path, micros: object) -> None:
    path = write(tmp_path / "p.json", [event("a", CONV[0], micros, CONV[1], CONV[2])])
    with pytest.raises(LatencyError, match=r"p\.json: event 0 .*usable dur"):
        read(path, Options(), "onnxruntime")


@pytest.mark.parametrize(
    "text", ['[{"cat": "Node",', "[]", "{}", "3", '[{"cat": "Node", "dur": 1, "name": "x"}]', "[" * 9999]
)
def test_files_without_nodes_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(LatencyError):
        read(path, Options(), "onnxruntime")


def test_odd_shapes_make_no_rows(tmp_path: Path) -> None:
    for inputs in ([], [[1, 8]], [[1, 8, 16, 16], [4, 3, 3, 3]], [[1, 8, 16, 16], [4, 8, 3, 5]], [[0, -1]]):
        path = write(tmp_path / "p.json", [event("a", "Conv", 5, inputs, [1, 4, 8, 8])])
        with pytest.raises(LatencyError, match="no node of the profile is an operator"):
            read(path, Options())
