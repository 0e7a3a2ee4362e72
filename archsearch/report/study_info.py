"""What a study's page says, collected as values: front, candidates in full, words, warnings and provenance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.errors import ArchsearchError
from archsearch.report.candidate import Candidate, Change, Quality, candidate_info
from archsearch.report.figures_decisions import DecisionsInfo, decisions_info
from archsearch.report.figures_front import FrontInfo, HistoryInfo, front_info, history_info
from archsearch.report.numbers import change
from archsearch.report.provenance import Origin, provenance
from archsearch.search.evaluate import PAIRED
from archsearch.search.front import front, knee, spread
from archsearch.search.objectives import Objective
from archsearch.space.decisions import choice_text

if TYPE_CHECKING:
    from archsearch.latency.profile import Profile
    from archsearch.search.study import Study
    from archsearch.search.trial import Trial

MAX_CANDIDATES = 80


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a member: for people, as a number to sort by, its error or interval, and against the baseline."""

    text: str
    value: float | None
    error: str
    versus: str


@dataclass(frozen=True, slots=True)
class Member:
    """One front member.  ``full`` says whether the page explains it in full."""

    number: int
    arch_id: str
    cells: tuple[Cell, ...]
    full: bool


@dataclass(frozen=True, slots=True)
class StudyInfo:
    """A study's page as values."""

    name: str
    space: str
    created: str
    latest: str
    columns: tuple[Objective, ...]
    words: tuple[str, ...]
    warnings: tuple[str, ...]
    front: FrontInfo
    members: tuple[Member, ...]
    candidates: dict[int, Candidate]
    chosen: int | None
    decisions: DecisionsInfo | None
    history: HistoryInfo
    origins: tuple[Origin, ...]


def study_info(study: Study, max_candidates: int = MAX_CANDIDATES) -> StudyInfo:
    """Collect a study.  A candidate that can no longer be decoded or predicted is said so, never left out silently."""
    names = study.config.objectives
    members = front(study.trials, names)
    chosen = knee(members, names)
    warnings = _warnings(study, members)
    wanted = _evenly(members, chosen, max_candidates)
    candidates: dict[int, Candidate] = {}
    decisions = None
    try:
        explain = _explainer(study, chosen.number if chosen else None)
        candidates = {trial.number: explain(trial) for trial in wanted}
        decisions = decisions_info(study, members) if members else None
    except ArchsearchError as error:
        warnings.append(f"Candidates cannot be explained in full: {error}")
    columns = tuple(dict.fromkeys((*study.objectives, *(c.objective for c in study.constraints))))
    rows = tuple(
        Member(t.number, t.arch_id, tuple(_cell(study, o, t) for o in columns), t.number in candidates) for t in members
    )
    return StudyInfo(
        name=study.name,
        space=study.config.space.name,
        created=study.config.created,
        latest=study.trials[-1].finished if study.trials else "",
        columns=columns,
        words=tuple(_words(study, members, chosen)),
        warnings=tuple(warnings),
        front=front_info(study),
        members=rows,
        candidates=candidates,
        chosen=chosen.number if chosen else None,
        decisions=decisions,
        history=history_info(study),
        origins=provenance(study),
    )


def _evenly(members: list[Trial], chosen: Trial | None, limit: int) -> list[Trial]:
    """At most ``limit`` members, evenly along the front, the chosen one among them."""
    if len(members) <= limit:
        return members
    kept = {members[round(i * (len(members) - 1) / (limit - 2))].number for i in range(limit - 1)}
    if chosen is not None:
        kept.add(chosen.number)
    return [trial for trial in members if trial.number in kept]


def _explainer(study: Study, knee: int | None) -> Callable[[Trial], Candidate]:
    from archsearch.latency.profile import profile

    def profiled(trial: Trial) -> Profile:
        name = f"{study.name}#{trial.number}"
        return profile(name, study.architecture(trial.number), study.conditions, study.tables)

    base = profiled(study.trials[0]) if study.trials else None
    base_quality = _quality(study.trials[0]) if study.trials else None

    def explain(trial: Trial) -> Candidate:
        return candidate_info(
            f"Trial {trial.number}, the knee" if trial.number == knee else f"Trial {trial.number}",
            f"{study.folder}#{trial.number}",
            trial.arch_id,
            profiled(trial),
            base,
            _quality(trial),
            base_quality,
            _changes(study, trial),
        )

    return explain


def _quality(trial: Trial) -> Quality | None:
    value = trial.values.get("quality")
    if value is None:
        return None
    return Quality(value, trial.errors.get("quality", math.nan), trial.errors.get(PAIRED, math.nan))


def _changes(study: Study, trial: Trial) -> tuple[Change, ...]:
    """The decisions in which a trial differs from the baseline (trial 0)."""
    found = zip(study.space.decisions, study.trials[0].encoding, trial.encoding, strict=True)
    return tuple(
        Change(decision.name, decision.help, choice_text(decision.choices[a]), choice_text(decision.choices[b]))
        for decision, a, b in found
        if a != b
    )


def _cell(study: Study, objective: Objective, trial: Trial) -> Cell:
    value = trial.values.get(objective.name)
    base = study.config.baseline.get(objective.name)
    error = ""
    if objective.name in trial.intervals:
        low, high = trial.intervals[objective.name]
        error = f"{low:,.3f} to {high:,.3f}"
    elif objective.name in trial.errors:
        error = f"± {trial.errors[objective.name]:.5f}"
    versus = change(value, base) if value is not None and base is not None else ""
    return Cell(objective.show(value), value, error, versus)


def _words(study: Study, members: list[Trial], chosen: Trial | None) -> list[str]:
    config = study.config
    distinct = sum(trial.duplicate_of is None for trial in study.trials)
    words = [
        f"{len(study.trials):,} trials of {config.trials:,} tried {distinct:,} different candidates out of "
        f"{config.space.size:,} in space {config.space.name} ({config.strategy}, seed {config.seed}). "
        f"Minimised: {', '.join(o.label for o in study.objectives)}."
    ]
    if config.constraints:
        met = sum(trial.feasible for trial in study.trials if trial.duplicate_of is None)
        words.append(f"{met:,} of them meet {' and '.join(config.constraints)}.")
    if not members:
        return words
    best = spread(members, study.objectives)
    ends = "; ".join(f"{o.label} {o.show(t.values[o.name])} (trial {t.number})" for o, t in best)
    count = f"{len(members):,} of them are" if len(members) > 1 else "One of them is"
    words.append(f"{count} not beaten by any other in every objective: the Pareto front. Its best ends: {ends}.")
    if chosen is not None:
        figures = ", ".join(f"{o.label} {o.show(chosen.values[o.name])}" for o in study.objectives)
        words.append(
            f"Suggested choice: trial {chosen.number}, with {figures}. It is the knee of the front: the member nearest "
            "to the best value of every objective at once, each scaled to its range on the front."
        )
    return words


def _warnings(study: Study, members: list[Trial]) -> list[str]:
    found = []
    trials = study.trials
    names = study.config.objectives
    if not trials:
        found.append("The study has no finished trial yet.")
    elif len(trials) < study.config.trials and len({t.encoding for t in trials}) < study.config.space.size:
        found.append(f"The study is not finished: {len(trials):,} of {study.config.trials:,} trials.")
    if trials and not any(trial.feasible for trial in trials):
        found.append("No trial meets every constraint, so there is no front. Loosen a limit, or search longer.")
    unscored = sum(trial.vector(names) is None for trial in trials)
    if unscored:
        trials_have = f"{unscored:,} trials have" if unscored > 1 else "1 trial has"
        found.append(f"{trials_have} no number for an objective (a score was not finite), so no place on the front.")
    if len(names) == 1 and members:
        found.append("With one objective the front is a single best candidate (or candidates equal in it).")
    if "quality" not in names:
        found.append("No quality objective was searched for, so the front is simply the small end of the space.")
    return found
