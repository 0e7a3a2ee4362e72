"""An Android phone: ``benchmark_model`` in a folder of our own under /data/local/tmp, driven through adb."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from archsearch.errors import LatencyError
from archsearch.latency import benchmark
from archsearch.latency.adb import Adb, Answer
from archsearch.latency.phone_facts import battery, binary_abi, cores, cpu_features, properties, soc_name, thermal
from archsearch.latency.runner import STEADY
from archsearch.latency.targets import (
    MAX_SECONDS,
    PRECISION,
    DeviceLostError,
    OpFailedError,
    Setup,
    Summary,
    Timings,
    allow,
)

FOLDER = "/data/local/tmp/archsearch"
REFERENCE_SECONDS = 0.2
QUIET_BLOCKS = 3
MIN_BLOCKS = 2
_NOT_RUNNABLE = ("not executable", "Exec format error", "wrong ELF", "cannot execute", "CANNOT LINK", "e_machine")


class AdbDevice:
    """A phone that is attached and has what the set-up asks for."""

    def __init__(self, setup: Setup) -> None:
        """Reach the phone, put ``benchmark_model`` on it and ask that for what it can do.

        Raises:
            LatencyError: no adb or phone, no binary or one for another processor, a delegate, precision or cores that
                the phone does not have, another run on the same phone.
        """
        if setup.runtime != "litert":
            raise LatencyError("a phone's runtime is that of its benchmark_model", where="--runtime",
                               got=setup.runtime, allowed="litert")  # fmt: skip
        self.setup = setup
        self._runs = 0
        self._binary = _binary(setup.tools.benchmark_model)
        self.version = f"sha256 {hashlib.sha256(self._binary.read_bytes()).hexdigest()[:16]}"
        self.adb = Adb(setup.tools.adb, setup.target.serial, setup.tools.patience_seconds)
        self._lock = _lock(self.adb.serial)
        try:
            self._facts = properties(self.adb.script("getprop").output)
            self._check_abi()
            self._prepare()
            self._check_wishes()
        except BaseException:
            self.close()
            raise

    def _check_abi(self) -> None:
        abi = binary_abi(self._binary)
        known = self._facts.get("ro.product.cpu.abilist") or self._facts.get("ro.product.cpu.abi", "")
        if abi is None or (known and abi not in known.split(",")):
            raise LatencyError("benchmark_model is for another processor", where=str(self._binary),
                               got=abi or "no ELF program", allowed=known)  # fmt: skip

    def _prepare(self) -> None:
        """An empty folder with the binary in it; what a killed run left is removed."""
        made = self.adb.script(f"rm -rf {FOLDER} && mkdir -m 700 {FOLDER}")
        if made.code:
            raise LatencyError("the phone refuses a folder", where=FOLDER, got=made.output.strip()[:200])
        self.adb.push(self._binary, f"{FOLDER}/benchmark_model")
        self.adb.script(f"chmod 700 {FOLDER}/benchmark_model")

    def _check_wishes(self) -> None:
        told = self.adb.shell([f"{FOLDER}/benchmark_model", "--help"])
        flags = benchmark.flags_listed(told.output)
        if "graph" not in flags:
            why = "benchmark_model does not run on the phone"
            raise LatencyError(why, where=str(self._binary), got=told.output.strip()[-200:] or f"exit code {told.code}",
                               allowed=self._facts.get("ro.product.cpu.abilist"))  # fmt: skip
        features = cpu_features(self.adb.script("cat /proc/cpuinfo").output)
        has = benchmark.offered(flags, features)
        setup = self.setup
        allow("delegate", setup.delegate, tuple(has), "this phone's benchmark_model")
        allow("precision", setup.precision, has[setup.delegate], f"this phone, with --delegate {setup.delegate},")
        self._result_file = "result_file_path" in flags
        self._profile = "op_profiling_output_mode" in flags
        if setup.cpus:
            there = cores(self.adb.script("cat /sys/devices/system/cpu/present").output)
            if not set(setup.cpus) <= set(there):
                raise LatencyError("the phone does not have these cores", where="--cpus",
                                   got=",".join(map(str, setup.cpus)), allowed=",".join(map(str, there)))  # fmt: skip
            if self.adb.script("command -v taskset").code:
                raise LatencyError("the phone has no taskset to choose cores with", where="--cpus",
                                   next_step="measure without --cpus")  # fmt: skip

    def describe(self) -> dict[str, object]:
        """The fields of ``table.yaml`` that the phone decides."""
        facts, setup = self._facts, self.setup
        name = f"{facts.get('ro.product.manufacturer', '')} {facts.get('ro.product.model', '')}".strip()
        governors = self.adb.script("cat /sys/devices/system/cpu/cpufreq/policy*/scaling_governor")
        words = sorted(set(governors.output.split())) if governors.code == 0 else []
        return {
            "device": name or "Android phone",
            "soc": soc_name(facts),
            "os": f"Android {facts.get('ro.build.version.release', '?')}, {facts.get('ro.build.display.id', '?')}",
            "runtime": "LiteRT benchmark_model",
            "runtime_version": self.version,
            "delegate": setup.delegate,
            "precision": setup.precision,
            "threads": setup.threads,
            "affinity": setup.affinity,
            "governor": ", ".join(words),
            **self.state(),
        }

    def state(self) -> dict[str, str]:
        """Battery and thermal state."""
        return {
            "battery": battery(self.adb.script("dumpsys battery").output),
            "thermal": thermal(self.adb.script("dumpsys thermalservice").output),
        }

    def start(self, reference: Path, quiet_ms: float | None) -> AdbRunner:
        """A runner with the reference on the phone."""
        return AdbRunner(self, reference, quiet_ms)

    def close(self) -> None:
        """Remove the folder, if the phone is still there."""
        with contextlib.suppress(LatencyError, TimeoutError):
            self.adb.script(f"rm -rf {FOLDER}", 20.0)
        os.close(self._lock)

    def bench(self, model: str, seconds: float, more: tuple[str, ...] = (), timeout: float = 0.0) -> Answer:
        """Run the tool on a model in the folder.

        Raises:
            OpFailedError: it crashed, or hung on a phone that still answers.
            LatencyError: it cannot be executed, or the phone went away.
        """
        setup = self.setup
        flags = [*benchmark.arguments(setup.delegate, setup.precision, setup.threads, seconds), *more]
        last = {flag.split("=")[0]: flag for flag in flags}  # the tool itself would take the first
        words = [f"{FOLDER}/benchmark_model", f"--graph={FOLDER}/{model}", *last.values()]
        self._runs += 1  # names of result files, so that none is taken for another run's
        if self._result_file:
            words.append(f"--result_file_path={FOLDER}/result{self._runs}.pb")
        if setup.cpus:
            words = ["taskset", f"{sum(1 << core for core in setup.cpus):x}", *words]
        try:
            told = self.adb.shell(words, timeout or self.adb.patience_seconds)
        except TimeoutError as error:
            with contextlib.suppress(TimeoutError):
                self.adb.shell(["pkill", "-9", "-f", f"{FOLDER}/benchmark_model"], 20.0)
            raise OpFailedError(str(error)) from None
        if told.code:
            if any(text in told.output for text in _NOT_RUNNABLE):
                raise LatencyError("benchmark_model does not run on the phone", where=str(self._binary),
                                   got=told.output.strip()[-200:])  # fmt: skip
            if "No space left" in told.output:
                raise LatencyError("the phone's storage is full", where=f"adb:{self.adb.serial}",
                                   next_step="free some; finished rows are kept and the command continues")  # fmt: skip
            final = told.output.strip().splitlines()[-1:] or ["no output"]
            raise OpFailedError(f"benchmark_model ended with code {told.code}: {final[0][:300]}")
        return told

    def outcome(self, told: Answer) -> benchmark.Outcome:
        """The quantiles of a run: from its result file, else from what it printed.

        Raises:
            OpFailedError: neither can be read.
        """
        data = self.fetch(f"result{self._runs}.pb") if self._result_file else None
        return benchmark.parse_output(told.output) if data is None else benchmark.parse_result(data)

    def fetch(self, name: str) -> bytes | None:
        """A result file; None if there is none."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / name
            if not self.adb.pull(f"{FOLDER}/{name}", local):
                return None
            return benchmark.read(local)

    def undelegated(self, model: str) -> tuple[int | None, str]:
        """Nodes of a model that no delegate took, and the tool's output."""
        if not self._profile:
            return None, self.bench(model, 0.0, ("--num_runs=1", "--min_secs=0")).output
        name = f"profile{self._runs + 1}.pb"
        told = self.bench(model, 0.0, tuple(benchmark.profile_arguments(f"{FOLDER}/{name}")))
        data = self.fetch(name)
        return (None if data is None else benchmark.undelegated(data)), told.output


class _Block(NamedTuple):
    """One run of the tool on the model, and the reference's median before and after it in ns."""

    outcome: benchmark.Outcome
    beside: tuple[int, int]


class AdbRunner:
    """The phone with the reference operator on it."""

    runtime = "LiteRT benchmark_model"

    def __init__(self, device: AdbDevice, reference: Path, quiet_ms: float | None) -> None:
        """Push the reference and find its quiet level.

        Raises:
            LatencyError: the delegate does not run the reference, or the phone went away.
        """
        self._device = device
        self.version = device.version
        device.adb.push(reference, f"{FOLDER}/reference.tflite")
        delegate = device.setup.delegate
        try:
            left, output = device.undelegated("reference.tflite")
            why = benchmark.refusal(output)
            if delegate != "none" and (why or left):
                raise OpFailedError(why or f"{delegate} does not take the reference operator")
            levels = [self._reference() for _ in range(QUIET_BLOCKS)]
        except OpFailedError as error:
            raise LatencyError(f"the phone does not run the reference operator with {delegate}",
                               where=f"adb:{device.adb.serial}", got=str(error),
                               next_step="try another --delegate or benchmark_model") from error  # fmt: skip
        self.quiet_ms = min([*levels, *([] if quiet_ms is None else [quiet_ms * 1e6])]) / 1e6

    def _reference(self) -> int:
        """Median of a short run of the reference in ns."""
        return round(self._device.outcome(self._device.bench("reference.tflite", REFERENCE_SECONDS)).median_ns)

    def time(self, path: Path, *, max_seconds: float = MAX_SECONDS, precision: float = PRECISION) -> Timings:
        """Time one model in blocks, the reference before and after each.

        Raises:
            OpFailedError: the tool refuses it, crashes or hangs on it, or writes what cannot be read.
            DeviceLostError: the phone went away.
            LatencyError: its storage is full.
        """
        device = self._device
        device.adb.push(path, f"{FOLDER}/model.tflite")
        try:
            left, _ = device.undelegated("model.tflite")
            blocks: list[_Block] = []
            before = self._reference()
            end = time.monotonic() + max_seconds
            patience = max_seconds * 3 + device.adb.patience_seconds
            while True:
                told = device.bench("model.tflite", min(1.0, max_seconds / 4), timeout=patience)
                outcome = device.outcome(told)
                after = self._reference()
                blocks.append(_Block(outcome, (before, after)))
                self.quiet_ms = min(self.quiet_ms, before / 1e6, after / 1e6)
                before = after
                steady = [block for block in blocks if max(block.beside) <= STEADY * self.quiet_ms * 1e6]
                if len(steady) >= MIN_BLOCKS and half_interval([b.outcome for b in steady]) <= precision:
                    break
                if time.monotonic() > end:
                    break
        finally:
            with contextlib.suppress(DeviceLostError, TimeoutError):
                device.adb.script(f"rm -f {FOLDER}/model.tflite", 20.0)
        return _timings(blocks, steady, left)

    def __enter__(self) -> AdbRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """The device cleans up."""


def half_interval(outcomes: list[benchmark.Outcome]) -> float:
    """Half the 95 % interval of the median relative to it: the wider of what the runs' spread gives (as if normal,
    sigma from the 5th to 95th percentile) and half the range of the blocks' medians.
    """
    median = statistics.median(outcome.median_ns for outcome in outcomes)
    sigma = statistics.mean(outcome.high_ns - outcome.low_ns for outcome in outcomes) / 3.29
    runs = sum(outcome.runs for outcome in outcomes)
    medians = [outcome.median_ns for outcome in outcomes]
    return max(1.96 * 1.2533 * sigma / math.sqrt(runs), (max(medians) - min(medians)) / 2) / median


def _timings(blocks: list[_Block], steady: list[_Block], left: int | None) -> Timings:
    kept = steady or blocks
    median, low, high = (
        statistics.median(values)
        for values in zip(*((b.outcome.median_ns, b.outcome.low_ns, b.outcome.high_ns) for b in kept), strict=True)
    )
    runs = sum(block.outcome.runs for block in kept)
    dropped = sum(block.outcome.runs for block in blocks) - runs
    beside = tuple(level for block in kept for level in block.beside)
    return Timings((), (), dropped, "steady" if steady else "unsteady", beside, Summary(low, median, high, runs), left)


def _binary(path: str) -> Path:
    if not path:
        raise LatencyError("measuring on a phone needs LiteRT's benchmark_model", where="--benchmark-model",
                           next_step="download it for the phone's processor or build it (docs/latency.md); give its "
                           "path, or set $ARCHSEARCH_BENCHMARK_MODEL")  # fmt: skip
    if not Path(path).is_file():
        raise LatencyError("no such file", where="--benchmark-model", got=path)
    return Path(path)


def _lock(serial: str) -> int:
    """Keep a second run of this user off the phone."""
    folder = Path.home() / ".cache" / "archsearch"
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / f"adb-{hashlib.sha256(serial.encode()).hexdigest()[:16]}.lock",
                     os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # fmt: skip
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise LatencyError("another run is measuring on this phone", where=f"adb:{serial}",
                           next_step="wait for it") from None  # fmt: skip
    return handle
