"""Calibrating a table: whole networks measured on its device, and the fit of its predictions to them."""

from __future__ import annotations

import datetime
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace as altered
from pathlib import Path

from archsearch.cost.lowering import lower
from archsearch.errors import ArchsearchError, LatencyError
from archsearch.latency.calibration import CALIBRATION, Calibration, calibration_text, fit_calibration, rows_digest
from archsearch.latency.candidates import whole_of
from archsearch.latency.conversion import cache_folder, convert_ops
from archsearch.latency.measure import REFERENCE
from archsearch.latency.models_csv import ModelRow, read_models
from archsearch.latency.predict import predict
from archsearch.latency.rows import SOUND, quiet_level
from archsearch.latency.table import LatencyTable
from archsearch.latency.targets import Setup, open_device, parse_target
from archsearch.latency.whole import Whole, measure_whole
from archsearch.latency.write import replace


def measure_for(
    table: LatencyTable,
    folder: Path,
    wholes: Sequence[Whole],
    *,
    device: str = "host",
    repeats: int,
    seconds: float,
    keep: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> list[ModelRow]:
    """Measure whole networks into ``models.csv`` in ``folder``, on the table's device and set up as the table was.

    Raises:
        LatencyError: a table of another device, or a network that cannot be converted or run.
    """
    opened = open_device(setup_of(table, device))
    here = opened.describe()
    for name in ("soc", "runtime", "runtime_version", "delegate", "precision"):
        if getattr(table, name) != here[name]:
            raise LatencyError(f"the table was measured with another {name}", where=str(folder), got=here[name],
                               allowed=getattr(table, name), next_step="calibrate it on its own device")  # fmt: skip
    cache = cache_folder()
    models, failures = convert_ops([REFERENCE], cache)
    if REFERENCE.key not in models:
        raise LatencyError("the reference operator cannot be converted", got=failures.get(REFERENCE.key))
    return measure_whole(
        wholes, folder, opened, reference=models[REFERENCE.key].path, quiet_ms=quiet_level(table.rows.values()),
        cache=cache, repeats=repeats, seconds=seconds, keep=keep, told=told,
    )  # fmt: skip


def setup_of(table: LatencyTable, device: str) -> Setup:
    """The set-up in which a table was measured."""
    runtime = "tflite-runtime" if table.runtime == "tflite-runtime" else "litert"
    return Setup(target=parse_target(device), runtime=runtime, delegate=table.delegate, precision=table.precision,
                 threads=table.threads)  # fmt: skip


def calibrate(table: LatencyTable, folder: Path) -> tuple[Calibration, dict[str, float], dict[str, float]]:
    """Fit a table to its ``models.csv`` and write ``calibration.yaml``; also (uncalibrated, measured) ms by name.

    Raises:
        LatencyError: too few whole networks, or a table that is being measured.
    """
    plain = altered(table, calibration=None)
    measured: dict[str, list[float]] = defaultdict(list)
    for row in read_models(folder):
        measured[row.name].append(quiet_ms(row, table))
    predicted_ms: dict[str, float] = {}
    for name in measured:
        try:
            whole = whole_of(name)
        except ArchsearchError:
            continue
        predicted_ms[name] = predict(lower(whole.arch, whole.conditions), plain).total_ms
    measured_ms = {name: statistics.median(measured[name]) for name in predicted_ms}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = fit_calibration(
        predicted_ms,
        measured_ms,
        repeatability=repeatability([measured[name] for name in predicted_ms]),
        fitted_at=now,
        rows_sha256=rows_digest(table.rows.values(), now),
    )
    replace(folder / CALIBRATION, calibration_text(found).encode())
    return found, predicted_ms, measured_ms


def quiet_ms(row: ModelRow, table: LatencyTable) -> float:
    """What a measurement would have been at the reference operator's quiet level."""
    level = quiet_level(table.rows.values())
    return row.latency_ms if level is None or row.timing in SOUND else row.ratio * level


def repeatability(measurements: Sequence[Sequence[float]]) -> float | None:
    """Median over networks of (largest - smallest) / mean of their measurements; None where each has one."""
    spreads = [(max(one) - min(one)) / statistics.mean(one) for one in measurements if len(one) > 1]
    return statistics.median(spreads) if spreads else None
