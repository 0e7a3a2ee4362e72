"""Progress of training on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Protocol

LINE_SECONDS = 20.0


class Progress(Protocol):
    """Told about every step."""

    def update(self, step: int, seconds: float, loss: float) -> None:
        """Steps done, seconds of training so far, smoothed loss."""
        ...


class Bar:
    """Steps, smoothed loss and time left; use as a context manager."""

    def __init__(self, title: str, steps: int | None, seconds: float | None) -> None:
        self._title = title
        self._steps = steps
        self._seconds = seconds
        self._bar: Any = None
        self._task: Any = None
        self._last_line = 0.0

    def __enter__(self) -> Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=1.0, detail="starting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, seconds: float, loss: float) -> None:
        """See :class:`Progress`."""
        done = max(
            step / self._steps if self._steps else 0.0,
            seconds / self._seconds if self._seconds else 0.0,
        )
        detail = f"step {step}{f'/{self._steps}' if self._steps else ''}, loss {loss:.4f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=min(done, 1.0), detail=detail)
        elif seconds - self._last_line >= LINE_SECONDS or done >= 1.0:
            self._last_line = seconds
            sys.stderr.write(f"{self._title}: {detail}, {seconds:.0f} s\n")
