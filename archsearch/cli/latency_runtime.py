"""``archsearch latency runtime``: which runtimes are here, and tflite-runtime's own environment."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """Examples:

  archsearch latency runtime

  archsearch latency runtime --install

  archsearch latency measure demo --table tables/old --runtime tflite-runtime

tflite-runtime needs CPython 3.11 or older and numpy below 2, hence an environment of its own: .venvs/tflite-runtime in
a checkout, else ~/.cache/archsearch/tflite-runtime. --install makes it with venv and pip, which downloads about 20 MB.
$ARCHSEARCH_TFLITE_PYTHON names another Python that has it.
"""


def runtime(
    install: Annotated[bool, typer.Option("--install", help="Make tflite-runtime's environment.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.latency_runtimes/1).")] = False,
) -> None:
    """Say which runtimes can measure on this machine; make the environment of the old one."""
    from archsearch.cli.common import emit, emit_json, note
    from archsearch.errors import ArchsearchError
    from archsearch.latency import runtimes
    from archsearch.latency.host import ask_once
    from archsearch.latency.targets import RUNTIMES, Setup

    if install:
        note(f"tflite-runtime is in {runtimes.install()}")
    found = []
    for name in RUNTIMES:
        try:
            python = runtimes.python_of(name)
            told = ask_once(runtimes.command_of(python), Setup(runtime=name))
            found.append({"runtime": name, "version": str(told["version"]), "python": python, "problem": ""})
        except ArchsearchError as error:
            found.append({"runtime": name, "version": "", "python": "", "problem": str(error)})
    if json_:
        emit_json({"schema": "archsearch.latency_runtimes/1", "runtimes": found})
        return
    emit("\n".join(f"{one['runtime']} {one['version'] or 'is not here: ' + one['problem']}  {one['python']}".rstrip()
                   for one in found))  # fmt: skip
