"""Studies of the toy space, written without a space file where the test does not need one."""

from __future__ import annotations

from pathlib import Path

from archsearch.search.config import SpaceRef, StudyConfig
from archsearch.search.evaluate import Evaluator
from archsearch.search.objectives import parse_constraint
from archsearch.search.run import run_study
from archsearch.search.setup import versions
from archsearch.search.study import Study, create_study
from tests.search.toy import CONDITIONS, Toy, loss

SPACE_FILE = b"toy: true\n"


def toy_config(
    trials: int = 40,
    seed: int = 7,
    strategy: str = "nsga2",
    population: int = 8,
    objectives: tuple[str, ...] = ("params", "macs", "quality"),
    constraints: tuple[str, ...] = (),
) -> StudyConfig:
    import hashlib

    toy = Toy()
    baseline = Evaluator(CONDITIONS, (), loss)(toy.decode(toy.baseline)).values
    parsed = [parse_constraint(text) for text in constraints]
    return StudyConfig(
        space=SpaceRef(name="toy", sha256=hashlib.sha256(SPACE_FILE).hexdigest(), size=toy.size()),
        conditions={"latent": list(CONDITIONS.latent), "text": CONDITIONS.text},
        objectives=objectives,
        constraints=tuple(c.text for c in parsed),
        bounds={c.text: c.bound(baseline) for c in parsed},
        baseline=baseline,
        tables=(),
        quality=None,
        strategy=strategy,
        population=population,
        seed=seed,
        trials=trials,
        versions=versions(),
        created="2026-01-02T03:04:05+00:00",
    )


def toy_study(folder: Path, **options) -> Study:
    return create_study(folder, toy_config(**options), SPACE_FILE, [])


def run_toy(study: Study, evaluator=None, **options) -> Study:
    toy = Toy()
    return run_study(study, toy, toy.decode, evaluator or Evaluator(CONDITIONS, (), loss), **options)


def content(trial):
    """A trial without its times."""
    return (trial.number, trial.encoding, trial.arch_id, dict(trial.values), dict(trial.errors),
            dict(trial.violations), trial.duplicate_of)  # fmt: skip
