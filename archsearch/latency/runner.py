"""Stand-alone timing of LiteRT models: needs Python >= 3.8, numpy and one of ai_edge_litert, tflite_runtime.

Reads one JSON object a line from stdin, answers each with one JSON object a line on stdout:

    {"reference": "ref.tflite", "threads": 1, "quiet_ns": level of an earlier session or null}
        -> {"runtime": ..., "version": ..., "reference_ns": quiet level}
    {"id": ..., "path": "op.tflite", "warmup": 3, "min_runs": 5, "max_seconds": 10.0, "precision": 0.02}
        -> {"id": ..., "wall_ns": [...], "cpu_ns": [...], "clock": "wall", "steady": true, "dropped": n,
            "reference_ns": [...]}

Runs come in short blocks with a block of the reference model before and after each.  A block is steady when both
stand within ``STEADY`` of the reference's quiet level, the fifth percentile of its blocks in this session or the level
of an earlier one, whichever is lower; a run is clean when the scheduler did not take the core away
meanwhile (processor time tells; one thread only).  Clean runs of steady blocks count.  Runs repeat until the 95 %
confidence interval of their median is within ``precision`` of it on either side, or ``max_seconds`` are over; then
what there is counts, ``steady`` is false, and ``clock`` says ``cpu`` where fewer than ``min_runs`` were clean.
"""

from __future__ import annotations

import bisect
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

BLOCK_SECONDS = 0.05
BLOCK_RUNS = 300
MIN_BLOCKS = 8
REFERENCE_RUNS = 5
STEADY = 1.10
STOLEN_SHARE = 0.05
STOLEN_NS = 20000
WARMUP_SECONDS = 0.01


def load_runtime() -> tuple[str, str, Any]:
    """(name, version, Interpreter) of the first runtime that is installed."""
    try:
        from ai_edge_litert import interpreter

        name = "ai-edge-litert"
    except ImportError:
        from tflite_runtime import interpreter

        name = "tflite-runtime"
    from importlib.metadata import version

    return name, version(name), interpreter.Interpreter


def open_model(Interpreter: Any, path: str, threads: int, seed: int) -> Any:
    """An interpreter with its inputs filled: floats in [0, 1), integers small."""
    import numpy as np

    model = Interpreter(model_path=path, num_threads=threads)
    model.allocate_tensors()
    rng = np.random.default_rng(seed)
    for detail in model.get_input_details():
        if np.issubdtype(detail["dtype"], np.floating):
            value = rng.random(detail["shape"], dtype=np.float32).astype(detail["dtype"])
        else:
            value = rng.integers(0, 2, detail["shape"]).astype(detail["dtype"])
        model.set_tensor(detail["index"], value)
    return model


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


def main() -> None:
    """Answer jobs until stdin ends."""
    name, version, Interpreter = load_runtime()
    reference: Reference | None = None
    threads = 1
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if "reference" in job:
                threads = job["threads"]
                reference = Reference(open_model(Interpreter, job["reference"], 1, 0), job.get("quiet_ns"))
                for _ in range(60):
                    reference.block()
                answer: dict[str, Any] = {"runtime": name, "version": version, "reference_ns": reference.quiet()}
            else:
                assert reference is not None
                model = open_model(Interpreter, job["path"], threads, 1)
                answer = measure(model, reference, job, threads)
                answer["id"] = job["id"]
                del model
        except (ValueError, RuntimeError) as error:
            answer = {"id": job.get("id"), "error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
