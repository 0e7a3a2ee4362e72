"""A finished trial, and the append-only file that keeps trials: one JSON line each, safe against ``kill -9``."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from archsearch.errors import SearchError

TRIALS = "trials.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One evaluated candidate.

    Attributes:
        number: position in the study, from 0.
        encoding: the candidate's canonical encoding in the study's space.
        arch_id: identity of its architecture.
        values: quantity name -> value in the quantity's unit; None where a score is not a number.
        intervals: quantity name -> (low, high), for predicted latencies.
        errors: quantity name -> standard error, for quality scores.
        violations: constraint text -> fraction by which its bound is exceeded; <= 0 is met.
        duplicate_of: the earlier trial with the same encoding whose figures these are.
        seconds: time the evaluation took.
        finished: UTC time, ISO 8601.
    """

    number: int
    encoding: tuple[int, ...]
    arch_id: str
    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)
    duplicate_of: int | None = None
    seconds: float = 0.0
    finished: str = ""

    @property
    def feasible(self) -> bool:
        """Whether every constraint is met."""
        return all(v <= 0 for v in self.violations.values())

    def vector(self, names: Sequence[str]) -> tuple[float, ...] | None:
        """The values of the named objectives, or None when one of them is missing or not finite."""
        found = [self.values.get(name) for name in names]
        if any(v is None or not math.isfinite(v) for v in found):
            return None
        return tuple(float(v) for v in found if v is not None)


def trial_json(trial: Trial) -> dict[str, Any]:
    """Plain data of a trial; what is not finite becomes null."""
    return {
        "number": trial.number,
        "encoding": list(trial.encoding),
        "arch_id": trial.arch_id,
        "values": {name: finite_or_none(v) for name, v in trial.values.items()},
        "intervals": {name: list(pair) for name, pair in trial.intervals.items()},
        "errors": {name: finite_or_none(v) for name, v in trial.errors.items()},
        "violations": {name: finite_or_none(v) for name, v in trial.violations.items()},
        "duplicate_of": trial.duplicate_of,
        "seconds": round(trial.seconds, 6),
        "finished": trial.finished,
    }


def parse_trial(data: Any, where: str) -> Trial:
    """The inverse of :func:`trial_json`.

    Raises:
        SearchError: a field is missing or of another type.
    """
    try:
        return Trial(
            number=_int(data["number"]),
            encoding=tuple(_int(v) for v in data["encoding"]),
            arch_id=str(data["arch_id"]),
            values={str(k): None if v is None else _number(v) for k, v in data["values"].items()},
            intervals={str(k): (_number(v[0]), _number(v[1])) for k, v in data["intervals"].items()},
            errors={str(k): math.nan if v is None else _number(v) for k, v in data["errors"].items()},
            violations={str(k): math.inf if v is None else _number(v) for k, v in data["violations"].items()},
            duplicate_of=None if data["duplicate_of"] is None else _int(data["duplicate_of"]),
            seconds=float(_number(data["seconds"])),
            finished=str(data["finished"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SearchError(f"not a trial ({type(error).__name__}: {error})", where=where) from error


def finite_or_none(value: float | None) -> float | None:
    """The value if it is a number, as a file can hold it."""
    return value if value is not None and math.isfinite(value) else None


def _int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return value


def read_trials(path: Path) -> tuple[list[Trial], int]:
    """All finished trials and the number of bytes they take; a torn last line is left out.

    Raises:
        SearchError: the file cannot be read, or a line that is not the last is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise SearchError(f"cannot be read ({error.strerror})", where=str(path)) from error
    end = data.rfind(b"\n") + 1
    trials: list[Trial] = []
    for line, text in enumerate(data[:end].split(b"\n")[:-1], start=1):
        where = f"{path}:{line}"
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SearchError("a damaged line", where=where, next_step="restore the file from a copy") from error
        trial = parse_trial(plain, where)
        if trial.number != len(trials):
            raise SearchError("trials out of order", where=where, got=trial.number, allowed=len(trials))
        trials.append(trial)
    return trials, end


class TrialLog:
    """The trials file opened for appending by one process at a time.

    Opening takes an exclusive lock and cuts off a torn last line; every append is flushed to the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._size = 0

    def open(self) -> list[Trial]:
        """Lock, read and repair; returns the finished trials.

        Raises:
            SearchError: another process holds the study, or the file cannot be written or read.
        """
        import fcntl

        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SearchError(f"cannot be written ({error.strerror})", where=str(self.path)) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            trials, self._size = read_trials(self.path)
            os.ftruncate(fd, self._size)
        except BlockingIOError as error:
            os.close(fd)
            raise SearchError("another process is running this study", where=str(self.path.parent),
                              next_step="wait for it, or stop it") from error  # fmt: skip
        except OSError as error:
            os.close(fd)
            raise SearchError(f"cannot be locked or repaired ({error.strerror})", where=str(self.path)) from error
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return trials

    def append(self, trial: Trial) -> None:
        """Add one trial and wait until it is on the disk.

        Raises:
            SearchError: the disk is full or the file cannot be written; what was there stays readable.
        """
        assert self._fd >= 0, "the log is not open"
        line = json.dumps(trial_json(trial), separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise SearchError(f"cannot write the trial ({error.strerror})", where=str(self.path),
                              next_step="make room, then `archsearch search resume`") from error  # fmt: skip
        self._size += len(line)

    def close(self) -> None:
        """Release the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> TrialLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
