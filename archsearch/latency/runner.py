"""Stand-alone timing of LiteRT models: needs Python >= 3.8, numpy and one of ai_edge_litert, tflite_runtime.

Reads one JSON object a line from stdin, answers each with one JSON object a line on stdout:

    {"reference": "ref.tflite", "threads": 1, "quiet_ns": level of an earlier session or null, and optional:
     "runtime": "ai-edge-litert" or "tflite-runtime", "delegate": "xnnpack" or "none", "cpus": [cores to stay on]}
        -> {"runtime": ..., "version": ..., "reference_ns": quiet level}
    {"id": ..., "path": "op.tflite", "warmup": 3, "min_runs": 5, "max_seconds": 10.0, "precision": 0.02}
        -> {"id": ..., "wall_ns": [...], "cpu_ns": [...], "clock": "wall", "steady": true, "dropped": n,
            "reference_ns": [...], "delegated": [nodes that the delegate took, all nodes] or null}
    {"describe": true, "runtime": ...}
        -> {"cores": n, "cpu": ..., "os": ..., "version": ..., "governor": ..., "battery": ..., "thermal": ...}

A job with "remove": true deletes its file when it is done.
Runs come in short blocks with a block of the reference model before and after each.  A block is steady when both
stand within ``STEADY`` of the reference's quiet level, the fifth percentile of its blocks in this session or the level
of an earlier one, whichever is lower; a run is clean when the scheduler did not take the core away
meanwhile (processor time tells; one thread only).  Clean runs of steady blocks count.  Runs repeat until the 95 %
confidence interval of their median is within ``precision`` of it on either side, or ``max_seconds`` are over; then
what there is counts, ``steady`` is false, and ``clock`` says ``cpu`` where fewer than ``min_runs`` were clean.

Two more jobs, on one thread only:

    {..., "watch": "model.tflite", "watch_ns": what that takes on a quiet machine}
        -> {..., "clock": "scaled", "levels_ns": [...]}
    {..., "beside": [["op.tflite", times], ...]}
        -> {..., "clock": "paired", "ratios": [...]}

The first is for whole networks, whose runs of seconds find no quiet stretch: a second thread on the same core runs the
watched model every ``WATCH_EVERY`` seconds meanwhile.  Its time is taken off, and what is left is divided by how much
longer the watched model took than in its quiet moments, the fifth percentile of all of them; where even those are far
from ``watch_ns``, ``clock`` says ``wall`` and ``steady`` is false.  The second is for blocks: rounds of the block and
of its operators, one after the other, so that load hits both; ``ratios`` are block over operators, round by round, in
processor time.
"""

from __future__ import annotations

import bisect
import contextlib
import importlib
import json
import math
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BLOCK_SECONDS = 0.05
BLOCK_RUNS = 300
MIN_BLOCKS = 8
REFERENCE_RUNS = 5
STEADY = 1.10
STOLEN_SHARE = 0.05
STOLEN_NS = 20000
WARMUP_SECONDS = 0.01
WATCH_EVERY = 0.05
WATCH_LEAST = 1.0  # seconds of a run
WATCH_QUIET = 1.2  # amid a network even on a quiet machine: caches are colder
ROUND_SECONDS = 0.02  # of each model in a round; long ones run once
ROUND_RUNS = 50


def load_runtime(wanted: str | None = None) -> tuple[str, str, Any]:
    """(name, version, interpreter module) of the runtime that is wanted, or of the first that is installed."""
    from importlib.metadata import version

    names = [wanted] if wanted else ["ai-edge-litert", "tflite-runtime"]
    for name in names:
        try:
            module = importlib.import_module(f"{name.replace('-', '_')}.interpreter")
            return name, version(name), module
        except ImportError:
            if name == names[-1]:
                raise
    raise AssertionError


def open_model(runtime: Any, path: str, threads: int, seed: int, delegate: str = "xnnpack") -> Any:
    """An interpreter with its inputs filled: floats in [0, 1), integers small."""
    import numpy as np

    extra = {}
    if delegate == "none":
        extra["experimental_op_resolver_type"] = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    model = runtime.Interpreter(model_path=path, num_threads=threads, **extra)
    model.allocate_tensors()
    rng = np.random.default_rng(seed)
    for detail in model.get_input_details():
        if np.issubdtype(detail["dtype"], np.floating):
            value = rng.random(detail["shape"], dtype=np.float32).astype(detail["dtype"])
        else:
            value = rng.integers(0, 2, detail["shape"]).astype(detail["dtype"])
        model.set_tensor(detail["index"], value)
    return model


def delegated(model: Any) -> list[int] | None:
    """[nodes that a delegate took, all nodes]: a delegate's node replaces what lies between its inputs and outputs."""
    try:
        nodes = model._get_ops_details()
    except AttributeError:
        return None
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    made = {int(tensor): node for node in own for tensor in node["outputs"]}
    taken = set()
    for node in nodes:
        if node["op_name"] == "DELEGATE":
            inputs = {int(tensor) for tensor in node["inputs"]}
            queue = [int(tensor) for tensor in node["outputs"]]
            while queue:
                inner = made.get(queue.pop())
                if inner is not None and inner["index"] not in taken:
                    taken.add(inner["index"])
                    queue += [int(tensor) for tensor in inner["inputs"] if int(tensor) not in inputs]
    return [len(taken), len(own)]


def timed(invoke: Callable[[], None], cpu_clock: Callable[[], int]) -> tuple[int, int]:
    """(wall ns, cpu ns) of one run."""
    cpu = cpu_clock()
    wall = time.perf_counter_ns()
    invoke()
    wall = time.perf_counter_ns() - wall
    return wall, cpu_clock() - cpu


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median between the ends of its 95 % confidence interval, by order statistics."""
    ordered = sorted(values)
    n = len(ordered)
    reach = 0.98 * math.sqrt(n)
    low = ordered[max(math.floor(n / 2 - reach), 0)]
    high = ordered[min(math.ceil(n / 2 + reach), n - 1)]
    return low, ordered[n // 2], high


def half_interval(values: Sequence[float]) -> float:
    """Half the width of that interval relative to the median."""
    low, median, high = median_interval(values)
    return (high - low) / 2 / median


class Reference:
    """The reference model and its quiet level."""

    def __init__(self, model: Any, quiet_ns: int | None = None) -> None:
        self.model = model
        self.known = quiet_ns
        self.levels: list[int] = []  # ascending

    def block(self) -> int:
        """Median processor time of some runs in ns; one run before them warms the caches."""
        self.model.invoke()
        runs = sorted(timed(self.model.invoke, time.thread_time_ns)[1] for _ in range(REFERENCE_RUNS))
        level = runs[len(runs) // 2]
        bisect.insort(self.levels, level)
        return level

    def quiet(self) -> int:
        """The quiet level in ns."""
        level = self.levels[len(self.levels) // 20]
        return level if self.known is None else min(level, self.known)


class Watch(threading.Thread):
    """Runs a model now and then while another thread of the same core is at work."""

    def __init__(self, model: Any, every: float) -> None:
        super().__init__(daemon=True)
        self.model = model
        self.every = every
        self.samples: list[tuple[int, int, int]] = []  # start, wall ns taken, processor ns
        self.over = threading.Event()

    def run(self) -> None:
        """Sample until told to stop; the first of two runs brings the model back into the caches.

        A sample that the other thread breaks into finds cold caches and would tell of a load that is none: where the
        system allows it (root), this thread goes first.
        """
        if hasattr(os, "sched_setscheduler"):
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while not self.over.wait(self.every):
            start = time.perf_counter_ns()
            self.model.invoke()
            _, cpu = timed(self.model.invoke, time.thread_time_ns)
            self.samples.append((start, time.perf_counter_ns() - start, cpu))

    def beside(self, start: int, end: int) -> tuple[int, float]:
        """(wall ns that sampling took, mean processor ns of the model) between two times; level 0 if none."""
        own = [sample for sample in self.samples if start <= sample[0] < end]
        return sum(sample[1] for sample in own), sum(sample[2] for sample in own) / max(len(own), 1)


def measure_watched(model: Any, watched: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Time a whole network beside a model that is run in the middle of its runs."""
    limit = time.perf_counter() + job["max_seconds"]
    for _ in range(2):
        watched.invoke()
    watch = Watch(watched, job.get("watch_every", WATCH_EVERY))
    watch.start()
    relative: list[float] = []  # to the watched model
    cpus: list[int] = []
    levels: list[float] = []
    missed = 0
    try:
        while True:
            start = time.perf_counter_ns()
            wall, cpu = timed(model.invoke, time.thread_time_ns)
            taken, level = watch.beside(start, start + wall)
            if level:
                relative.append((wall - taken) / level)
                cpus.append(cpu)
                levels.append(level)
            else:
                missed += 1
            enough = len(relative) >= job["min_runs"]
            if enough and (half_interval(relative) <= job["precision"] or time.perf_counter() > limit):
                break
            if missed > 10 * job["min_runs"]:
                raise RuntimeError("the watched model never gets a turn beside it")
    finally:
        watch.over.set()
        watch.join()
    levels_seen = sorted(sample[2] for sample in watch.samples)
    quiet = max(levels_seen[len(levels_seen) // 20], job["watch_ns"])
    return {
        "wall_ns": [round(value * quiet) for value in relative],
        "cpu_ns": cpus,
        "clock": "scaled" if quiet <= WATCH_QUIET * job["watch_ns"] else "wall",
        "steady": False,
        "dropped": missed,
        "reference_ns": [quiet],
        "levels_ns": [round(level) for level in levels],
    }


def measure_paired(model: Any, beside: Sequence[tuple[Any, int]], job: dict[str, Any]) -> dict[str, Any]:
    """Time a block in rounds with its operators; each round's times are medians over its runs."""
    limit = time.perf_counter() + job["max_seconds"]
    models = [model, *[one for one, _ in beside]]
    times = [count for _, count in beside]
    repeats = []
    for one in models:
        one.invoke()
        _, cpu = timed(one.invoke, time.thread_time_ns)
        repeats.append(max(1, min(round(ROUND_SECONDS * 1e9 / max(cpu, 1)), ROUND_RUNS)))
    ratios: list[float] = []
    walls: list[int] = []
    cpus: list[int] = []
    while len(ratios) < job["min_runs"] or half_interval(ratios) > job["precision"]:
        if len(ratios) >= job["min_runs"] and time.perf_counter() > limit:
            break
        medians = []
        for i, one in enumerate(models):
            runs = repeats[i]
            if runs > 1:
                one.invoke()  # its weights and activations were driven out by the others
            taken = [timed(one.invoke, time.thread_time_ns) for _ in range(runs)]
            medians.append(sorted(cpu for _, cpu in taken)[len(taken) // 2])
            if i == 0:
                walls += [wall for wall, _ in taken]
                cpus += [cpu for _, cpu in taken]
        ratios.append(medians[0] / sum(times[i] * medians[i + 1] for i in range(len(times))))
    return {
        "wall_ns": walls,
        "cpu_ns": cpus,
        "clock": "paired",
        "steady": True,
        "dropped": 0,
        "reference_ns": [],
        "ratios": ratios,
    }


def measure(model: Any, reference: Reference, job: dict[str, Any], threads: int) -> dict[str, Any]:
    """Time one model beside the reference."""
    cpu_clock = time.thread_time_ns if threads == 1 else time.process_time_ns
    limit = time.perf_counter() + job["max_seconds"]
    warm_up(model.invoke, job["warmup"], limit)
    counted: list[tuple[int, int]] = []
    clean: list[tuple[int, int]] = []
    everything: list[tuple[int, int]] = []
    levels = [reference.block()]
    beside: list[int] = []
    blocks, enough = 0, False
    while not enough:
        runs = run_block(model.invoke, cpu_clock, limit)
        levels.append(reference.block())
        everything += runs
        good = [r for r in runs if threads > 1 or r[0] - r[1] <= max(STOLEN_SHARE * r[0], STOLEN_NS)]
        clean += good
        if max(levels[-2:]) <= STEADY * reference.quiet():
            counted += good
            beside += levels[-2:]
            blocks += 1
        enough = (
            len(counted) >= job["min_runs"]
            and (blocks >= MIN_BLOCKS or len(counted) == blocks)
            and half_interval([r[0] for r in counted]) <= job["precision"]
        )
        if time.perf_counter() > limit and len(everything) >= job["min_runs"]:
            break
    steady = len(counted) >= job["min_runs"]
    kept = counted if steady else clean if len(clean) >= job["min_runs"] else everything
    return {
        "wall_ns": [r[0] for r in kept],
        "cpu_ns": [r[1] for r in kept],
        "clock": "cpu" if kept is everything and threads == 1 and len(clean) < len(kept) else "wall",
        "steady": steady,
        "dropped": len(everything) - len(kept),
        "reference_ns": beside if steady else levels,
    }


def warm_up(invoke: Callable[[], None], runs: int, limit: float) -> None:
    """At least ``runs`` runs and ``WARMUP_SECONDS``."""
    end = time.perf_counter() + WARMUP_SECONDS
    done = 0
    while (done < runs or time.perf_counter() < end) and time.perf_counter() < limit:
        invoke()
        done += 1


def run_block(invoke: Callable[[], None], cpu_clock: Callable[[], int], limit: float) -> list[tuple[int, int]]:
    """Runs of one block, at least one."""
    end = min(time.perf_counter() + BLOCK_SECONDS, limit)
    runs = [timed(invoke, cpu_clock)]
    while time.perf_counter() < end and len(runs) < BLOCK_RUNS:
        runs.append(timed(invoke, cpu_clock))
    return runs


def first_line(*patterns: str) -> str:
    """The first line of the first file that can be read; empty if there is none."""
    for pattern in patterns:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            text = read(path).split("\n")[0].strip(" \t\r\0")
            if text:
                return text
    return ""


def read(path: Path) -> str:
    """A file of the system, empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_name() -> str:
    """The processor as the system names it; a board's name where the processor has none."""
    for line in read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return first_line("/proc/device-tree/model") or platform.processor() or platform.machine()


def os_name() -> str:
    """Distribution, kernel and machine."""
    name = platform.platform(terse=True)
    for line in read(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            name = line.split("=", 1)[1].strip().strip("\"'")
    return f"{name}, {platform.system()} {platform.release()}, {platform.machine()}"


def state() -> dict[str, str]:
    """Battery and temperature, where the machine tells."""
    charge = first_line("/sys/class/power_supply/BAT*/capacity")
    status = first_line("/sys/class/power_supply/BAT*/status")
    zones = [read(path).strip() for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    degrees = [int(zone) / 1000 for zone in zones if zone.isdecimal()]
    return {
        "battery": f"{charge} %, {status}" if charge else "",
        "thermal": f"hottest zone {max(degrees):.0f} C" if degrees else "",
    }


def describe(runtime: str) -> dict[str, Any]:
    """The machine, and the version of the runtime on it."""
    from importlib.metadata import version

    governor = first_line("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    return {"cores": os.cpu_count(), "cpu": cpu_name(), "os": os_name(), "version": version(runtime),
            "governor": governor, **state()}  # fmt: skip


class Session:
    """What the runner holds between two lines."""

    def __init__(self) -> None:
        self.runtime: Any = None
        self.reference: Reference | None = None
        self.threads = 1
        self.delegate = "xnnpack"

    def hello(self, job: dict[str, Any]) -> dict[str, Any]:
        """Load the runtime and the reference."""
        if job.get("cpus"):
            try:
                os.sched_setaffinity(0, job["cpus"])
            except OSError as error:
                there = sorted(os.sched_getaffinity(0))
                raise ValueError(f"cannot stay on cores {job['cpus']}: this process may use {there}") from error
        name, version, self.runtime = load_runtime(job.get("runtime"))
        self.threads = job["threads"]
        self.delegate = job.get("delegate", "xnnpack")
        model = open_model(self.runtime, job["reference"], 1, 0, self.delegate)
        self.reference = Reference(model, job.get("quiet_ns"))
        for _ in range(60):
            self.reference.block()
        return {"runtime": name, "version": version, "reference_ns": self.reference.quiet()}

    def time(self, job: dict[str, Any]) -> dict[str, Any]:
        """Time one model."""
        assert self.reference is not None
        try:
            model = open_model(self.runtime, job["path"], self.threads, 1, self.delegate)
        finally:
            if job.get("remove"):
                Path(job["path"]).unlink()
        return {"id": job["id"], **self.measure(model, job), "delegated": delegated(model)}

    def measure(self, model: Any, job: dict[str, Any]) -> dict[str, Any]:
        """Time it as the job wants it."""
        assert self.reference is not None
        watch = job.get("watch") if self.threads == 1 else None
        if watch and timed(model.invoke, time.thread_time_ns)[0] < 1e9 * WATCH_LEAST:
            watch = None  # too short to be watched, short enough for quiet stretches
        if watch:
            if hasattr(os, "sched_setaffinity"):  # the watch must stay on the core of what it watches
                os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            return measure_watched(model, open_model(self.runtime, watch, 1, 0, self.delegate), job)
        if self.threads == 1 and "beside" in job:
            others = [(open_model(self.runtime, path, 1, 1, self.delegate), count) for path, count in job["beside"]]
            return measure_paired(model, others, job)
        return measure(model, self.reference, job, self.threads)


def main() -> None:
    """Answer jobs until stdin ends."""
    session = Session()
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if "describe" in job:
                answer = describe(job["runtime"])
            else:
                answer = session.hello(job) if "reference" in job else session.time(job)
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            answer = {"id": job.get("id"), "error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
