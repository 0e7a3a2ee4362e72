"""The plain ``adb`` client: argument lists in, exit codes and output out, every failure of a phone told apart.

``adb shell`` joins its arguments with blanks for the phone's shell, hence every word is quoted here, and a marker with
the exit code ends each command: phones before Android 7 always report 0, and output without it was cut off.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from archsearch.errors import LatencyError
from archsearch.latency.targets import DeviceLostError

_MARK = "archsearch-exit:"
_END = re.compile(_MARK + r"(\d+)\s*\Z")
_RESUME = "finished rows are kept; connect it again and repeat the command"
_STATES = {
    "unauthorized": ("the phone has not authorised this computer", "unlock it and accept the question about debugging"),
    "authorizing": ("the phone has not authorised this computer", "unlock it and accept the question about debugging"),
    "offline": ("the phone is offline", "replug it, or `adb reconnect offline`"),
    "recovery": ("the phone is in recovery mode", "start Android on it"),
    "sideload": ("the phone is in recovery mode", "start Android on it"),
    "bootloader": ("the phone is in its bootloader", "start Android on it"),
    "no permissions": ("this user may not use the phone's USB device", "see developer.android.com/tools/device"),
}


class Answer(NamedTuple):
    """What a command on the phone gave: exit code, stdout and stderr together."""

    code: int
    output: str


class Adb:
    """One phone through one adb client."""

    def __init__(self, binary: str, serial: str, patience_seconds: float) -> None:
        """Find the phone.

        Raises:
            LatencyError: no adb; no such phone, or one that is not ready; several phones and no serial.
        """
        self._binary = binary
        self.patience_seconds = patience_seconds
        self.serial = serial
        self.serial = self._choose(serial)
        self._require_ready(LatencyError)

    def devices(self) -> dict[str, str]:
        """Serial numbers and states of what is attached."""
        done = self._call(["devices"])
        found = {}
        for line in done.stdout.splitlines():
            serial, _, state = line.strip().partition("\t")
            if state and not line.startswith(("*", "List of")):
                found[serial.strip()] = state.strip()
        return found

    def _choose(self, serial: str) -> str:
        attached = self.devices()
        listed = ", ".join(f"{name} ({state})" for name, state in sorted(attached.items())) or "none"
        if not serial:
            if len(attached) == 1:
                return next(iter(attached))
            what = "several phones are attached" if attached else "no phone is attached"
            raise LatencyError(what, where="--device", got="adb", allowed=listed, next_step="give adb:SERIAL")
        if serial not in attached:
            raise LatencyError("no phone of this serial number is attached", where="--device", got=serial,
                               allowed=listed, next_step="connect it with USB debugging on")  # fmt: skip
        return serial

    def state(self) -> str:
        """``device`` when the phone is ready, else what ``adb devices`` says of it; ``gone`` when it is not there."""
        return self.devices().get(self.serial, "gone")

    def _require_ready(self, error: type[LatencyError]) -> None:
        state = self.state()
        if state == "device":
            return
        what, then = "the phone is not attached any more", "replug it"
        for name, words in _STATES.items():
            if state.startswith(name):
                what, then = words
        if error is DeviceLostError:
            then = f"{then}; {_RESUME}"
        raise error(what, where=f"adb:{self.serial}", got=state, next_step=then)

    def lost(self, doing: str, words: str) -> DeviceLostError:
        """The error for a command that was cut off while the phone went away, or that no phone explains."""
        self._require_ready(DeviceLostError)
        return DeviceLostError(f"the connection broke {doing}", where=f"adb:{self.serial}", got=words or "no output",
                               next_step=_RESUME)  # fmt: skip

    def shell(self, words: Sequence[str], timeout: float | None = None) -> Answer:
        """Run one command on the phone, its words quoted.

        Raises:
            DeviceLostError: the phone went away.
            TimeoutError: no answer within ``timeout`` seconds from a phone that is still there.
        """
        return self.script(shlex.join(words), timeout)

    def script(self, text: str, timeout: float | None = None) -> Answer:
        """Run a line of the phone's shell; never made from input.

        Raises:
            DeviceLostError: the phone went away.
            TimeoutError: no answer within ``timeout`` seconds from a phone that is still there.
        """
        try:
            done = self._call(["-s", self.serial, "shell", f"( {text} ) 2>&1; echo {_MARK}$?"], timeout)
        except subprocess.TimeoutExpired:
            self._require_ready(DeviceLostError)
            raise TimeoutError(f"no answer within {timeout or self.patience_seconds:.0f} s") from None
        output = done.stdout.replace("\r\n", "\n")
        end = _END.search(output)
        if end is None:
            raise self.lost("while a command ran", _last(done.stderr or output))
        return Answer(int(end[1]), output[: end.start()])

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the phone.

        Raises:
            DeviceLostError: the phone went away.
            LatencyError: its storage is full, or the copy failed otherwise.
        """
        self._copy(["push", str(local.resolve()), remote], "while a file was copied to it", local.stat().st_size)

    def pull(self, remote: str, local: Path) -> bool:
        """Copy a file from the phone; False when there is none.

        Raises:
            DeviceLostError: the phone went away.
            LatencyError: the copy failed otherwise.
        """
        return self._copy(["pull", remote, str(local.resolve())], "while a result was copied from it", 0)

    def _copy(self, words: Sequence[str], doing: str, size: int) -> bool:
        patience = self.patience_seconds + size / 1e6  # at least 1 MB/s
        try:
            done = self._call(["-s", self.serial, *words], patience)
        except subprocess.TimeoutExpired:
            raise self.lost(doing, f"no answer within {patience:.0f} s") from None
        if done.returncode == 0:
            return True
        told = _last(f"{done.stdout}\n{done.stderr}")
        if self.state() != "device":
            raise self.lost(doing, told)
        if words[0] == "pull" and ("does not exist" in told or "No such file" in told):
            return False
        if "No space left" in told:
            raise LatencyError("the phone's storage is full", where=f"adb:{self.serial}", got=told,
                               next_step=f"free {size / 1e6:.0f} MB under /data; finished rows are kept, the same "
                               "command continues")  # fmt: skip
        if "error: closed" in told or "read from device" in told or "no response" in told or "reset" in told:
            raise self.lost(doing, told)
        raise LatencyError(f"the phone refuses a file ({words[0]})", where=f"adb:{self.serial}", got=told,
                           next_step="finished rows are kept; the same command continues")  # fmt: skip

    def _call(self, words: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        command = [self._binary, *words]
        try:
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                                  errors="replace", timeout=timeout or self.patience_seconds, check=False)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            if words == ["devices"]:
                raise DeviceLostError("adb does not answer", where=self._binary, got=str(error.timeout) + " s",
                                      next_step=f"`adb kill-server`, then {_RESUME}") from error  # fmt: skip
            raise
        except OSError as error:
            raise LatencyError(f"adb cannot be run ({error.strerror})", where=self._binary,
                               next_step="install it (Debian: apt-get install adb), or give --adb or $ARCHSEARCH_ADB",
                               ) from error  # fmt: skip


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
