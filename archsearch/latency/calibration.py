"""Calibration: what whole models took against the sum that a table predicts for them, as a few plain numbers.

``calibration.yaml`` in a table's folder holds one factor for each group of work, fitted on the whole models of
``models.csv``, and the factors of the 80 % and 95 % intervals.  It belongs to the rows that it was fitted on: rows that
are added later leave it in force, but when one of those changes, the checksum over them no longer fits and the
calibration is not used until it is fitted again (``archsearch latency calibrate``).  Reading it imports no framework.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from archsearch.errors import LatencyError
from archsearch.latency.rows import OpRow

SCHEMA = "archsearch.latency_calibration/1"
CALIBRATION = "calibration.yaml"
MIN_MODELS = 3
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Factors on a table's latencies.

    ``factor`` multiplies every latency.  ``factor_80`` and ``factor_95`` are at least 1: the truth lies between the
    prediction divided and multiplied by them, that often.  ``models`` are the names of the whole models that it was
    fitted on, ``errors`` the relative error of each when it is left out of the fit, ``repeatability`` the median
    relative difference between two measurements of one model.
    """

    factor: float
    factor_80: float
    factor_95: float
    models: tuple[str, ...]
    errors: tuple[float, ...]
    repeatability: float | None
    fitted_at: str
    rows_sha256: str


def read_calibration(folder: Path, rows: Mapping[str, OpRow]) -> Calibration | None:
    """The calibration in a table's folder; None where there is none, or it belongs to other rows.

    Raises:
        LatencyError: a malformed file; names file, line and key.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return None
    from archsearch.files import load_yaml

    document = load_yaml(path, LatencyError)
    data = document.data

    def at(key: str) -> str:
        return document.where((key,)) if key in data else f"{path}:{document.line(())}: {key}"

    if data.get("schema") != SCHEMA:
        raise LatencyError("another schema version", where=at("schema"), got=data.get("schema", "none"),
                           allowed=SCHEMA, next_step="`archsearch latency calibrate` writes it anew")  # fmt: skip
    known = {"schema", "factor", "factor_80", "factor_95", "models", "repeatability", "fitted_at", "rows_sha256"}
    for key in data:
        if key not in known:
            raise LatencyError("unknown field", where=at(str(key)), got=key, allowed=", ".join(sorted(known)))

    def number(key: str, least: float) -> float:
        value = data.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
            raise LatencyError(f"must be a number of at least {least:g}", where=at(key), got=value)
        return float(value)

    models = data.get("models")
    if not isinstance(models, Mapping) or not all(
        isinstance(name, str) and isinstance(error, (int, float)) and math.isfinite(error)
        for name, error in models.items()
    ):
        raise LatencyError("must map names of models to relative errors", where=at("models"), got=models)
    fitted_at = data.get("fitted_at")
    if not isinstance(fitted_at, str) or not _TIME.fullmatch(fitted_at):
        raise LatencyError("must be a time as 2026-11-21T08:00:00Z", where=at("fitted_at"), got=fitted_at)
    if data.get("rows_sha256") != (rows_sha256 := rows_digest(rows.values(), fitted_at)):
        return None
    return Calibration(
        factor=number("factor", 1e-6),
        factor_80=number("factor_80", 1.0),
        factor_95=number("factor_95", 1.0),
        models=tuple(models),
        errors=tuple(float(error) for error in models.values()),
        repeatability=None if data.get("repeatability") is None else number("repeatability", 0.0),
        fitted_at=fitted_at,
        rows_sha256=rows_sha256,
    )


def rows_digest(rows: Iterable[OpRow], until: str) -> str:
    """SHA-256 over keys and latencies of the rows that were there at a time, those without a time included.

    Times are ``2026-11-21T08:00:00Z``, which sort as text.
    """
    lines = sorted(f"{row.key} {row.latency_ms:.6g}\n" for row in rows if row.measured_at <= until)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def fit_calibration(
    predicted_ms: Mapping[str, float],
    measured_ms: Mapping[str, float],
    *,
    repeatability: float | None,
    fitted_at: str,
    rows_sha256: str,
) -> Calibration:
    """Fit the factor between measured and (uncalibrated) predicted latencies of the same models, in the logarithm.

    With n models, the intervals are those of a further model: Student's t with n - 1 degrees of freedom times the
    standard deviation of the log ratios times sqrt(1 + 1 / n).

    Raises:
        LatencyError: fewer than three models.
    """
    from scipy.stats import t

    names = tuple(sorted(measured_ms))
    n = len(names)
    if n < MIN_MODELS:
        raise LatencyError("too few whole models to calibrate on", got=n, allowed=f"at least {MIN_MODELS}",
                           next_step="`archsearch latency calibrate SPACE --models 10` measures some")  # fmt: skip
    logs = [math.log(measured_ms[name] / predicted_ms[name]) for name in names]
    mean = sum(logs) / n
    spread = math.sqrt(sum((one - mean) ** 2 for one in logs) / (n - 1)) * math.sqrt(1 + 1 / n)
    left_out = [math.exp((mean * n - one) / (n - 1) - one) - 1 for one in logs]
    factors = [math.exp(float(t.ppf(0.5 + share / 2, n - 1)) * spread) for share in (0.80, 0.95)]
    return Calibration(
        factor=math.exp(mean), factor_80=factors[0], factor_95=factors[1], models=names, errors=tuple(left_out),
        repeatability=repeatability, fitted_at=fitted_at, rows_sha256=rows_sha256,
    )  # fmt: skip


def calibration_text(found: Calibration) -> str:
    """The content of ``calibration.yaml``."""
    lines = [
        f"schema: {SCHEMA}",
        f"factor: {found.factor:.6g}",
        f"factor_80: {found.factor_80:.6g}",
        f"factor_95: {found.factor_95:.6g}",
        f"repeatability: {'null' if found.repeatability is None else format(found.repeatability, '.6g')}",
        f'fitted_at: "{found.fitted_at}"',
        f"rows_sha256: {found.rows_sha256}",
        "models:  # relative error of the prediction when the model is left out of the fit",
        *(f'  "{name}": {error:.6g}' for name, error in zip(found.models, found.errors, strict=True)),
    ]
    return "\n".join(lines) + "\n"
