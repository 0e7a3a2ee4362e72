"""``archsearch search``: run, resume, status, front."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.options import Tables

if TYPE_CHECKING:
    from archsearch.cli.columns import TableText
    from archsearch.search.objectives import Objective
    from archsearch.search.setup import Prepared
    from archsearch.search.study import Study
    from archsearch.search.trial import Trial

app = typer.Typer(
    help="Search a space for the Pareto front of quality, latency, size and memory.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RUN_EPILOG = """Objectives: params, macs, memory, size, latency:T (T is a latency table), quality. All are minimised.
Without --objective: params, latency on every --table (macs without one), and quality if --quality is given.

Constraints are upper limits: "params <= 400M", "memory <= 64MiB", "latency:T <= 12.5 ms", or relative to the
space's baseline: "latency:T <= 60%".

Examples:

  archsearch search run demo --study studies/demo --table host --quality runs/demo --trials 300

  archsearch search run demo --study studies/small --objective macs --objective memory --constraint "params <= 1.5M"

The same command again continues the study; trials that are finished are never lost.
"""
RESUME_EPILOG = """Examples:

  archsearch search resume studies/demo

  archsearch search resume studies/demo --trials 600
"""
STATUS_EPILOG = """Example:

  archsearch search status studies/demo --json
"""
FRONT_EPILOG = """Beside a validation loss stands its difference from the baseline's (trial 0) on the same images, with
the standard error of that difference. A difference within two of them is none that the score can see.

Examples:

  archsearch search front studies/demo

  archsearch search front studies/demo --json

  archsearch profile studies/demo#12
"""


class StrategyName(StrEnum):
    """How candidates are proposed."""

    nsga2 = "nsga2"
    random = "random"


StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QualityRun = Annotated[
    Path | None, typer.Option(metavar="RUN", help="A quality run: scores candidates by their validation loss.")
]
AnyVersion = Annotated[bool, typer.Option("--any-version", help="Continue although versions of software differ.")]


@app.command(epilog=RUN_EPILOG)
def run(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="A search space: name or YAML file.")],
    study: Annotated[Path, typer.Option(metavar="DIR", help="The study's folder; made if it does not exist.")],
    objective: Annotated[list[str] | None, typer.Option(metavar="NAME", help="What to minimise; repeatable.")] = None,
    constraint: Annotated[list[str] | None, typer.Option(metavar="EXPR", help="An upper limit; repeatable.")] = None,
    table: Tables = None,
    strategy: Annotated[StrategyName, typer.Option(help="How candidates are proposed.")] = StrategyName.nsga2,
    trials: Annotated[int, typer.Option(metavar="N", help="Trials in all, those of earlier runs included.")] = 200,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides over every trial.")] = 0,
    population: Annotated[int, typer.Option(metavar="N", help="Candidates in a generation of nsga2.")] = 32,
    quality: QualityRun = None,
    json_: JsonOption = False,
) -> None:
    """Search a space; every finished trial is on disk at once."""
    from archsearch.search.setup import Request, prepare, start

    prepared = prepare(
        Request(
            space=space,
            objectives=tuple(objective or ()),
            constraints=tuple(constraint or ()),
            tables=tuple(table or ()),
            strategy=strategy.value,
            trials=trials,
            seed=seed,
            population=population,
            quality=quality,
        )
    )
    opened = start(study, prepared)
    _announce(prepared)
    _run(opened, prepared.evaluator, json_)


@app.command(epilog=RESUME_EPILOG)
def resume(
    study: StudyArgument,
    trials: Annotated[int | None, typer.Option(metavar="N", help="Raise the number of trials to this.")] = None,
    quality: Annotated[Path | None, typer.Option(metavar="RUN", help="Where the study's quality run is now.")] = None,
    any_version: AnyVersion = False,
    json_: JsonOption = False,
) -> None:
    """Continue a study where it stopped, as if it had never stopped."""
    from archsearch.search.setup import check_trials, evaluator_of, versions
    from archsearch.search.study import check_versions, extend, open_study

    opened = open_study(study)
    if not any_version:
        check_versions(opened, versions())
    if trials is not None:
        check_trials(trials)
        opened = extend(opened, trials)
    _run(opened, evaluator_of(opened, quality), json_)


@app.command(epilog=STATUS_EPILOG)
def status(study: StudyArgument, json_: JsonOption = False) -> None:
    """How far a study is, what its front looks like, and how it came about."""
    from archsearch.search.study import open_study

    _show(open_study(study), json_)


@app.command(epilog=FRONT_EPILOG)
def front(study: StudyArgument, json_: JsonOption = False) -> None:
    """The Pareto front: the feasible candidates that no other beats in every objective."""
    from archsearch.cli.common import emit, emit_json, note
    from archsearch.search.front import front_json
    from archsearch.search.study import open_study

    opened = open_study(study)
    if json_:
        emit_json(front_json(opened))
        return
    table = front_table(opened)
    if not table.rows:
        note(empty_front(opened))
    emit(table.text())


def _announce(prepared: Prepared) -> None:
    from archsearch.cli.common import note
    from archsearch.search.objectives import Objective

    config = prepared.config
    note(f"space {config.space.name}: {config.space.size:,} candidates; trial 0 is its baseline")
    for objective in prepared.objectives:
        found = prepared.ranges.get(objective.name)
        base = objective.show(config.baseline.get(objective.name))
        if found is not None:
            low, median, high = (objective.show(value) for value in found)
            note(f"  {objective.label}: {low} to {high} over the space, median {median}; baseline {base}")
        else:
            note(f"  {objective.label}: baseline {base}")
    if Objective("quality") not in prepared.objectives:
        note(
            "warning: no quality objective, so the front will be the small end of the space; "
            "train a quality run (archsearch quality train) and give it with --quality RUN"
        )


def _run(study: Study, evaluator: Any, json_: bool) -> None:
    from archsearch.cli.common import note
    from archsearch.cli.search_progress import search_progress
    from archsearch.search.run import run_study
    from archsearch.search.setup import domain_of
    from archsearch.search.study import open_study

    before = len(study.trials)
    if before:
        note(f"continuing after {before} trials")
    try:
        with search_progress(study) as on_progress:
            study = run_study(study, domain_of(study), study.space.decode, evaluator, on_progress)
    except KeyboardInterrupt:
        done = len(open_study(study.folder).trials)
        note(f"stopped after {done} trials; continue with: archsearch search resume {study.folder}")
        raise typer.Exit(130) from None
    if len(study.trials) < study.config.trials:
        note(f"every candidate of the space is known after {len(study.trials)} trials")
    _show(study, json_)
    note(f"a page to look at: archsearch report {study.folder}")


def _show(study: Study, json_: bool) -> None:
    from archsearch.cli.common import emit, emit_json
    from archsearch.search.status import status_json, status_lines

    if json_:
        emit_json(status_json(study))
        return
    table = front_table(study)
    emit("\n".join([*status_lines(study), "", table.text() if table.rows else empty_front(study)]))


def front_table(study: Study) -> TableText:
    """The front as a table; the knee is marked."""
    from archsearch.cli.columns import TableText
    from archsearch.search.front import front as front_of
    from archsearch.search.front import knee

    names = [objective.name for objective in study.objectives]
    members = front_of(study.trials, names)
    chosen = knee(members, names)
    shown = shown_objectives(study)
    columns = [
        (objective.label, [objective.show(t.values.get(objective.name)) for t in members]) for objective in shown
    ]
    if "quality" in names:
        columns.append(("- baseline", [_difference(study, t) for t in members]))
    header = ("trial", *(label for label, _ in columns), "architecture", "")
    rows = [
        (str(t.number), *(cells[i] for _, cells in columns), t.arch_id, "knee" if t is chosen else "")
        for i, t in enumerate(members)
    ]
    numeric = frozenset(range(len(columns) + 1))
    return TableText(header, tuple(rows), None, numeric, f"Pareto front of {study.name}")


def _difference(study: Study, trial: Trial) -> str:
    """Validation loss minus the baseline's on the same images, with the standard error of that difference."""
    from archsearch.search.evaluate import PAIRED

    loss, base, error = trial.values.get("quality"), study.config.baseline.get("quality"), trial.errors.get(PAIRED)
    if loss is None or base is None or error is None:
        return "n/a"
    return f"{loss - base:+.5f} ± {error:.5f}"


def shown_objectives(study: Study) -> tuple[Objective, ...]:
    """The objectives, then whatever else is constrained."""
    return tuple(dict.fromkeys((*study.objectives, *(c.objective for c in study.constraints))))


def empty_front(study: Study) -> str:
    """Why there is no front, in words."""
    if not study.trials:
        return "no trial yet"
    if not any(trial.feasible for trial in study.trials):
        return f"none of {len(study.trials)} trials meets all constraints"
    return f"none of {len(study.trials)} trials has a number for every objective"
