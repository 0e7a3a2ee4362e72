"""The machine itself as a device: the stand-alone runner in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archsearch.errors import ArchsearchError, LatencyError, MissingExtraError
from archsearch.latency.pipe import PipeRunner
from archsearch.latency.targets import (
    DELEGATES_IN_PYTHON,
    MAX_SECONDS,
    MIN_RUNS,
    PRECISION,
    PRECISIONS_IN_PYTHON,
    WARMUP_RUNS,
    OpFailedError,
    Setup,
    Timings,
    allow,
)

__all__ = [
    "MAX_SECONDS",
    "MIN_RUNS",
    "PRECISION",
    "RUNNER",
    "WARMUP_RUNS",
    "HostDevice",
    "HostRunner",
    "OpFailedError",
    "Timings",
    "cpu_name",
    "describe_host",
]  # fmt: skip

RUNNER = Path(__file__).with_name("runner.py")
PATIENCE_SECONDS = 120.0
PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
INSTALL = {"litert": 'pip install "archsearch[litert]"', "tflite-runtime": "archsearch latency runtime --install"}


class HostRunner(PipeRunner):
    """The runner on this machine."""

    def __init__(
        self,
        reference: Path,
        threads: int = 1,
        quiet_ms: float | None = None,
        python: str = sys.executable,
        *,
        runtime: str = "litert",
        delegate: str = "xnnpack",
        cpus: Sequence[int] = (),
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Start the runner.

        Args:
            reference: model of the reference operator.
            threads: threads that the runtime may use.
            quiet_ms: what the reference takes when nothing else runs, where an earlier session has seen it.
            python: interpreter that has the runtime.
            runtime: ``litert`` or ``tflite-runtime``.
            delegate: ``xnnpack``, or ``none`` for the runtime's own kernels.
            cpus: cores to stay on; all when empty.
            patience: seconds to wait for an answer beyond the time of measuring.

        Raises:
            MissingExtraError: that runtime is not installed there.
            LatencyError: the runner does not start.
        """
        self._runtime = runtime
        self.threads = threads
        hello = {**hello_of(runtime, delegate, threads, cpus, quiet_ms), "reference": str(reference)}
        super().__init__([python, "-u", str(RUNNER)], hello, patience)

    def time_beside(self, path: Path, beside: Sequence[tuple[Path, int]], *, max_seconds: float) -> Timings:
        """Time a block in rounds with its operators' models (and how often the block runs each).

        Raises:
            OpFailedError: the runtime refused or crashed on one of them, or hung.
        """
        return self.time(path, max_seconds=max_seconds, extra={"beside": [[str(one), n] for one, n in beside]})

    def time_watched(self, path: Path, watched: Path, watched_ms: float, *, max_seconds: float) -> Timings:
        """Time a whole network beside a model that takes ``watched_ms`` on a quiet machine.

        Raises:
            OpFailedError: the runtime refused or crashed on it, or hung.
        """
        extra = {"watch": str(watched), "watch_ns": round(watched_ms * 1e6)}
        return self.time(path, max_seconds=max_seconds, extra=extra)

    def refused(self, words: str) -> ArchsearchError:
        """A missing runtime, or a runner that does not start for another reason."""
        return missing_runtime(words, self._runtime) or super().refused(words)


def hello_of(
    runtime: str, delegate: str, threads: int, cpus: Sequence[int], quiet_ms: float | None
) -> dict[str, object]:
    """The first line to a runner, its reference apart."""
    return {
        "runtime": PACKAGES[runtime],
        "delegate": delegate,
        "threads": threads,
        "cpus": list(cpus),
        "quiet_ns": None if quiet_ms is None else round(quiet_ms * 1e6),
    }


def missing_runtime(words: str, runtime: str) -> MissingExtraError | None:
    """The error for a Python that lacks the runtime, if the words say so."""
    if not any(name in words for name in ("ModuleNotFoundError", "ImportError", "PackageNotFoundError")):
        return None
    return MissingExtraError(f"measuring needs {PACKAGES[runtime]}", got=words, next_step=INSTALL[runtime])


class HostDevice:
    """The machine that the command runs on."""

    def __init__(self, setup: Setup) -> None:
        """Check what is asked of it.

        Raises:
            MissingExtraError: the runtime is not installed.
            LatencyError: a delegate or precision that the runtimes' Python interface does not have.
        """
        from archsearch.latency.runtimes import python_of

        allow("delegate", setup.delegate, DELEGATES_IN_PYTHON, "the host")
        allow("precision", setup.precision, PRECISIONS_IN_PYTHON, "the host")
        self._setup = setup
        self._python = python_of(setup.runtime, setup.tools.python)

    def describe(self) -> dict[str, object]:
        """The fields of ``table.yaml`` that this machine decides."""
        return describe_host(self._setup.threads, self._setup, self._python)

    def state(self) -> dict[str, str]:
        """Battery and temperature, where the machine has them."""
        from archsearch.latency import runner

        return runner.state()

    def start(self, reference: Path, quiet_ms: float | None) -> HostRunner:
        """A runner process."""
        setup = self._setup
        return HostRunner(reference, setup.threads, quiet_ms, self._python, runtime=setup.runtime,
                          delegate=setup.delegate, cpus=setup.cpus, patience=setup.tools.patience_seconds)  # fmt: skip

    def close(self) -> None:
        """Nothing to leave."""


def describe_host(threads: int, setup: Setup | None = None, python: str = sys.executable) -> dict[str, object]:
    """The fields of ``table.yaml`` that this machine decides.

    Raises:
        MissingExtraError: the runtime is not installed.
        LatencyError: that interpreter does not run.
    """
    setup = setup or Setup(threads=threads)
    return head_from(setup, ask_once([python, "-u", str(RUNNER)], setup), "host")


def head_from(setup: Setup, told: dict[str, Any], name: str) -> dict[str, object]:
    """The fields of ``table.yaml`` from what a runner tells about its machine."""
    return {
        "device": f"{name}, {told['cores']} cores of {told['cpu']}",
        "soc": told["cpu"],
        "os": told["os"],
        "runtime": PACKAGES[setup.runtime],
        "runtime_version": told["version"],
        "delegate": setup.delegate,
        "precision": setup.precision,
        "threads": setup.threads,
        "affinity": setup.affinity,
        "governor": told["governor"],
        "battery": told["battery"],
        "thermal": told["thermal"],
    }


def ask_once(command: Sequence[str], setup: Setup) -> dict[str, Any]:
    """What a runner tells about its machine.

    Raises:
        MissingExtraError: the runtime is not installed there.
        LatencyError: the runner does not run.
    """
    import json

    job = json.dumps({"describe": True, "runtime": PACKAGES[setup.runtime]}).encode() + b"\n"
    try:
        done = subprocess.run(list(command), input=job, capture_output=True, timeout=setup.tools.patience_seconds,
                              check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LatencyError("the runner does not start", where=command[0], got=str(error)) from error
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no output"]
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = {"error": f"ended with code {done.returncode}: {lines[-1][:300]}"}
    if not isinstance(told, dict) or "error" in told:
        words = str(told["error"] if isinstance(told, dict) else told)
        raise missing_runtime(words, setup.runtime) or LatencyError(
            "the runner does not start", where=command[0], got=words
        )
    return told


def cpu_name() -> str:
    """The processor as the system names it."""
    from archsearch.latency import runner

    return runner.cpu_name()
