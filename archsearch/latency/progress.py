"""Progress of measuring, on stderr: bars on a terminal, one line a phase elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Task:
    """One phase: so many steps, of which some are done."""

    def __init__(self, bars: Any, name: str, total: int) -> None:
        self._bars = bars
        self._name = name
        self._id = bars.add_task(name, total=total, now="") if bars else None

    def advance(self, steps: int) -> None:
        """Some steps are done."""
        if self._bars:
            self._bars.advance(self._id, steps)

    def show(self, text: str) -> None:
        """What is being worked on."""
        if self._bars:
            self._bars.update(self._id, now=text[:60])


class Progress:
    """A context in which phases are shown; silent when not wanted."""

    def __init__(self, wanted: bool = True) -> None:
        self._wanted = wanted
        self._bars: Any = None

    def __enter__(self) -> Progress:
        if self._wanted and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bars = Bars(*columns, TextColumn("{task.fields[now]}", markup=False), console=Console(stderr=True))
            self._bars.start()
        return self

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """A phase of ``total`` steps."""
        start = time.monotonic()
        yield Task(self._bars, name, total)
        if self._wanted and not self._bars:
            sys.stderr.write(f"{name} {total} operators took {time.monotonic() - start:.1f} s\n")

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()
