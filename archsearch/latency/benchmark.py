"""LiteRT's ``benchmark_model``: the flags that a configuration needs, and what its output and result files say."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from archsearch.latency.targets import MIN_RUNS, WARMUP_RUNS, OpFailedError

# delegate -> (flag that the binary must list in its --help, precision -> flags)
DELEGATES: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "xnnpack": ("use_xnnpack", {
        "fp32": ("--use_xnnpack=true",),
        "fp16": ("--use_xnnpack=true", "--xnnpack_force_fp16=true"),
        "fp16-weights": ("--use_xnnpack=true",),
        "int8": ("--use_xnnpack=true",),
    }),
    "none": ("num_threads", {
        "fp32": ("--use_xnnpack=false",),
        "fp16-weights": ("--use_xnnpack=false",),
        "int8": ("--use_xnnpack=false",),
    }),
    "gpu": ("use_gpu", {
        "fp32": ("--use_gpu=true", "--gpu_precision_loss_allowed=false"),
        "fp16": ("--use_gpu=true", "--gpu_precision_loss_allowed=true"),
    }),
    "nnapi": ("use_nnapi", {
        "fp32": ("--use_nnapi=true",),
        "fp16": ("--use_nnapi=true", "--nnapi_allow_fp16=true"),
    }),
}  # fmt: skip

_FLAG = re.compile(r"^\s*--([a-z0-9_]+)=", re.MULTILINE)
_NUMBER = r"([0-9]{1,15})"
_MEAN = r"([0-9]{1,15}(?:\.[0-9]{0,15})?(?:e[+]?[0-9]{1,2})?)"
_COUNTS = re.compile(rf"count={_NUMBER} .*?min={_NUMBER} max={_NUMBER} avg={_MEAN}(.*)")
_PART = re.compile(rf"(p5|median|p95)={_NUMBER}")
_NO_DELEGATE = ("is unsupported on this platform", "Failed to apply", "acceleration is unsupported",
                "Disallowed CPU fallback", "Could not create", "will not be executed by the delegate")  # fmt: skip


class Outcome(NamedTuple):
    """One run of the tool: quantiles of its runs in ns.

    ``low_ns`` and ``high_ns`` are the 5th and 95th percentile, or the extremes where an old tool prints nothing else.
    """

    runs: int
    median_ns: float
    low_ns: float
    high_ns: float


def flags_listed(help_text: str) -> frozenset[str]:
    """The flags that ``benchmark_model --help`` lists."""
    return frozenset(_FLAG.findall(help_text))


def offered(flags: frozenset[str], cpu_features: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Delegates that the binary was built with, each with the precisions that binary and processor have."""
    found = {}
    for delegate, (needed, precisions) in DELEGATES.items():
        if needed in flags:
            found[delegate] = tuple(
                precision
                for precision, arguments in precisions.items()
                if {argument[2:].split("=")[0] for argument in arguments} <= flags | {"use_xnnpack"}
                and (delegate != "xnnpack" or precision != "fp16" or bool(cpu_features & {"asimdhp", "avx512_fp16"}))
            )
    return found


def arguments(delegate: str, precision: str, threads: int, seconds: float) -> list[str]:
    """Flags that warm up, then run at least ``MIN_RUNS`` times and for about ``seconds``."""
    return [
        *DELEGATES[delegate][1][precision],
        f"--num_threads={threads}",
        f"--warmup_runs={WARMUP_RUNS}",
        "--warmup_min_secs=0.05",
        f"--num_runs={MIN_RUNS}",
        f"--min_secs={seconds:.3g}",
        f"--max_secs={max(seconds, 1.0) * 2:.3g}",
    ]


def profile_arguments(path: str) -> list[str]:
    """Further flags of a short run that writes the profile of its nodes."""
    return ["--num_runs=1", "--min_secs=0", "--warmup_runs=1", "--warmup_min_secs=0", "--enable_op_profiling=true",
            "--op_profiling_output_mode=proto", f"--op_profiling_output_file={path}"]  # fmt: skip


def refusal(output: str) -> str | None:
    """Why the delegate is not there, if the output says so."""
    for line in output.splitlines():
        if any(words in line for words in _NO_DELEGATE):
            return line.strip()
    return None


def parse_result(data: bytes) -> Outcome:
    """Read the file of ``--result_file_path``, a serialised ``BenchmarkResult``.

    Raises:
        OpFailedError: not such a file, or one without runs.
    """
    from google.protobuf.message import DecodeError

    message = _result_class()()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise OpFailedError(f"the result file is damaged ({len(data)} bytes)") from error
    latency, runs = message.latency_metrics, message.misc_metrics.num_runs
    median = latency.median_ms or latency.avg_ms
    found = Outcome(runs, median * 1e6, (latency.p5_ms or latency.min_ms) * 1e6, (latency.p95_ms or median) * 1e6)
    return _plausible(found, "the result file")


def parse_output(output: str) -> Outcome:
    """Read the same from what the tool prints, which is whole microseconds: its last ``count=`` line.

    Raises:
        OpFailedError: no such line.
    """
    lines = [match for line in output.splitlines() if (match := _COUNTS.search(line))]
    if not lines:
        last = output.strip().splitlines()[-1:] or ["nothing"]
        raise OpFailedError(f"not the output of benchmark_model: {last[0][:200]}")
    count, low, high, mean, rest = (str(group) for group in lines[-1].groups())
    part = dict(_PART.findall(rest))
    median = float(part.get("median", 0)) or float(mean)
    found = Outcome(int(count), median * 1e3, float(part.get("p5", low)) * 1e3, float(part.get("p95", high)) * 1e3)
    return _plausible(found, "the output")


def _plausible(found: Outcome, where: str) -> Outcome:
    if found.runs < 1 or not 0 < found.median_ns < 1e13 or not 0 <= found.low_ns < 1e13 or not found.high_ns < 1e13:
        raise OpFailedError(f"{where} of benchmark_model holds no runs")
    return found._replace(low_ns=min(found.low_ns or found.median_ns, found.median_ns),
                          high_ns=max(found.high_ns, found.median_ns))  # fmt: skip


def undelegated(profile: bytes) -> int | None:
    """Nodes that ran outside of every delegate, from the file of ``--op_profiling_output_file``; None if unreadable.

    Nodes inside a delegate are listed apart, and the delegate's own node has ``delegate`` in its type.
    """
    from google.protobuf.message import DecodeError

    try:
        from ai_edge_litert.profiling_info_pb2 import BenchmarkProfilingData
    except ImportError:
        return None
    data = BenchmarkProfilingData()
    try:
        data.ParseFromString(profile)
    except DecodeError:
        return None
    graphs = data.runtime_profile.subgraph_profiles
    nodes = [node.node_type.lower() for graph in graphs for node in graph.per_op_profiles]
    return sum("delegate" not in name for name in nodes) if nodes else None


@cache
def _result_class() -> Any:
    """``BenchmarkResult`` of tflite/tools/benchmark/proto, of which no package ships the Python module."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="archsearch/benchmark_result.proto", syntax="proto2",
                                              package="tflite.tools.benchmark")  # fmt: skip
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name: str, kind: int, **fields: int) -> None:
        described = file.message_type.add(name=name)
        for field, number in fields.items():
            described.field.add(name=field, number=number, type=kind, label=kinds.LABEL_OPTIONAL)

    message("LatencyMetrics", kinds.TYPE_FLOAT, avg_ms=1, min_ms=2, max_ms=3, stddev_ms=4, median_ms=5, p5_ms=6,
            p95_ms=7, init_ms=8)  # fmt: skip
    message("MiscMetrics", kinds.TYPE_INT32, num_runs=2, num_warmup_runs=3)
    result = file.message_type.add(name="BenchmarkResult")
    for name, number, of in (("latency_metrics", 2, "LatencyMetrics"), ("misc_metrics", 4, "MiscMetrics")):
        result.field.add(name=name, number=number, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL,
                         type_name=f".{file.package}.{of}")  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.BenchmarkResult"))


def read(path: Path) -> bytes:
    """The bytes of a pulled file, of which at most 16 MB are believed."""
    with path.open("rb") as file:
        return file.read(16_000_000)
