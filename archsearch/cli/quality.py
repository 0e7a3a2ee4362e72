"""``archsearch quality``: train a supernet, score candidates with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from archsearch.arch.values import Architecture
    from archsearch.quality.score import Scorer

TRAIN_EPILOG = """The folder DIR keeps everything: the same command with a larger budget continues, and what comes out
is what one run of that length would have given.

Examples:

  archsearch quality train demo --out runs/demo --seconds 120 --threads 2

  archsearch quality train demo --out runs/demo --steps 2000
"""

SCORE_EPILOG = """ARCH is an architecture file, a preset's name, a diffusers folder or STUDY#TRIAL, or one of the words
baseline, largest and smallest (of the run's space). Lower is better. Differences are to the first ARCH, on the
same images and noises; their standard error is far below that of a loss.

Examples:

  archsearch quality score runs/demo baseline smallest

  archsearch quality score runs/demo candidate.yaml studies/demo#17 --json
"""

app = typer.Typer(
    help="Estimate image quality: train a supernet, score candidates with its weights.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_Space = Annotated[str, typer.Argument(metavar="SPACE", help="Search space: name or YAML file.")]
_Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the run.")]
_Seconds = Annotated[float | None, typer.Option(help="Budget in seconds of training. [default: 120 without --steps]")]
_Steps = Annotated[int | None, typer.Option(help="Budget in steps.")]
_Seed = Annotated[int, typer.Option(help="Seed of everything.")]
_Batch = Annotated[int, typer.Option(help="Images a step.")]
_Threads = Annotated[int, typer.Option(help="Threads of torch.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="train", epilog=TRAIN_EPILOG)
def train(
    space: _Space,
    out: _Out,
    seconds: _Seconds = None,
    steps: _Steps = None,
    seed: _Seed = 0,
    batch: _Batch = 16,
    threads: _Threads = 1,
    json_: _Json = False,
) -> None:
    """Train a supernet of a space with stochastic blocks on procedural captioned shapes."""
    from archsearch.cli.common import emit, emit_json, note
    from archsearch.quality.config import TrainConfig
    from archsearch.quality.progress import Bar
    from archsearch.space import load_space

    if steps is None and seconds is None:
        seconds = 120.0
    config = TrainConfig(steps=steps, seconds=seconds, seed=seed, batch=batch, threads=threads)
    loaded = load_space(space)
    from archsearch.quality.train import train as run

    try:
        with Bar(f"training {loaded.name}", steps, seconds) as bar:
            result = run(loaded, config, out, progress=bar)
    except KeyboardInterrupt:
        note(f"stopped; what was trained is kept in {out}, and the same command continues")
        raise typer.Exit(130) from None
    rows = result.updates
    if json_:
        data: dict[str, Any] = {
            "schema": "archsearch.quality-train/1",
            "run": str(out),
            "name": result.name,
            "space": result.space,
            "seed": result.seed,
            "steps": result.steps,
            "seconds": result.seconds,
            "loss": result.loss,
            "updates": [{"path": row.path, "updates": row.updates, "full_width": row.full_width} for row in rows],
        }
        emit_json(data)
        return
    least = min(rows, key=lambda row: row.updates)
    emit(
        f"{result.name}: {result.steps} steps in {result.seconds:.0f} s, training loss {result.loss:.4f}\n"
        f"rarest path: {least.path}, trained in {least.updates} steps ({least.updates / result.steps:.0%}); "
        f"all in {out / 'updates.csv'}\n"
        f"score candidates: archsearch quality score {out} baseline largest smallest"
    )


@app.command(name="score", epilog=SCORE_EPILOG)
def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that quality train wrote.")],
    arch: Annotated[list[str], typer.Argument(metavar="ARCH...", help="Candidates.")],
    threads: _Threads = 1,
    json_: _Json = False,
) -> None:
    """Score candidates: validation loss with the supernet's weights, with standard errors."""
    from archsearch.arch import arch_id
    from archsearch.cli.common import emit, emit_json
    from archsearch.quality.score import Scorer, paired_difference

    scorer = Scorer(run, threads=threads)
    found = [(ref, _candidate(scorer, ref)) for ref in arch]
    scores = [scorer.validation_loss(network) for _, network in found]
    differences = [paired_difference(one, scores[0]) for one in scores]
    if json_:
        rows = [
            {
                "ref": ref,
                "arch_id": arch_id(network),
                "loss": one.value,
                "standard_error": one.standard_error,
                "samples": one.samples,
                "difference": difference.value,
                "difference_standard_error": difference.standard_error,
            }
            for (ref, network), one, difference in zip(found, scores, differences, strict=True)
        ]
        emit_json({"schema": "archsearch.quality-score/1", "run": str(run), "name": scorer.name,
                   "checkpoint": scorer.sha256, "score": scorer.description, "rows": rows})  # fmt: skip
        return
    width = max(4, *(len(ref) for ref, _ in found))
    lines = [scorer.description, f"{'arch':<{width}}  {'loss':>8}  {'± s.e.':>8}  {'- first':>9}  {'± s.e.':>8}"]
    for (ref, _), one, difference in zip(found, scores, differences, strict=True):
        lines.append(
            f"{ref:<{width}}  {one.value:8.5f}  {one.standard_error:8.5f}  "
            f"{difference.value:+9.5f}  {difference.standard_error:8.5f}"
        )
    emit("\n".join(lines))


def _candidate(scorer: Scorer, ref: str) -> Architecture:
    from archsearch.cli.resolve import resolve_arch
    from archsearch.quality.score import REFERENCES

    if ref in REFERENCES:
        return scorer.reference(ref)
    return resolve_arch(ref).architecture
