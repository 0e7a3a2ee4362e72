"""The machine itself as a device: the stand-alone runner in its own process, restarted when a model takes it down."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from archsearch.errors import LatencyError, MissingExtraError

RUNNER = Path(__file__).with_name("runner.py")
MIN_RUNS = 5
WARMUP_RUNS = 3
PRECISION = 0.02
MAX_SECONDS = 10.0
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Timings:
    """Counted runs of one model, the reference operator beside them, and how they were chosen (see ``rows``)."""

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    dropped: int
    timing: str
    reference_ns: tuple[int, ...]


class OpFailedError(Exception):
    """One model could not be timed; the device goes on."""


class HostRunner:
    """A runner process with its reference loaded.  Use as a context manager."""

    def __init__(
        self, reference: Path, threads: int = 1, quiet_ms: float | None = None, python: str = sys.executable
    ) -> None:
        """Start the runner.

        Args:
            reference: model of the reference operator.
            threads: threads that the runtime may use.
            quiet_ms: what the reference takes when nothing else runs, where an earlier session has seen it.
            python: interpreter that has one of the runtimes.

        Raises:
            MissingExtraError: no LiteRT runtime in that interpreter.
            LatencyError: the runner does not start.
        """
        self._command = [python, "-u", str(RUNNER)]
        quiet_ns = None if quiet_ms is None else round(quiet_ms * 1e6)
        self._hello = {"reference": str(reference), "threads": threads, "quiet_ns": quiet_ns}
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the runner
        self._process: subprocess.Popen[bytes] | None = None
        self.runtime, self.version, self.quiet_ms = self._start()

    def _start(self) -> tuple[str, str, float]:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._hello["threads"]), "TF_CPP_MIN_LOG_LEVEL": "2"}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment
        )
        try:
            answer = self._ask(self._hello, PATIENCE_SECONDS)
        except OpFailedError as error:
            self._stop()
            self._log.close()
            words = str(error)
            if "ModuleNotFoundError" in words or "ImportError" in words:
                raise MissingExtraError("measuring needs ai-edge-litert", got=words,
                                        next_step='pip install "archsearch[litert]"') from error  # fmt: skip
            raise LatencyError("the runner does not start", where=self._command[0], got=words) from error
        return str(answer["runtime"]), str(answer["version"]), answer["reference_ns"] / 1e6

    def time(self, path: Path, *, max_seconds: float = MAX_SECONDS, precision: float = PRECISION) -> Timings:
        """Time one model.

        Raises:
            OpFailedError: the runtime refused or crashed on it, or hung.
        """
        if self._process is None:
            self._start()
        job = {"id": path.name, "path": str(path), "warmup": WARMUP_RUNS, "min_runs": MIN_RUNS,
               "max_seconds": max_seconds, "precision": precision}  # fmt: skip
        answer = self._ask(job, max_seconds * 3 + PATIENCE_SECONDS)
        timing = "cpu" if answer["clock"] == "cpu" else "steady" if answer["steady"] else "unsteady"
        return Timings(tuple(answer["wall_ns"]), tuple(answer["cpu_ns"]), int(answer["dropped"]), timing,
                       tuple(answer["reference_ns"]))  # fmt: skip

    def _ask(self, job: dict[str, object], patience: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise OpFailedError(self._ending()) from None
        ready, _, _ = select.select([process.stdout], [], [], patience)
        if not ready:
            self._stop()
            raise OpFailedError(f"no answer within {patience:.0f} s")
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            raise OpFailedError(self._ending())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise OpFailedError(answer["error"])
        return answer

    def _ending(self) -> str:
        """Bury a runner that ended by itself; its code and last words.  The next job starts another."""
        assert self._process is not None
        code = self._process.wait()
        self._stop()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f"the runner ended with code {code}: {lines[-1][:300] if lines else 'no output'}"

    def _stop(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> HostRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._log.close()


def describe_host(threads: int) -> dict[str, object]:
    """The fields of ``table.yaml`` that this machine decides."""
    return {
        "device": f"host, {os.cpu_count()} cores of {cpu_name()}",
        "soc": cpu_name(),
        "os": f"{_distribution()}, {platform.system()} {platform.release()}, {platform.machine()}",
        "runtime": "ai-edge-litert",
        "runtime_version": _version("ai-edge-litert"),
        "delegate": "xnnpack",
        "precision": "fp32",
        "threads": threads,
    }


def cpu_name() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(f"measuring needs {name}", next_step='pip install "archsearch[litert]"') from error
