"""Progress of a search on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archsearch.search.run import Progress
    from archsearch.search.study import Study

LINES = 10


@contextmanager
def search_progress(study: Study) -> Iterator[Callable[[Progress], None]]:
    """A callback that shows trials, front size, hypervolume and time left."""
    if not sys.stderr.isatty():
        yield _lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("trials"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("front {task.fields[front]}  hypervolume {task.fields[volume]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=study.config.trials, completed=len(study.trials), front="-", volume="-")

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.trials, front=progress.front_size, volume=volume_text(progress))

        yield show


def _lines(progress: Progress) -> None:
    every = max(1, progress.budget // LINES)
    if progress.trials % every == 0 or progress.trials == progress.budget:
        sys.stderr.write(progress_line(progress) + "\n")


def volume_text(progress: Progress) -> str:
    """The hypervolume, once the first population has set its scale."""
    return f"{progress.hypervolume:.4f}" if progress.hypervolume else "-"


def progress_line(progress: Progress) -> str:
    """One line of progress."""
    text = (
        f"trial {progress.trials}/{progress.budget}, {progress.distinct} distinct, front {progress.front_size}, "
        f"hypervolume {volume_text(progress)}"
    )
    left = progress.seconds_left
    if left is not None and left >= 1:
        text += f", {time.strftime('%H:%M:%S' if left >= 3600 else '%M:%S', time.gmtime(left))} left"
    return text
