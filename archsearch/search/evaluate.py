"""Evaluation of one candidate: exact counts, predicted latency on every table, and a quality score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from archsearch.search.objectives import Constraint, violation

if TYPE_CHECKING:
    from archsearch.arch import Architecture
    from archsearch.cost import Conditions
    from archsearch.latency.table import LatencyTable


PAIRED = "quality - baseline"  # the name under which a trial keeps the standard error of the difference


class QualityScore(NamedTuple):
    """A validation loss with its standard error, and that of its difference from the baseline's on the same samples."""

    value: float
    standard_error: float
    paired_error: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one candidate, by quantity name."""

    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)


class Evaluator:
    """Scores architectures.  Every cost is recorded, asked for or not: it is exact and takes about a millisecond."""

    def __init__(
        self,
        conditions: Conditions,
        tables: Sequence[LatencyTable] = (),
        quality: Callable[[Architecture], QualityScore] | None = None,
    ) -> None:
        self._conditions = conditions
        self._tables = tuple(tables)
        self._quality = quality

    def __call__(self, arch: Architecture) -> Result:
        """All figures of one architecture.

        Raises:
            ArchsearchError: the architecture cannot be counted, predicted or scored.
        """
        from archsearch.cost import lower, totals
        from archsearch.latency.predict import predict

        lowering = lower(arch, self._conditions)
        total = totals(lowering)
        values: dict[str, float | None] = {
            "params": total.params,
            "macs": total.macs,
            "memory": total.peak_activation_bytes,
            "size": total.weight_bytes,
        }
        intervals, errors = {}, {}
        for table in self._tables:
            name = f"latency:{table.name}"
            prediction = predict(lowering, table)
            values[name] = prediction.total_ms
            intervals[name] = (prediction.low_ms, prediction.high_ms)
        if self._quality is not None:
            score = self._quality(arch)
            values["quality"] = float(score.value)
            errors["quality"] = float(score.standard_error)
            if score.paired_error is not None:
                errors[PAIRED] = float(score.paired_error)
        return Result(values, intervals, errors)


def violations(
    values: Mapping[str, float | None], constraints: Sequence[Constraint], bounds: Mapping[str, float]
) -> dict[str, float]:
    """Constraint text -> fraction by which it is exceeded (<= 0: met)."""
    return {c.text: violation(values.get(c.objective.name), bounds[c.text]) for c in constraints}
