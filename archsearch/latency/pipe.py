"""A process that runs ``runner.py``, here or at the far end of a connection, and is restarted when a model kills it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, get_args

from archsearch.errors import ArchsearchError, LatencyError
from archsearch.latency.rows import Timing
from archsearch.latency.targets import MAX_SECONDS, MIN_RUNS, PRECISION, WARMUP_RUNS, OpFailedError, Timings

MAX_NS = 10**15  # eleven days


def timings_of(answer: Mapping[str, Any]) -> Timings:
    """The timings in a runner's answer, which may come from afar.

    Raises:
        KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError: not such an answer.
    """
    clock = answer["clock"]
    timing = str(clock) if clock != "wall" else "steady" if answer["steady"] else "unsteady"
    wall, cpu, beside = (tuple(int(ns) for ns in answer[name]) for name in ("wall_ns", "cpu_ns", "reference_ns"))
    ratios = tuple(float(ratio) for ratio in answer.get("ratios", ()))
    if timing not in get_args(Timing) or not wall or len(cpu) != len(wall):
        raise ValueError
    dropped = int(answer["dropped"])
    if min((*wall, *beside)) < 1 or min((*cpu, dropped)) < 0 or max((*wall, *beside, *cpu, dropped)) > MAX_NS:
        raise ValueError
    if not beside and "ratios" not in answer and "levels_ns" not in answer:  # which stand in for the reference
        raise ValueError
    if not all(0 < ratio < math.inf for ratio in ratios):
        raise ValueError
    taken = answer.get("delegated")
    left = int(taken[1]) - int(taken[0]) if taken else None
    return Timings(wall, cpu, dropped, timing, beside, None, left, ratios)


class PipeRunner:
    """A runner process with its reference loaded.  Use as a context manager."""

    def __init__(self, command: Sequence[str], hello: Mapping[str, object], patience: float) -> None:
        """Start the process and say hello (see ``runner.py`` for the lines that go to and fro).

        Raises:
            ArchsearchError: what :meth:`refused` makes of a process that does not answer as it should.
        """
        self._command = list(command)
        self._hello = dict(hello)
        self._patience = patience
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the runner
        self._process: subprocess.Popen[bytes] | None = None
        try:
            answer = self._start()
            self.runtime, self.version = str(answer["runtime"]), str(answer["version"])
            self.quiet_ms = answer["reference_ns"] / 1e6
        except BaseException:
            self.close()
            raise

    def refused(self, words: str) -> ArchsearchError:
        """The error for a process that does not start."""
        return LatencyError("the runner does not start", where=self._command[0], got=words)

    def lost(self, code: int, words: str) -> None:
        """Raise if an ended process means that the device is gone."""

    def place(self, path: Path) -> dict[str, object]:
        """Bring a model to where the process finds it; what the job says of that."""
        return {"path": str(path)}

    def _start(self) -> dict[str, Any]:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._hello["threads"]), "TF_CPP_MIN_LOG_LEVEL": "2"}
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment
            )
            return self.ask(self._hello, self._patience)
        except OpFailedError as error:
            raise self.refused(str(error)) from error
        except OSError as error:
            raise self.refused(error.strerror or str(error)) from error

    def time(
        self,
        path: Path,
        *,
        max_seconds: float = MAX_SECONDS,
        precision: float = PRECISION,
        extra: Mapping[str, object] | None = None,
    ) -> Timings:
        """Time one model; ``extra`` are further entries of the job (see ``runner.py``).

        Raises:
            OpFailedError: the runtime refused or crashed on it, or hung.
            DeviceLostError: the device is gone.
        """
        if self._process is None:
            self._start()
        job = {"id": path.name, **self.place(path), "warmup": WARMUP_RUNS, "min_runs": MIN_RUNS,
               "max_seconds": max_seconds, "precision": precision, **(extra or {})}  # fmt: skip
        answer = self.ask(job, max_seconds * 3 + self._patience)
        try:
            return timings_of(answer)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            raise OpFailedError(f"not an answer of the runner: {json.dumps(answer)[:200]}") from error

    def ask(self, job: Mapping[str, object], patience: float) -> dict[str, Any]:
        """Send one line and wait for the line that answers it.

        Raises:
            OpFailedError: the answer is an error, or none comes; the next job starts another process.
            DeviceLostError: the device is gone.
        """
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
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._stop()
            raise OpFailedError(f"not an answer of the runner: {line[:200].decode('utf-8', 'replace').strip()}")
        if "error" in answer:
            raise OpFailedError(str(answer["error"]))
        return answer

    def _ending(self) -> str:
        """Bury a process that ended by itself; its code and last words."""
        assert self._process is not None
        code = self._process.wait()
        self._stop()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        words = lines[-1][:300] if lines else "no output"
        self.lost(code, words)
        return f"the runner ended with code {code}: {words}"

    def _stop(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the process."""
        self._stop()
        self._log.close()

    def __enter__(self) -> PipeRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
