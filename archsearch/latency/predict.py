"""Whole-model latency from a table: the sum of its operators, each measured or honestly marked as modelled.

Every latency returned here is a whole number of ``QUANTUM`` (2^-20 ms, about a nanosecond), so that sums of them are
exact in any order and at any grouping: rows by operator, block or stage add up to the total to the last bit.

``low_ms`` and ``high_ms`` are sums of the rows' p10 and p90, or of the 80 % error bands of modelled operators.  That
is the interval of operators that all err together; it knows nothing of what a runtime adds between operators, and
``calibrated`` says so.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from archsearch.cost.conditions import BYTES
from archsearch.cost.lowering import Lowering
from archsearch.cost.op import Op
from archsearch.errors import CostError, LatencyError
from archsearch.latency.fit import FOREIGN_FACTOR, Features, Fit, family, features, fit
from archsearch.latency.rows import FROM_DEVICE, RowProvenance
from archsearch.latency.table import LatencyTable, Provenance, provenance_of

QUANTUM = 2.0**-20
SCHEMA = "archsearch.latency/1"


class Estimate(NamedTuple):
    """The latency of one operator, with its interval and where it comes from."""

    latency_ms: float
    low_ms: float
    high_ms: float
    provenance: RowProvenance


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The latency of a whole model under its conditions, all guidance passes together.

    ``op_ms`` and ``op_provenance`` are aligned with ``lowering.ops()``; ``op_ms`` counts all passes and adds up to
    ``total_ms`` exactly.  ``measured_share`` is the part of ``total_ms`` that rests on rows from the device;
    ``missing`` are the keys that the table lacks.
    """

    total_ms: float
    low_ms: float
    high_ms: float
    measured_share: float
    calibrated: bool
    provenance: Provenance
    op_ms: tuple[float, ...]
    op_provenance: tuple[RowProvenance, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The ``latency`` object of profiles and of ``latency predict --json``."""
        return {
            "total_ms": self.total_ms,
            "low_ms": self.low_ms,
            "high_ms": self.high_ms,
            "measured_share": self.measured_share,
            "calibrated": self.calibrated,
            "provenance": self.provenance,
        }


def estimate(table: LatencyTable, op: Op) -> Estimate:
    """The latency of one operator: its row, else the fit of its family on the table's other rows.

    Raises:
        LatencyError: the table has no rows to fit.
    """
    return _estimator(table)(op)


def predict(lowering: Lowering, table: LatencyTable) -> Prediction:
    """Sum a lowering over the table, times the guidance passes.

    Raises:
        LatencyError: the table is empty.
    """
    estimator = _estimator(table)
    passes = lowering.conditions.passes
    total = low = high = measured = 0.0
    op_ms: list[float] = []
    op_provenance: list[RowProvenance] = []
    missing: dict[str, None] = {}
    for located in lowering.ops():
        found = estimator(located.op)
        latency_ms = found.latency_ms * passes
        op_ms.append(latency_ms)
        total += latency_ms
        low += found.low_ms * passes
        high += found.high_ms * passes
        if found.provenance in FROM_DEVICE:
            measured += latency_ms
        op_provenance.append(found.provenance)
        if located.op.key not in table.rows:
            missing[located.op.key] = None
    return Prediction(
        total_ms=total,
        low_ms=low,
        high_ms=high,
        measured_share=measured / total if total else 0.0,
        calibrated=False,
        provenance=provenance_of(set(op_provenance)),
        op_ms=tuple(op_ms),
        op_provenance=tuple(op_provenance),
        missing=tuple(missing),
    )


class _Estimator:
    """The estimates of one table, remembered; families are fitted when first asked for."""

    def __init__(self, table: LatencyTable) -> None:
        self._rows = table.rows
        self._name = table.name
        self._bytes = BYTES["fp16" if table.precision == "fp16" else "int8" if table.precision == "int8" else "fp32"]
        self._known: dict[Op, Estimate] = {}
        self._fits: dict[str, Fit] = {}
        self._samples: dict[str, list[tuple[Features, float]]] | None = None

    def __call__(self, op: Op) -> Estimate:
        found = self._known.get(op)
        if found is None:
            found = self._known[op] = self._find(op)
        return found

    def _find(self, op: Op) -> Estimate:
        row = self._rows.get(op.key)
        if row is not None:
            return Estimate(quantised(row.latency_ms), quantised(row.p10_ms), quantised(row.p90_ms), row.provenance)
        latency_ms, factor = self._fit(family(op)).predict(op, self._bytes)
        return Estimate(
            quantised(latency_ms), quantised(latency_ms / factor), quantised(latency_ms * factor), "modelled"
        )

    def _fit(self, name: str) -> Fit:
        found = self._fits.get(name)
        if found is None:
            found = self._fits[name] = self._fit_family(name)
        return found

    def _fit_family(self, name: str) -> Fit:
        if self._samples is None:
            self._samples = self._read_samples()
        samples = self._samples
        if not samples:
            raise LatencyError("the table has no rows to predict from", where=self._name,
                               next_step="`archsearch latency measure` fills it")  # fmt: skip
        if samples.get(name):
            return fit(samples[name])
        return fit([sample for group in samples.values() for sample in group], at_least=FOREIGN_FACTOR)

    def _read_samples(self) -> dict[str, list[tuple[Features, float]]]:
        samples: dict[str, list[tuple[Features, float]]] = defaultdict(list)
        for row in self._rows.values():
            try:
                op = Op.parse(row.key)
            except CostError as error:
                raise LatencyError(f"a row's key is no operator ({error})", where=self._name, got=row.key) from error
            samples[family(op)].append((features(op, self._bytes), row.latency_ms))
        return samples


def quantised(latency_ms: float) -> float:
    """The nearest positive whole number of quanta."""
    return max(round(latency_ms / QUANTUM), 1) * QUANTUM


_ESTIMATORS: weakref.WeakKeyDictionary[LatencyTable, _Estimator] = weakref.WeakKeyDictionary()


def _estimator(table: LatencyTable) -> _Estimator:
    found = _ESTIMATORS.get(table)
    if found is None:
        found = _ESTIMATORS[table] = _Estimator(table)
    return found
