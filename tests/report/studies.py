"""Real small studies of the demo space: exact counts, a table computed from a formula, a made-up loss."""

from __future__ import annotations

from pathlib import Path

from archsearch.arch import arch_id
from archsearch.cost import count
from archsearch.search.config import QualityRef
from archsearch.search.evaluate import QualityScore
from archsearch.search.run import run_study
from archsearch.search.setup import QualityRun, Request, domain_of, prepare, start
from archsearch.search.study import Study
from archsearch.space import load_space
from tests.latency.tables import write_toy


def demo_table(folder: Path, **head: object) -> Path:
    """A table of all operators of the demo space."""
    return write_toy(folder, load_space("demo").distinct_ops().values(), **head)


def fake_run(run: Path, description: str = "a made-up loss for tests") -> QualityRun:
    """A quality run whose loss falls with parameters and MACs, and varies with the architecture's id."""

    def score(arch):
        total = count(arch)
        noise = 0.002 * (int(arch_id(arch), 16) % 1000) / 1000
        return QualityScore(0.02 + 12 / total.params**0.5 + 30 / total.macs**0.5 + noise, 0.0008, 0.0001)

    return QualityRun(QualityRef(run=str(run), sha256="0" * 64, description=description), lambda baseline: score)


def make_study(folder: Path, monkeypatch, table: Path | None, quality: bool = True, **request: object) -> Study:
    """Prepare, start and run a study of the demo space."""
    monkeypatch.setattr("archsearch.search.setup.open_quality", fake_run)
    options: dict = {"space": "demo", "trials": 60, "seed": 1, "population": 16} | request
    if table is not None:
        options["tables"] = (str(table),)
    if quality:
        options["quality"] = folder / "run"
    prepared = prepare(Request(**options))
    study = start(folder, prepared)
    return run_study(study, domain_of(study), study.space.decode, prepared.evaluator)
