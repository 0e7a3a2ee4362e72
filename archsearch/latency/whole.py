"""Whole networks: converted in a process of their own, measured end to end, kept as rows of ``models.csv``.

A converted UNet is a file of one to four gigabytes: it is written to the cache, measured, and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archsearch.arch import Architecture, arch_id, from_dict, to_dict
from archsearch.cost.conditions import Conditions
from archsearch.errors import LatencyError
from archsearch.latency.conversion import OpModel, converter_version
from archsearch.latency.host import HostRunner
from archsearch.latency.models_csv import MODELS, ModelRow, models_bytes, read_models
from archsearch.latency.rows import OpRow
from archsearch.latency.targets import Device, OpFailedError
from archsearch.latency.write import replace

SECONDS = 60.0  # of runs of one network, at least five of them


@dataclass(frozen=True)
class Whole:
    """A network to measure under ``conditions`` (one pass)."""

    name: str
    arch: Architecture
    conditions: Conditions

    @property
    def id(self) -> str:
        """The architecture's id."""
        return arch_id(self.arch)


def convert_whole(whole: Whole, cache: Path, seed: int = 0) -> OpModel:
    """Convert a network in a process of its own: its memory (several times the weights) goes back when it ends.

    Raises:
        MissingExtraError: the extra ``litert`` is not installed.
        LatencyError: the conversion failed; says how it ended.
    """
    salt = converter_version()
    size = "x".join(map(str, whole.conditions.latent))
    path = cache / f"whole-{whole.id}-{size}-{whole.conditions.text}-{salt}.tflite"
    note = path.with_suffix(".json")
    if not (path.exists() and note.exists()):
        cache.mkdir(parents=True, exist_ok=True)
        job = {"arch": to_dict(whole.arch), "latent": whole.conditions.latent, "text": whole.conditions.text,
               "batch": whole.conditions.batch, "path": str(path), "seed": seed}  # fmt: skip
        with tempfile.TemporaryFile() as log:
            done = subprocess.run(
                [sys.executable, "-m", "archsearch.latency.whole"],
                input=json.dumps(job).encode(), stdout=log, stderr=log, check=False,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            )  # fmt: skip
            if done.returncode:
                log.seek(0)
                words = log.read().decode("utf-8", "replace").strip().splitlines()
                raise LatencyError("the whole network cannot be converted", where=whole.name,
                                   got=f"code {done.returncode}: {words[-1][:300] if words else 'no output'}",
                                   next_step="a full disk or too little memory? it takes about eight bytes a parameter "
                                   "of disk and twelve of memory")  # fmt: skip
    found = json.loads(note.read_text(encoding="utf-8"))
    return OpModel(whole.id, path, str(found["graph"]), int(found["transposes"]))


def measure_whole(
    wholes: Sequence[Whole],
    folder: Path,
    device: Device,
    *,
    reference: Path,
    quiet_ms: float | None,
    cache: Path,
    repeats: int = 1,
    seconds: float = SECONDS,
    keep: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> list[ModelRow]:
    """Measure each network until ``models.csv`` holds ``repeats`` rows of it; each row is on disk when it is taken.

    All are measured once before any is measured again, so that repeats lie apart in time.  On this machine, on one
    thread, the reference operator runs amid a network's runs too and says how much slower than its quiet level the
    machine was; elsewhere networks are timed as operators are.

    Raises:
        MissingExtraError: the extra ``litert`` is not installed.
        LatencyError: a network that cannot be converted or run; the rows before it are kept.
    """
    from archsearch.latency.timed import row_of

    rows = read_models(folder)
    new: list[ModelRow] = []
    for turn in range(repeats):
        for whole in wholes:
            if sum(row.arch_id == whole.id and _same(row, whole.conditions) for row in rows) > turn:
                continue
            told(f"converting {whole.name}")
            model = convert_whole(whole, cache)
            told(f"measuring {whole.name}")
            try:
                with device.start(reference, quiet_ms) as runner:
                    if isinstance(runner, HostRunner) and runner.threads == 1:
                        level_ms = quiet_ms or runner.quiet_ms
                        timings = runner.time_watched(model.path, reference, level_ms, max_seconds=seconds)
                    else:
                        timings = runner.time(model.path, max_seconds=seconds)
                timed = row_of(model, timings)
            except OpFailedError as error:
                raise LatencyError(
                    "a whole network cannot be measured", where=whole.name, got=str(error),
                    next_step="rows that were taken are kept; the same command continues",
                ) from error  # fmt: skip
            row = _model_row(whole, timed)
            rows.append(row)
            new.append(row)
            replace(folder / MODELS, models_bytes(rows))
            if not keep and turn == repeats - 1:
                model.path.unlink(missing_ok=True)
                model.path.with_suffix(".json").unlink(missing_ok=True)
    return new


def _same(row: ModelRow, conditions: Conditions) -> bool:
    size = "x".join(map(str, conditions.latent))
    return (row.latent, row.text, row.batch) == (size, conditions.text, conditions.batch)


def _model_row(whole: Whole, timed: OpRow) -> ModelRow:
    conditions = whole.conditions
    assert timed.ratio is not None
    assert timed.reference_ms is not None
    assert timed.cpu_ms is not None
    return ModelRow(
        whole.name, whole.id, "x".join(map(str, conditions.latent)), conditions.text, conditions.batch,
        timed.latency_ms, timed.p10_ms, timed.p90_ms, timed.runs, timed.dropped, timed.timing, timed.ratio,
        timed.reference_ms, timed.cpu_ms, timed.graph,
        timed.measured_at,
    )  # fmt: skip


def _work() -> None:
    import torch

    from archsearch.models.litert import convert_job
    from archsearch.models.whole import whole_job

    torch.set_num_threads(1)
    job = json.loads(sys.stdin.read())
    path = Path(job["path"])
    conditions = Conditions(latent=tuple(job["latent"]), text=job["text"], batch=job["batch"])
    done = convert_job(whole_job(from_dict(job["arch"], "arch"), conditions, path, job["seed"]))
    replace(path.with_suffix(".json"), json.dumps({"graph": done.graph, "transposes": done.transposes}).encode())


if __name__ == "__main__":
    _work()
