"""benchmark_model: its flags, its output and its result files, the latter built by protobuf itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.latency import benchmark
from archsearch.latency.benchmark import Outcome, parse_output, parse_result
from archsearch.latency.targets import OpFailedError
from tests.conftest import require

OLD = """STARTING!
count=4 first=130565 curr=120829 min=117370 max=130565 avg=122373 std=4930

count=50 first=119212 curr=118055 min=113737 max=124776 avg=119375 std=1948

Inference timings in us: Init: 870557, First inference: 130565, Warmup (avg): 122373, Inference (avg): 119375
"""
NEW = """INFO: STARTING!
INFO: count=9 first=700 curr=600 min=590 max=700 avg=611.3 std=30 p5=590 median=600 p95=700
INFO: count=120 first=611 curr=601 min=590 max=900 avg=6.05e+02 std=20 p5=595 median=602 p95=640
"""


def test_printed_results() -> None:
    """Quoted from runs of old and new tools: mean and extremes stand in where quantiles are not printed."""
    assert parse_output(OLD) == Outcome(50, 119375e3, 113737e3, 124776e3)
    assert parse_output(NEW) == Outcome(120, 602e3, 595e3, 640e3)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_other_output_is_refused(text: str) -> None:
    if "count=" not in text:
        with pytest.raises(OpFailedError, match="not the output of benchmark_model"):
            parse_output(text)


NUMBER = st.one_of(st.text("0123456789.e+-²٣", max_size=8), st.integers().map(str), st.just("9" * 5000))


@settings(deadline=None)
@given(st.lists(NUMBER, min_size=7, max_size=7))
def test_damaged_output_is_refused_or_plausible(words: list[str]) -> None:
    count, low, high, mean, p5, median, p95 = words
    line = f"count={count} first=1 curr=1 min={low} max={high} avg={mean} std=1 p5={p5} median={median} p95={p95}"
    try:
        found = parse_output(line)
    except OpFailedError:
        return
    assert found.runs >= 1
    assert 0 < found.low_ns <= found.median_ns <= found.high_ns


def test_output_without_runs_is_refused() -> None:
    for line in ("count=0 first=0 curr=0 min=0 max=0 avg=0 std=0", "count=5 first=0 curr=0 min=0 max=0 avg=0 std=0"):
        with pytest.raises(OpFailedError, match="holds no runs"):
            parse_output(line)


def result(**latency: float) -> bytes:
    message = benchmark._result_class()()
    for name, value in latency.items():
        if name == "runs":
            message.misc_metrics.num_runs = value
        else:
            setattr(message.latency_metrics, name, value)
    return bytes(message.SerializeToString())


def test_result_files() -> None:
    found = parse_result(result(median_ms=0.5, p5_ms=0.25, p95_ms=2.0, avg_ms=0.75, min_ms=0.125, runs=40))
    assert found == Outcome(40, 5e5, 2.5e5, 2e6)
    assert parse_result(result(median_ms=0.0, avg_ms=0.5, runs=7)) == Outcome(7, 5e5, 5e5, 5e5)  # below 1 us
    assert result(median_ms=0.5, runs=3) == b"\x12\x05\x2d\x00\x00\x00\x3f\x22\x02\x10\x03"  # by hand from the .proto


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_damaged_result_files_are_refused_or_plausible(data: bytes) -> None:
    try:
        found = parse_result(data)
    except OpFailedError:
        return
    assert found.runs >= 1
    assert 0 < found.low_ns <= found.median_ns <= found.high_ns


def test_profiles_by_the_runtimes_own_message() -> None:
    require("litert", "ai_edge_litert")
    from ai_edge_litert.profiling_info_pb2 import BenchmarkProfilingData

    data = BenchmarkProfilingData()
    graph = data.runtime_profile.subgraph_profiles.add()
    for kind in ("TfLiteXNNPackDelegate", "MEAN", "TfLiteXNNPackDelegate", "RESHAPE"):
        graph.per_op_profiles.add(node_type=kind)
    inner = data.runtime_profile.delegate_profiles.add(delegate_name="TfLiteXNNPackDelegate")
    inner.per_op_profiles.add(node_type="Convolution (NHWC, F32)")
    data.init_profile.subgraph_profiles.add().per_op_profiles.add(node_type="AllocateTensors")
    assert benchmark.undelegated(data.SerializeToString()) == 2
    assert benchmark.undelegated(b"") is None
    assert benchmark.undelegated(b"\xff\xff garbage") is None


def test_what_a_binary_offers() -> None:
    names = ("graph", "num_threads", "use_gpu", "gpu_precision_loss_allowed", "use_xnnpack")
    listed = benchmark.flags_listed("usage: x <flags>\nFlags:\n" + "".join(f"\t--{name}=1\tint32\n" for name in names))
    assert listed == set(names)
    found = benchmark.offered(listed, frozenset({"asimdhp"}))
    assert found == {"xnnpack": ("fp32", "fp16-weights", "int8"), "none": ("fp32", "fp16-weights", "int8"),
                     "gpu": ("fp32", "fp16")}  # fmt: skip
    assert "fp16" in benchmark.offered(listed | {"xnnpack_force_fp16"}, frozenset({"asimdhp"}))["xnnpack"]
    assert "fp16" not in benchmark.offered(listed | {"xnnpack_force_fp16"}, frozenset())["xnnpack"]


def test_no_flag_asks_for_what_another_precision_has() -> None:
    """fp32 on a GPU must forbid what the tool allows by default."""
    assert "--gpu_precision_loss_allowed=false" in benchmark.arguments("gpu", "fp32", 1, 1.0)
    assert "--gpu_precision_loss_allowed=true" in benchmark.arguments("gpu", "fp16", 1, 1.0)
    for delegate, (_, precisions) in benchmark.DELEGATES.items():
        for precision in precisions:
            half = any("fp16" in flag for flag in benchmark.arguments(delegate, precision, 1, 1.0))
            assert half == (precision == "fp16" and delegate != "gpu")
