"""The runtimes' Pythons: LiteRT lives in this one, tflite-runtime (CPython <= 3.11, numpy < 2) in one of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from archsearch.errors import LatencyError, MissingExtraError

TFLITE = "tflite-runtime"
PYTHON_VARIABLE = "ARCHSEARCH_TFLITE_PYTHON"
REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy<2")
NEWEST = (3, 11)  # the last CPython for which tflite-runtime was built


def python_of(runtime: str, chosen: str = "") -> str:
    """The interpreter that has the runtime: the one that was chosen, else this one or that of its environment.

    Raises:
        MissingExtraError: tflite-runtime's environment has not been made.
    """
    if chosen:
        return chosen
    if runtime != TFLITE:
        return sys.executable
    if os.environ.get(PYTHON_VARIABLE):
        return os.environ[PYTHON_VARIABLE]
    python = environment_folder() / "bin" / "python"
    if not is_ready(environment_folder()):
        raise MissingExtraError(
            "tflite-runtime has no environment yet", where=str(environment_folder()),
            next_step=f"archsearch latency runtime --install; or set {PYTHON_VARIABLE} to a Python that has it",
        )  # fmt: skip
    return str(python)


def command_of(python: str) -> list[str]:
    """The command line of the runner under a Python."""
    return [python, "-u", str(Path(__file__).with_name("runner.py"))]


def environment_folder() -> Path:
    """``.venvs/tflite-runtime`` in a checkout, else ``~/.cache/archsearch/tflite-runtime``."""
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file() and (root / "Makefile").is_file():
        return root / ".venvs" / TFLITE
    return Path.home() / ".cache" / "archsearch" / TFLITE


def is_ready(folder: Path) -> bool:
    """Whether the environment was finished."""
    return (folder / "bin" / "python").exists() and (folder / ".finished").is_file()


def install(folder: Path | None = None) -> Path:
    """Make the environment with ``python -m venv`` and pip; does nothing when it is there.  Returns its folder.

    Raises:
        LatencyError: no suitable Python, or pip cannot install it.
    """
    folder = folder or environment_folder()
    if is_ready(folder):
        return folder
    base = _base_python()
    try:
        _run([base, "-m", "venv", "--clear", str(folder)])
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
              *REQUIREMENTS])  # fmt: skip
        (folder / ".finished").write_text("\n".join(REQUIREMENTS) + "\n", encoding="utf-8")
    except OSError as error:
        raise LatencyError(f"the environment cannot be written ({error.strerror})", where=str(folder)) from error
    return folder


def _base_python() -> str:
    """A CPython of 3.8 to 3.11: this one, or what the path has."""
    if sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], 7, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    raise LatencyError("tflite-runtime needs CPython 3.11 or older", got=".".join(map(str, sys.version_info[:2])),
                       next_step=f"install python3.11, or set {PYTHON_VARIABLE}")  # fmt: skip


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        told = [line for line in words if not line.startswith(("WARNING", "[notice]"))] or words or ["no output"]
        raise LatencyError("tflite-runtime cannot be installed", where=" ".join(command[:3]), got=told[-1])
