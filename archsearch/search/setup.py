"""From the words of the command line to a study: resolves spaces, tables and quality runs, and checks what is asked."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.errors import SearchError, unknown_name
from archsearch.search.config import STRATEGIES, QualityRef, SpaceRef, StudyConfig, TableRef
from archsearch.search.encoding import SpaceDomain
from archsearch.search.evaluate import Evaluator, QualityScore
from archsearch.search.objectives import (
    Constraint,
    Objective,
    Range,
    check_reachable,
    default_objectives,
    distinct,
    parse_constraint,
    parse_objective,
    table_refs,
)
from archsearch.search.study import (
    STUDY,
    Study,
    check_same,
    check_versions,
    create_study,
    extend,
    open_study,
    table_hash,
)

if TYPE_CHECKING:
    from archsearch.arch import Architecture
    from archsearch.latency.table import LatencyTable
    from archsearch.space import Space

POPULATION = 32
SAMPLES = 2000
SPACE_COSTS = {"memory": "peak_activation_bytes", "size": "weight_bytes"}  # the names that spaces use
MAX_TRIALS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for, in their words."""

    space: str
    objectives: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    strategy: str = "nsga2"
    trials: int = 200
    seed: int = 0
    population: int = POPULATION
    quality: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A request that can be met: the frozen configuration, and what it takes to evaluate candidates.

    ``ranges`` holds least, median and largest value of every cost over the space.
    """

    config: StudyConfig
    space: Space
    tables: tuple[LatencyTable, ...]
    evaluator: Evaluator
    ranges: Mapping[str, Range]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives."""
        return tuple(parse_objective(name, [t.name for t in self.tables]) for name in self.config.objectives)


def prepare(request: Request) -> Prepared:
    """Resolve and check a request before anything is written.

    Raises:
        ArchsearchError: unknown names, malformed or unreachable constraints.
    """
    from archsearch.space import load_space

    _check_numbers(request)
    space = load_space(request.space)
    tables, names = load_tables(request.tables, table_refs(request.objectives, request.constraints))
    quality = open_quality(request.quality) if request.quality else None
    objectives = tuple(parse_objective(text, names) for text in request.objectives)
    objectives = distinct(objectives or default_objectives([t.name for t in tables], quality is not None))
    constraints = tuple(dict.fromkeys(parse_constraint(text, names) for text in request.constraints))
    for used in (*objectives, *(c.objective for c in constraints)):
        if used.quantity == "quality" and quality is None:
            raise SearchError("quality needs a trained supernet", where="--objective quality",
                              next_step="train one: `archsearch quality train`; give it with --quality")  # fmt: skip
    reference = space.decode(SpaceDomain(space).baseline)
    evaluator = Evaluator(space.conditions, tables, quality.scorer(reference) if quality else None)
    baseline = evaluator(reference).values
    ranges = cost_ranges(space, tables)
    check_reachable(constraints, ranges, baseline)
    bounds = {c.text: c.bound(baseline) for c in constraints}
    check_together(space, tables, constraints, bounds)
    config = StudyConfig(
        space=SpaceRef(name=space.name, sha256=hashlib.sha256(space.path.read_bytes()).hexdigest(), size=space.size()),
        conditions=conditions_json(space),
        objectives=tuple(o.name for o in objectives),
        constraints=tuple(c.text for c in constraints),
        bounds=bounds,
        baseline=baseline,
        tables=tuple(_table_ref(i, table) for i, table in enumerate(tables)),
        quality=quality.ref if quality else None,
        strategy=request.strategy,
        population=request.population,
        seed=request.seed,
        trials=request.trials,
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Prepared(config, space, tables, evaluator, ranges)


def start(folder: Path, prepared: Prepared) -> Study:
    """Create the study, or open the one that the same request began; its budget grows if more trials are asked for.

    Raises:
        SearchError: the folder holds something else, or a study of another configuration or version.
    """
    if not os.path.exists(folder / STUDY):  # noqa: PTH110  (False where a path cannot be looked at; writing says why)
        sources = [table.folder for table in prepared.tables]
        assert all(source is not None for source in sources)
        content = prepared.space.path.read_bytes()
        return create_study(folder, prepared.config, content, [source for source in sources if source is not None])
    study = open_study(folder)
    check_same(study, prepared.config)
    check_versions(study, prepared.config.versions)
    return extend(study, prepared.config.trials)


def evaluator_of(study: Study, quality_run: Path | None = None) -> Evaluator:
    """The evaluator of an existing study, from the space and tables that it keeps.

    Raises:
        SearchError: the quality run is gone, or is another one than the study began with.
    """
    ref = study.config.quality
    if ref is None:
        if quality_run is not None:
            raise SearchError("the study was started without a quality run", where=str(study.folder), got=quality_run)
        return Evaluator(study.conditions, study.tables)
    run = open_quality(quality_run or Path(ref.run))
    if run.ref.sha256 != ref.sha256:
        raise SearchError("another quality run than the study began with", where=str(run.ref.run),
                          got=run.ref.sha256, allowed=ref.sha256,
                          next_step="give the original run with --quality")  # fmt: skip
    reference = study.space.decode(SpaceDomain(study.space).baseline)
    return Evaluator(study.conditions, study.tables, run.scorer(reference))


@dataclass(frozen=True)
class QualityRun:
    """An opened quality run.  ``scorer`` takes the baseline against which differences are judged."""

    ref: QualityRef
    scorer: Callable[[Architecture], Callable[[Architecture], QualityScore]]


def open_quality(run: Path) -> QualityRun:
    """Open a quality run for scoring.

    Raises:
        QualityError: not a finished run.
    """
    from archsearch.quality.score import Scorer, paired_difference

    opened = Scorer(run)

    def scorer(baseline: Architecture) -> Callable[[Architecture], QualityScore]:
        def score(arch: Architecture) -> QualityScore:
            found = opened.validation_loss(arch)
            difference = paired_difference(found, opened.validation_loss(baseline))
            return QualityScore(found.value, found.standard_error, difference.standard_error)

        return score

    return QualityRun(QualityRef(run=str(run.resolve()), sha256=opened.sha256, description=opened.description), scorer)


def load_tables(refs: Sequence[str], mentioned: Sequence[str] = ()) -> tuple[tuple[LatencyTable, ...], dict[str, str]]:
    """Tables by name or folder, each once, and what was written for them -> their names.

    Args:
        refs: names and folders.
        mentioned: names and folders too; a name that one of ``refs`` has means that table.

    Raises:
        LatencyError: no such table.
        SearchError: two tables of one name.
    """
    from archsearch.latency.table import load_table, table_folder

    tables: dict[str, LatencyTable] = {}
    folders: dict[str, Path] = {}
    names: dict[str, str] = {}
    for ref in dict.fromkeys((*refs, *mentioned)):
        if ref in names and ref not in refs:
            continue
        folder = table_folder(ref).resolve()
        table = load_table(ref)
        if folders.setdefault(table.name, folder) != folder:
            raise SearchError("two tables of the same name", where=f"--table {ref}", got=table.name)
        tables.setdefault(table.name, table)
        names[ref] = names[table.name] = table.name
    return tuple(tables.values()), names


def versions() -> dict[str, str]:
    """Versions of what decides over trials, and of Python."""
    import platform

    found = {"python": platform.python_version()}
    for name in ("archsearch", "optuna", "numpy", "moocore", "torch", "diffusers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def cost_ranges(space: Space, tables: tuple[LatencyTable, ...]) -> dict[str, Range]:
    """Least, median (of a uniform sample) and largest value of every cost over a space, by objective name."""
    found = space.statistics(tables={table.name: table for table in tables}, samples=SAMPLES)
    names = {objective: SPACE_COSTS.get(objective, objective) for objective in ("params", "macs", "memory", "size")}
    names |= {name: name for name in (f"latency:{table.name}" for table in tables)}
    return {name: Range(found[cost].low, found[cost].median, found[cost].high) for name, cost in names.items()}


def check_together(
    space: Space, tables: tuple[LatencyTable, ...], constraints: Sequence[Constraint], bounds: Mapping[str, float]
) -> None:
    """Refuse limits on costs that no architecture of the space meets together.

    Raises:
        SpaceError: names the constraint that cannot be met beside the others, and the nearest reachable value.
    """
    limits = cost_limits(constraints, bounds)
    if len(limits) > 1:
        space.sample(1, 0, limits, tables={table.name: table for table in tables})


def cost_limits(constraints: Sequence[Constraint], bounds: Mapping[str, float]) -> dict[str, float]:
    """Upper limits on costs, by the names that spaces use for them."""
    limits: dict[str, float] = {}
    for constraint in constraints:
        if constraint.objective.quantity != "quality":
            name = SPACE_COSTS.get(constraint.objective.name, constraint.objective.name)
            limits[name] = min(bounds[constraint.text], limits.get(name, math.inf))
    return limits


def domain_of(study: Study) -> SpaceDomain:
    """What strategies see of a study's space: first draws meet the study's limits on costs."""
    limits = cost_limits(study.constraints, study.config.bounds)
    return SpaceDomain(study.space, limits, {table.name: table for table in study.tables})


def conditions_json(space: Space) -> dict[str, object]:
    """The space's conditions as plain data."""
    from dataclasses import asdict

    return {**asdict(space.conditions), "latent": list(space.conditions.latent)}


def _table_ref(index: int, table: LatencyTable) -> TableRef:
    assert table.folder is not None
    return TableRef(
        name=table.name,
        sha256=table_hash(table.folder),
        folder=str(index),
        configuration=table.configuration,
        provenance=table.provenance,
        date=table.date,
    )


def _check_numbers(request: Request) -> None:
    if request.strategy not in STRATEGIES:
        raise SearchError(unknown_name("strategy", request.strategy, STRATEGIES), where="--strategy")
    check_trials(request.trials)
    for name, value, low, high in (
        ("--seed", request.seed, 0, 2**63 - 1),
        ("--population", request.population, 4, 10_000),
    ):
        if not low <= value <= high:
            raise SearchError("out of range", where=name, got=value, allowed=f"{low} to {high}")


def check_trials(trials: int) -> None:
    """Refuse a budget out of range.

    Raises:
        SearchError: below 1 or above a million.
    """
    if not 1 <= trials <= MAX_TRIALS:
        raise SearchError("out of range", where="--trials", got=trials, allowed=f"1 to {MAX_TRIALS}")
