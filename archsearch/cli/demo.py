"""``archsearch demo``: the whole story on embedded defaults, from counts to a page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from archsearch.cost.block import Workload
    from archsearch.search.study import Study
    from archsearch.search.trial import Trial
    from archsearch.space import Space

EPILOG = """Examples:

  archsearch demo

  archsearch demo --train-seconds 300 --trials 600 -o reports/long

The same command again continues where it stopped; --fresh starts over.
"""
PRESETS = ("sd15", "bk-sdm-tiny", "snapfusion", "mobilediffusion")
MARK = "demo.json"
BATCH = 16
DEFAULT_OUTPUT = Path("reports/demo")
TABLE, QUALITY, STUDY = "this-host", "supernet", "demo"


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where everything is written.")
    ] = DEFAULT_OUTPUT,
    train_seconds: Annotated[int, typer.Option(metavar="N", help="Seconds of robust training.")] = 120,
    trials: Annotated[int, typer.Option(metavar="N", help="Trials of the search.")] = 96,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of training and search.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an earlier demo in the same folder.")] = False,
) -> None:
    """Count, measure, train, search and report, on a space that a laptop can do in minutes."""
    from archsearch.cli.common import emit, note
    from archsearch.space import load_space

    began = time.monotonic()
    _claim(output, fresh)
    space = load_space("demo")
    with _step(1, "Count: what the published UNets cost"):
        _show_presets()
    with _step(2, f"Space: {space.size():,} small UNets in the space 'demo'"):
        _show_space(space)
    with _step(3, "Measure: every operator and block of the space on this machine"):
        table = _measure(space, output / TABLE)
    with _step(4, f"Train: one supernet for all of them, blocks dropped at random, {train_seconds} s"):
        _train(space, output / QUALITY, train_seconds, seed)
    with _step(5, f"Search: {trials} candidates by NSGA-II on parameters, latency and validation loss"):
        study = _search(table, output, trials, seed)
    with _step(6, "Report"):
        from archsearch.report.study_page import study_page

        page = study_page(study, output / "index.html")
        note(f"  wrote {page}")
    emit(_conclusion(study, space, page, time.monotonic() - began))


@contextmanager
def _step(number: int, title: str) -> Iterator[None]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(f"\n[bold]{number}/6  {title}[/bold]")
    start = time.monotonic()
    yield
    console.print(f"  [dim]({time.monotonic() - start:.0f} s)[/dim]")


def _claim(output: Path, fresh: bool) -> None:
    """Own the folder: nothing that a demo did not write is ever deleted."""
    import json
    import shutil

    from archsearch import __version__
    from archsearch.errors import ArchsearchError

    try:
        if output.is_dir() and any(output.iterdir()) and not (output / MARK).is_file():
            raise ArchsearchError(
                "the folder holds something that no demo wrote", where=str(output), next_step="give another with -o"
            )
        if fresh:
            for part in (TABLE, QUALITY, STUDY):
                shutil.rmtree(output / part, ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
        mark = {"schema": "archsearch.demo/1", "archsearch": __version__}
        (output / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
    except OSError as error:
        raise ArchsearchError(f"cannot write here ({error.strerror})", where=str(output)) from error


def _show_presets() -> None:
    from archsearch.arch import load_preset
    from archsearch.cli.common import note
    from archsearch.cost import count

    for name in PRESETS:
        preset = load_preset(name)
        t = count(preset.architecture)
        about = "" if preset.exact else "  (approximate: the paper leaves choices open)"
        note(
            f"  {preset.title:34s} {t.params / 1e6:7.1f} M parameters {t.macs / 1e9:7.1f} GMACs "
            f"{t.peak_activation_bytes / 2**20:6.0f} MiB at the peak{about}"
        )


def _show_space(space: Space) -> None:
    from archsearch.cli.common import note

    note(f"  {space.title}")
    note(f"  {len(space.decisions)} decisions: {', '.join(decision.name for decision in space.decisions)}")


def _measure(space: Space, folder: Path) -> Path:
    from archsearch.cli.common import note
    from archsearch.errors import LatencyError
    from archsearch.latency.measure import measure
    from archsearch.latency.table import load_table

    ops: list[Workload] = [*space.distinct_ops().values(), *space.distinct_blocks().values()]
    words = "The operators and blocks of the demo space, measured by `archsearch demo`."
    done = measure(ops, folder, max_seconds=2.0, description=words)
    table = load_table(folder)
    if len(table.rows) == 0:
        raise LatencyError("no operator could be measured", where=str(folder), got=f"{len(done.failed)} failures")
    note(f"  {len(table.rows)} of {len(ops)} operators and blocks in the table: {table.configuration}")
    for key, reason in done.failed.items():
        note(f"  not measured: {key}: {reason}")
    return folder


def _train(space: Space, folder: Path, seconds: int, seed: int) -> None:
    from archsearch.quality.config import TrainConfig
    from archsearch.quality.train import train

    train(space, TrainConfig(seconds=seconds, seed=seed, batch=BATCH), folder)


def _search(table: Path, output: Path, trials: int, seed: int) -> Study:
    from archsearch.cli.search_progress import search_progress
    from archsearch.search.run import run_study
    from archsearch.search.setup import Request, domain_of, prepare, start

    prepared = prepare(
        Request(
            space="demo",
            objectives=("params", f"latency:{table}", "quality"),
            tables=(str(table),),
            trials=trials,
            seed=seed,
            quality=output / QUALITY,
        )
    )
    study = start(output / STUDY, prepared)
    with search_progress(study) as on_progress:
        return run_study(study, domain_of(study), study.space.decode, prepared.evaluator, on_progress)


def _conclusion(study: Study, space: Space, page: Path, seconds: float) -> str:
    """What was found, what it means, and where the page is."""
    from archsearch.arch import diff
    from archsearch.search.front import front, knee

    names = study.config.objectives
    members = front(study.trials, names)
    chosen = knee(members, names)
    lines = [f"What was found ({len(study.trials)} trials, {seconds / 60:.1f} minutes)"]
    if chosen is None:
        return "\n".join([*lines, "  no feasible candidate", f"Page: {page.resolve()}"])
    base = study.trials[0]
    lines.append(f"  {len(members)} candidates are on the Pareto front of {', '.join(_label(name) for name in names)}.")
    lines.append(f"  The knee of the front is trial {chosen.number}, against the space's largest baseline (trial 0):")
    lines += [f"    {line}" for line in _against(study, base, chosen)]
    changes = diff(space.decode(base.encoding), space.decode(chosen.encoding))
    lines.append("  It differs from the baseline in:")
    lines += [f"    {change}" for change in changes.changes[:8]]
    lines += [
        "What it means",
        "  Latencies are sums of operators measured on this machine; they say nothing about a phone.",
        "  The loss is a briefly trained supernet's estimate on toy captions, not image quality.",
        "  For your own space and device it is the same four commands:",
        "  archsearch latency measure, quality train, search run, report.",
        f"Page: {page.resolve()}",
    ]
    return "\n".join(lines)


def _label(name: str) -> str:
    quantity, _, _ = name.partition(":")
    return {"params": "parameters", "latency": "latency", "quality": "validation loss"}.get(quantity, quantity)


def _against(study: Study, base: Trial, chosen: Trial) -> list[str]:
    from archsearch.quality.score import Scorer, paired_difference

    lines = []
    names = study.config.objectives
    for name in names:
        before, after = base.values[name], chosen.values[name]
        if before is None or after is None:
            continue
        if name == "quality":
            scorer = Scorer(study.folder.parent / QUALITY)
            scores = (scorer.validation_loss(study.space.decode(trial.encoding)) for trial in (chosen, base))
            difference = paired_difference(*scores)
            lines.append(
                f"{'validation loss':16s} {before:.5f} -> {after:.5f} "
                f"({difference.value:+.5f} with a standard error of {difference.standard_error:.5f})"
            )
        elif name == "params":
            lines.append(f"{'parameters':16s} {before / 1e6:.3f} M -> {after / 1e6:.3f} M ({after / before - 1:+.0%})")
        else:
            lines.append(f"{'latency':16s} {before:.2f} ms -> {after:.2f} ms ({after / before - 1:+.0%})")
    return lines
