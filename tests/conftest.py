"""Shared test helpers: required tools, command runs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def require(tool: str, *modules: str, binary: str | None = None) -> None:
    """Skip the calling module with the reason when ``tool`` is missing; fail when ARCHSEARCH_REQUIRE lists it.

    ARCHSEARCH_REQUIRE is a comma-separated list such as ``litert,chromium``.
    """
    if tool == "chromium":
        binary = "chromium"
        modules = ("playwright",)
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if binary is not None and shutil.which(binary) is None:
        missing.append(binary)
    if not missing:
        return
    reason = f"{tool} needs {', '.join(missing)}"
    if tool in os.environ.get("ARCHSEARCH_REQUIRE", "").split(","):
        pytest.fail(f"{reason}, and ARCHSEARCH_REQUIRE lists {tool}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def run_cli(*args: str, cwd: Path | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run ``archsearch`` in a fresh process."""
    return subprocess.run(
        [sys.executable, "-m", "archsearch.cli.main", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        check=False,
    )


def assert_one_line_error(result: subprocess.CompletedProcess[str]) -> str:
    """A wrong use exits with 2, prints one line on stderr and no traceback; returns the line."""
    assert result.returncode == 2, (result.returncode, result.stdout, result.stderr)
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert lines[0].startswith("error: "), lines[0]
    return lines[0]
