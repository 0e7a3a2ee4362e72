"""From a search space to a Pareto front in Python: no training, no measuring, a few seconds.

The latencies are those of the shipped table, measured on the server that it names.

python examples/search_demo.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from archsearch.arch import diff
from archsearch.latency.table import load_table
from archsearch.search.front import front, knee
from archsearch.search.run import run_study
from archsearch.search.setup import Request, domain_of, prepare, start
from archsearch.space import load_space

TABLE = "host-xnnpack-fp32"


def look_at_the_space() -> None:
    """Count the candidates, and score ten thousand of them at once."""
    space = load_space("demo")
    table = load_table(TABLE)
    latency = space.ranges(tables={TABLE: table})[f"latency:{TABLE}"]
    print(f"{space.title}: {space.size():,} candidates, {latency.low:.2f} to {latency.high:.2f} ms on {table.device}")

    encodings = space.sample(10_000, seed=0)  # uniform, [candidates, decisions]
    scores = space.batch_scorer(tables=[table]).score(encodings)
    fast = scores.latency_ms[0] < 4.0
    print(f"{fast.mean():.0%} of 10,000 uniform draws take less than 4 ms; the largest of those has "
          f"{scores.macs[fast].max() / 1e6:.0f} MMACs")  # fmt: skip


def search(folder: Path) -> None:
    """Sixty trials of NSGA-II, and the front.

    Without a quality objective small always wins: this front says how small and fast the space gets, not which network
    to take.  With a trained run (`archsearch quality train`), give ``quality=Path(run)`` and the objective "quality".
    """
    prepared = prepare(
        Request(
            space="demo",
            objectives=("macs", "params", f"latency:{TABLE}"),
            constraints=(f"latency:{TABLE} <= 60%",),  # of the space's baseline
            tables=(TABLE,),
            trials=60,
            population=20,
            seed=0,
        )
    )
    study = start(folder, prepared)
    study = run_study(study, domain_of(study), study.space.decode, prepared.evaluator)

    names = [objective.name for objective in study.objectives]
    members = front(study.trials, names)
    chosen = knee(members, names)
    assert chosen is not None
    print(f"\n{len(study.trials)} trials, {len(members)} on the front of {', '.join(names)}:")
    for trial in members:
        figures = "  ".join(objective.show(trial.values[objective.name]).rjust(10) for objective in study.objectives)
        print(f"  trial {trial.number:2d}  {figures}{'  <- knee' if trial is chosen else ''}")

    print("\nThe knee differs from the baseline in:")
    for change in diff(study.architecture(0), study.architecture(chosen.number)).changes:
        print(f"  {change}")


def main() -> None:
    look_at_the_space()
    with TemporaryDirectory() as folder:
        search(Path(folder) / "study")


if __name__ == "__main__":
    main()
