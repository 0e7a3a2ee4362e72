"""A board that is reached by ssh: ``runner.py`` is copied there and driven through the plain ``ssh`` client.

Files are sent through ``ssh ... 'cat > FILE'``, so that one program does it all.  The far end's shell sees words of
our own only, quoted; user, host and port were checked when the device string was read.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archsearch.errors import ArchsearchError, LatencyError
from archsearch.latency.host import PACKAGES, RUNNER, head_from, hello_of, missing_runtime
from archsearch.latency.pipe import PipeRunner
from archsearch.latency.targets import (
    DELEGATES_IN_PYTHON,
    PRECISIONS_IN_PYTHON,
    DeviceLostError,
    Setup,
    allow,
)

CONNECTION_FAILED = 255  # ssh's own exit code; anything else is that of the far command
OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15",
           "-o", "ServerAliveCountMax=4")  # fmt: skip
_HINTS = (
    ("Host key verification failed", "connect once by hand (`ssh USER@HOST`) and accept its key"),
    ("Permission denied", "set up a key: `ssh-copy-id USER@HOST`"),
    ("Could not resolve hostname", "is the name right, and are both in one network?"),
    ("Connection refused", "is an ssh server running there?"),
)
_RESUME = "finished rows are kept; the same command continues"


class SshDevice:
    """A board that answers, with the runner on it."""

    def __init__(self, setup: Setup) -> None:
        """Copy the runner to a new folder of the board.

        Raises:
            LatencyError: no ssh, no connection, no such Python there; a delegate or precision that the runtimes'
                Python interface does not have.
            MissingExtraError: that Python lacks the runtime.
        """
        allow("delegate", setup.delegate, DELEGATES_IN_PYTHON, "a board over ssh")
        allow("precision", setup.precision, PRECISIONS_IN_PYTHON, "a board over ssh")
        self.setup = setup
        self.python = setup.tools.python or "python3"
        self._sockets = tempfile.mkdtemp(prefix="archsearch-ssh-")
        self.folder = f"/tmp/archsearch-{secrets.token_hex(8)}"  # noqa: S108 - at the far end, made with mode 700
        try:
            made = self.run(["mkdir", "-m", "700", self.folder])
            if made.returncode:
                raise self.error(made, "the board refuses a folder")
            self.send(RUNNER, "runner.py")
            self._told = self._ask()
        except BaseException:
            self.close()
            raise

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs some words at the far end; further connections share the first one's."""
        target = self.setup.target
        shared = ("-o", "ControlMaster=auto", "-o", f"ControlPath={self._sockets}/%C", "-o", "ControlPersist=60")
        return [self.setup.tools.ssh, *OPTIONS, *shared, "-p", str(target.port), "-l", target.user, "--",
                target.host, shlex.join(words)]  # fmt: skip

    def run(self, words: Sequence[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run some words at the far end.

        Raises:
            LatencyError: no ssh, or no answer in time.
        """
        command = self.command(words)
        patience = self.setup.tools.patience_seconds + len(data) / 1e6  # at least 1 MB/s
        try:
            return subprocess.run(command, input=data, capture_output=True, timeout=patience, check=False)
        except subprocess.TimeoutExpired as error:
            raise DeviceLostError("the board does not answer", where=str(self.setup.target), got=f"{patience:.0f} s",
                                  next_step=_RESUME) from error  # fmt: skip
        except OSError as error:
            raise LatencyError(f"ssh cannot be run ({error.strerror})", where=command[0],
                               next_step="install an ssh client, or give --ssh") from error  # fmt: skip

    def error(self, done: subprocess.CompletedProcess[bytes], what: str) -> LatencyError:
        """The error for a far command that failed."""
        words = done.stderr.decode("utf-8", "replace")
        last = (words.strip().splitlines() or ["no output"])[-1][:300]
        if done.returncode == CONNECTION_FAILED:
            return self.lost(words)
        if "No space left" in words:
            return LatencyError("the board's storage is full", where=str(self.setup.target), got=last,
                                next_step=f"free some of /tmp there; {_RESUME}")  # fmt: skip
        return LatencyError(what, where=str(self.setup.target), got=last)

    def lost(self, words: str) -> DeviceLostError:
        """The error for a connection that cannot be made or broke."""
        last = (words.strip().splitlines() or ["no output"])[-1][:300]
        hint = next((then for text, then in _HINTS if text in words), "")
        return DeviceLostError("no connection to the board", where=str(self.setup.target), got=last,
                               next_step=f"{hint}; {_RESUME}" if hint else _RESUME)  # fmt: skip

    def send(self, path: Path, name: str) -> str:
        """Copy a file into the folder; returns where it lies then.

        Raises:
            LatencyError: no connection, no space.
        """
        place = f"{self.folder}/{name}"
        done = self.run(["sh", "-c", 'cat > "$1"', "sh", place], path.read_bytes())
        if done.returncode:
            raise self.error(done, "a file could not be copied")
        return place

    def _ask(self) -> dict[str, Any]:
        """What the board tells about itself."""
        import json

        runtime = self.setup.runtime
        job = json.dumps({"describe": True, "runtime": PACKAGES[runtime]}).encode() + b"\n"
        done = self.run([self.python, "-u", f"{self.folder}/runner.py"], job)
        if done.returncode == CONNECTION_FAILED:
            raise self.lost(done.stderr.decode("utf-8", "replace"))
        try:
            told = json.loads(done.stdout)
        except ValueError:
            raise self.no_python(done.stderr.decode("utf-8", "replace")) from None
        if not isinstance(told, dict) or "error" in told:
            words = str(told["error"] if isinstance(told, dict) else told)
            raise self.refusal(words)
        return told

    def refusal(self, words: str) -> ArchsearchError:
        """The error for a runner that cannot start."""
        if missing_runtime(words, self.setup.runtime):
            install = f"{self.python} -m pip install {PACKAGES[self.setup.runtime]} numpy"
            return LatencyError("the board's Python lacks the runtime or numpy", where=str(self.setup.target),
                                got=words, next_step=f"there: {install}; or give --remote-python")  # fmt: skip
        return LatencyError("the runner does not start", where=str(self.setup.target), got=words)

    def no_python(self, words: str) -> ArchsearchError:
        """The error for a runner that did not answer in JSON."""
        last = (words.strip().splitlines() or ["no output"])[-1][:300]
        if "Error" in last:
            return self.refusal(last)
        return LatencyError("this Python does not run on the board", where="--remote-python", got=last,
                            next_step="give the path of one that has numpy and the runtime")  # fmt: skip

    def describe(self) -> dict[str, object]:
        """The fields of ``table.yaml`` that the board decides."""
        return head_from(self.setup, self._told, "board")

    def state(self) -> dict[str, str]:
        """Battery and temperature, where the board has them."""
        told = self._ask()
        return {name: str(told.get(name, "")) for name in ("battery", "thermal")}

    def start(self, reference: Path, quiet_ms: float | None) -> SshRunner:
        """A runner at the far end."""
        return SshRunner(self, reference, quiet_ms)

    def close(self) -> None:
        """Remove the folder, if the board is still there."""
        with contextlib.suppress(LatencyError):
            self.run(["rm", "-rf", self.folder])
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            close = [*self.command(["true"])[:-3], "-O", "exit", "--", self.setup.target.host]
            subprocess.run(close, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        shutil.rmtree(self._sockets, ignore_errors=True)


class SshRunner(PipeRunner):
    """The runner at the far end of a connection."""

    def __init__(self, device: SshDevice, reference: Path, quiet_ms: float | None) -> None:
        """Send the reference and start.

        Raises:
            DeviceLostError: no connection.
            LatencyError: the runner does not start.
        """
        self._device = device
        setup = device.setup
        hello = {**hello_of(setup.runtime, setup.delegate, setup.threads, setup.cpus, quiet_ms),
                 "reference": device.send(reference, "reference.tflite")}  # fmt: skip
        words = ["env", f"OMP_NUM_THREADS={setup.threads}", "TF_CPP_MIN_LOG_LEVEL=2",
                 device.python, "-u", f"{device.folder}/runner.py"]  # fmt: skip
        super().__init__(device.command(words), hello, setup.tools.patience_seconds)

    def refused(self, words: str) -> ArchsearchError:
        """A missing runtime, or a runner that does not start for another reason."""
        return self._device.refusal(words)

    def lost(self, code: int, words: str) -> None:
        """Ssh's own exit code means that the connection broke."""
        if code == CONNECTION_FAILED:
            raise self._device.lost(words)

    def place(self, path: Path) -> dict[str, object]:
        """Send a model, which the runner removes when it has loaded it."""
        return {"path": self._device.send(path, "model.tflite"), "remove": True}
