"""What is measured on, and how: the device string, the set-up, and the seam that every device's runner fills."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Protocol

from archsearch.errors import LatencyError

MIN_RUNS = 5
WARMUP_RUNS = 3
PRECISION = 0.02
MAX_SECONDS = 10.0
FORMS = "host, adb:SERIAL, ssh:USER@HOST[:PORT]"
RUNTIMES = ("litert", "tflite-runtime")
PRECISIONS_IN_PYTHON = ("fp32", "fp16-weights", "int8")  # what the runtimes' Python interface can run
DELEGATES_IN_PYTHON = ("xnnpack", "none")

_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\[\]%-]{0,127}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]")
_PORT = re.compile(r"[0-9]{1,5}")
_CPUS = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*")


@dataclass(frozen=True)
class Target:
    """A device.  ``serial`` is adb's (empty: the only one that is attached); ``user``, ``host``, ``port`` are ssh's."""

    kind: Literal["host", "adb", "ssh"]
    serial: str = ""
    user: str = ""
    host: str = ""
    port: int = 22

    def __str__(self) -> str:
        if self.kind == "ssh":
            return f"ssh:{self.user}@{self.host}" + ("" if self.port == 22 else f":{self.port}")
        return "host" if self.kind == "host" else f"adb:{self.serial}"


def parse_target(text: str) -> Target:
    """``host``, ``adb:SERIAL`` or ``ssh:USER@HOST[:PORT]``.

    Raises:
        LatencyError: anything else, or a part with characters that no serial, user or host has.
    """
    kind, _, rest = text.partition(":")
    if text == "host":
        return Target("host")
    if kind == "adb":
        if rest and not _SERIAL.fullmatch(rest):
            raise LatencyError("not a serial number of adb", where="--device", got=text,
                               next_step="`adb devices` lists them")  # fmt: skip
        return Target("adb", serial=rest)
    if kind == "ssh":
        user, at, place = rest.partition("@")
        host, port = _split_port(place)
        good = at and _USER.fullmatch(user) and _HOST.fullmatch(host) and _PORT.fullmatch(port)
        if good and 0 < int(port) < 65536:
            return Target("ssh", user=user, host=host.strip("[]"), port=int(port))
        raise LatencyError("not a place to reach by ssh", where="--device", got=text, allowed="ssh:USER@HOST[:PORT]")
    raise LatencyError("unknown device", where="--device", got=text, allowed=FORMS)


def _split_port(place: str) -> tuple[str, str]:
    """Host and port; an IPv6 address stands in brackets."""
    head, colon, tail = place.rpartition(":")
    return (head, tail) if colon and "]" not in tail else (place, "22")


def parse_cpus(text: str) -> tuple[int, ...]:
    """Cores from ``7`` or ``0,4-7``; none from an empty text.

    Raises:
        LatencyError: anything else.
    """
    if not text:
        return ()
    if not _CPUS.fullmatch(text):
        raise LatencyError("not a list of cores", where="--cpus", got=text, allowed="as 7, 4-7 or 0,4-7")
    cores: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    if not cores or max(cores) > 1023:
        raise LatencyError("not a list of cores", where="--cpus", got=text, allowed="as 7, 4-7 or 0,4-7")
    return tuple(sorted(cores))


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Programs outside of this one, and how long they are waited for."""

    adb: str = field(default_factory=lambda: os.environ.get("ARCHSEARCH_ADB", "adb"))
    benchmark_model: str = field(default_factory=lambda: os.environ.get("ARCHSEARCH_BENCHMARK_MODEL", ""))
    ssh: str = field(default_factory=lambda: os.environ.get("ARCHSEARCH_SSH", "ssh"))
    python: str = ""  # of the runner; empty: this one, that of the runtime's own environment, or python3 over ssh
    patience_seconds: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One configuration to measure.  ``cpus`` are the cores it may use; none means all."""

    target: Target = Target("host")
    runtime: str = "litert"
    delegate: str = "xnnpack"
    precision: str = "fp32"
    threads: int = 1
    cpus: tuple[int, ...] = ()
    tools: Tools = field(default_factory=Tools)

    @property
    def affinity(self) -> str:
        """The cores in words; empty where none were chosen."""
        return f"cores {','.join(map(str, self.cpus))}" if self.cpus else ""


def allow(kind: str, got: str, allowed: tuple[str, ...], device: str) -> None:
    """Refuse what a device does not have.

    Raises:
        LatencyError: names what it has.
    """
    if got not in allowed:
        raise LatencyError(f"{device} does not have this {kind}", where=f"--{kind}", got=got,
                           allowed=", ".join(allowed))  # fmt: skip


class Summary(NamedTuple):
    """What a tool tells that keeps its runs to itself: quantiles in ns (which ones is the protocol's to say)."""

    low_ns: float
    median_ns: float
    high_ns: float
    runs: int


@dataclass(frozen=True)
class Timings:
    """Counted runs of one model, the reference operator beside them, and how they were chosen (see ``rows``).

    ``summary`` stands in for ``wall_ns`` and ``cpu_ns`` where a device gives quantiles only.  ``undelegated`` counts
    the nodes that no delegate took, where the device tells.  ``ratios`` are a block's times over those of its
    operators, round by round, where both were run in turns.
    """

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    dropped: int
    timing: str
    reference_ns: tuple[int, ...]
    summary: Summary | None = None
    undelegated: int | None = None
    ratios: tuple[float, ...] = ()


class OpFailedError(Exception):
    """One model could not be timed; the device goes on."""


class DeviceLostError(LatencyError):
    """The device is gone; finished rows are kept and the same command continues."""


class Runner(Protocol):
    """A device with the reference operator loaded, ready to time models.  Use as a context manager."""

    runtime: str
    version: str
    quiet_ms: float

    def time(self, path: Path, *, max_seconds: float = MAX_SECONDS, precision: float = PRECISION) -> Timings:
        """Time one model; runs repeat until the median is known to ``precision``, at most ``max_seconds``.

        Raises:
            OpFailedError: this model cannot be timed.
            DeviceLostError: nothing can.
        """

    def __enter__(self) -> Runner: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Device(Protocol):
    """A device that answers."""

    def describe(self) -> dict[str, object]:
        """The fields of ``table.yaml`` that the device decides."""

    def state(self) -> dict[str, str]:
        """Those of them that change while it works: battery and thermal state, where it tells."""

    def start(self, reference: Path, quiet_ms: float | None) -> Runner:
        """A runner; give the reference operator's model, and its quiet level where an earlier session has seen it."""

    def close(self) -> None:
        """Leave the device as it was found."""


def open_device(setup: Setup) -> Device:
    """Reach the device and check that it has what the set-up asks for.

    Raises:
        MissingExtraError: the runtime is not installed.
        LatencyError: an unreachable device; a runtime, delegate or precision that it does not have.
    """
    if setup.runtime not in RUNTIMES:
        raise LatencyError("unknown runtime", where="--runtime", got=setup.runtime, allowed=", ".join(RUNTIMES))
    if setup.target.kind == "adb":
        from archsearch.latency.phone import AdbDevice

        return AdbDevice(setup)
    if setup.target.kind == "ssh":
        from archsearch.latency.ssh import SshDevice

        return SshDevice(setup)
    from archsearch.latency.host import HostDevice

    return HostDevice(setup)
