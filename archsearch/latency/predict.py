"""Whole-model latency from a table: operators, what blocks take beyond them, and a calibration on whole models.

Every latency returned here is a whole number of ``QUANTUM`` (2^-20 ms, about a nanosecond), so that sums of them are
exact in any order and at any grouping: rows by operator, block or stage add up to the total to the last bit.

*Between*: a runtime spends more on a block than on its operators one by one, because the converter adds reshapes,
transpositions and slices and because intermediate tensors are not at hand.  A table with rows of blocks says how much;
that term stands as a row of kind ``overhead`` in the block that causes it.  A block without a row takes the share that
the table's blocks of its kind take.

*Calibration* (see :mod:`archsearch.latency.calibration`) multiplies each of these by a factor fitted on whole models.

``low_ms`` and ``high_ms`` are an 80 % interval: of a calibrated table from the errors on the models that it was
fitted on; of another one the sums of the rows' p10 and p90 and of the error bands of modelled operators, which is the
interval of operators that all err together and knows nothing of what it does not see.  ``calibrated`` says which.
"""

from __future__ import annotations

import statistics
import weakref
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from archsearch.cost.block import BlockOp
from archsearch.cost.lowering import Lowering, Piece
from archsearch.cost.op import Op
from archsearch.errors import CostError, LatencyError
from archsearch.latency.fit import FOREIGN_FACTOR, Features, Fit, family, features, fit
from archsearch.latency.rows import FROM_DEVICE, OpRow, RowProvenance
from archsearch.latency.table import LatencyTable, Provenance, provenance_of

if TYPE_CHECKING:
    from archsearch.latency.phones.model import PhoneModel

QUANTUM = 2.0**-20
SCHEMA = "archsearch.latency/1"


class Estimate(NamedTuple):
    """The latency of one operator, or of what a block adds, with its interval and where it comes from."""

    latency_ms: float
    low_ms: float
    high_ms: float
    provenance: RowProvenance


NOTHING = Estimate(0.0, 0.0, 0.0, "modelled")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The latency of a whole model under its conditions, all guidance passes together.

    ``op_ms`` and ``op_provenance`` are aligned with ``lowering.ops()``, ``between_ms`` and ``between_provenance`` with
    ``lowering.pieces``; both count all passes, and together they add up to ``total_ms`` exactly.  ``measured_share``
    is the part of ``total_ms`` that rests on rows from the device; ``missing`` are the operators that the table lacks.
    ``interval_95`` is (low, high) of a calibrated prediction, None of another.
    """

    total_ms: float
    low_ms: float
    high_ms: float
    measured_share: float
    calibrated: bool
    provenance: Provenance
    op_ms: tuple[float, ...]
    op_provenance: tuple[RowProvenance, ...]
    between_ms: tuple[float, ...]
    between_provenance: tuple[RowProvenance, ...]
    missing: tuple[str, ...]
    interval_95: tuple[float, float] | None = None

    @property
    def overhead_ms(self) -> float:
        """What all blocks take beyond their operators."""
        return sum(self.between_ms)

    def to_dict(self) -> dict[str, object]:
        """The ``latency`` object of profiles and of ``latency predict --json``."""
        found: dict[str, object] = {
            "total_ms": self.total_ms,
            "low_ms": self.low_ms,
            "high_ms": self.high_ms,
            "measured_share": self.measured_share,
            "calibrated": self.calibrated,
            "provenance": self.provenance,
            "overhead_ms": self.overhead_ms,
        }
        if self.interval_95 is not None:
            found["interval_95_ms"] = list(self.interval_95)
        return found


def estimate(table: LatencyTable, op: Op) -> Estimate:
    """The latency of one operator: its row, else the fit of its family on the table's other rows; calibrated.

    Raises:
        LatencyError: the table has no rows to fit.
    """
    return _estimator(table)(op)


def between(table: LatencyTable, block: BlockOp) -> Estimate:
    """What a block takes beyond its operators, calibrated; may be negative where a runtime merges them.

    Raises:
        LatencyError: the table has no rows to fit.
    """
    return _estimator(table).between(block)


def predict(lowering: Lowering, table: LatencyTable) -> Prediction:
    """Sum a lowering over the table, times the guidance passes.

    Raises:
        LatencyError: the table is empty.
    """
    estimator = _estimator(table)
    passes = lowering.conditions.passes
    ops: list[Estimate] = []
    added: list[Estimate] = []
    low = high = measured = 0.0
    missing: dict[str, None] = {}
    for piece in lowering.pieces:
        found = [estimator(traced.op) for traced in piece.trace.ops]
        missing.update((traced.op.key, None) for traced in piece.trace.ops if traced.op.key not in table.rows)
        known = {number for span in piece.trace.blocks if span.block.key in table.rows for number in span.ops}
        extra = _between(estimator, piece)
        ops += found
        added.append(extra)
        low += sum(one.low_ms for one in found) + extra.low_ms
        high += sum(one.high_ms for one in found) + extra.high_ms
        measured += sum(
            one.latency_ms for i, one in enumerate(found) if i in known or one.provenance in FROM_DEVICE
        ) + (extra.latency_ms if extra.provenance in FROM_DEVICE else 0.0)  # fmt: skip
    total = sum(one.latency_ms for one in ops) + sum(one.latency_ms for one in added)
    kinds: set[str] = {one.provenance for one in ops} | {one.provenance for one in added if one is not NOTHING}
    calibration = table.calibration
    interval_95 = None
    if calibration is not None:
        low, high = total / calibration.factor_80, total * calibration.factor_80
        interval_95 = (total / calibration.factor_95 * passes, total * calibration.factor_95 * passes)
    return Prediction(
        total_ms=total * passes,
        low_ms=min(low, total) * passes,
        high_ms=max(high, total) * passes,
        measured_share=min(max(measured / total, 0.0), 1.0) if total else 0.0,
        calibrated=calibration is not None,
        provenance=provenance_of(kinds),
        op_ms=tuple(one.latency_ms * passes for one in ops),
        op_provenance=tuple(one.provenance for one in ops),
        between_ms=tuple(one.latency_ms * passes for one in added),
        between_provenance=tuple(one.provenance for one in added),
        missing=tuple(missing),
        interval_95=interval_95,
    )


def _between(estimator: _Estimator, piece: Piece) -> Estimate:
    """What all blocks of a piece add."""
    found = [extra for span in piece.trace.blocks if (extra := estimator.between(span.block)) is not NOTHING]
    if not found:
        return NOTHING
    measured = all(extra.provenance in FROM_DEVICE for extra in found)
    return Estimate(
        sum(extra.latency_ms for extra in found),
        sum(extra.low_ms for extra in found),
        sum(extra.high_ms for extra in found),
        found[0].provenance if measured else "modelled",
    )


class _Estimator:
    """The estimates of one table, remembered; families are fitted when first asked for."""

    def __init__(self, table: LatencyTable) -> None:
        self._rows = table.rows
        self._ops = table.op_rows
        self._blocks = table.block_rows
        self._name = table.name
        self._factor = table.calibration.factor if table.calibration else 1.0
        self._bytes = table.value_bytes
        self._model = _model_of(table)
        self._known: dict[Op, Estimate] = {}
        self._known_blocks: dict[BlockOp, Estimate] = {}
        self._fits: dict[str, Fit] = {}
        self._samples: dict[str, list[tuple[Features, float]]] | None = None
        self._shares: dict[str, tuple[float, float, float]] | None = None

    def __call__(self, op: Op) -> Estimate:
        found = self._known.get(op)
        if found is None:
            found = self._known[op] = _scaled(self._find(op), self._factor)
        return found

    def between(self, block: BlockOp) -> Estimate:
        """What a block takes beyond its operators."""
        found = self._known_blocks.get(block)
        if found is None:
            found = self._known_blocks[block] = self._find_between(block)
        return found

    def _find(self, op: Op) -> Estimate:
        row = self._rows.get(op.key)
        if row is None and self._model is not None:
            row = self._model.row(op)
        if row is not None:
            return Estimate(row.latency_ms, row.p10_ms, row.p90_ms, row.provenance)
        latency_ms, factor = self._fit(family(op)).predict(op, self._bytes)
        return Estimate(latency_ms, latency_ms / factor, latency_ms * factor, "modelled")

    def _find_between(self, block: BlockOp) -> Estimate:
        if not self._blocks:
            return NOTHING
        own = [self(op) for op in block.ops]
        ops_ms = sum(one.latency_ms for one in own)
        row = self._rows.get(block.key)
        if row is not None:
            whole = _scaled(Estimate(row.latency_ms, row.p10_ms, row.p90_ms, row.provenance), self._factor)
            return Estimate(
                whole.latency_ms - ops_ms,
                whole.low_ms - sum(one.low_ms for one in own),
                whole.high_ms - sum(one.high_ms for one in own),
                row.provenance,
            )
        low, share, high = self._share(block.kind)
        return Estimate(_quantised(share * ops_ms), _quantised(low * ops_ms), _quantised(high * ops_ms), "modelled")

    def _share(self, kind: str) -> tuple[float, float, float]:
        """p10, median and p90 of (block - operators) / operators over the table's blocks of a kind, else over all."""
        if self._shares is None:
            found: dict[str, list[float]] = defaultdict(list)
            for row in self._blocks.values():
                block = _block(row, self._name)
                share = self.between(block).latency_ms / sum(self(op).latency_ms for op in block.ops)
                found[block.kind].append(share)
                found[""].append(share)
            self._shares = {name: _deciles(shares) for name, shares in found.items()}
        return self._shares.get(kind) or self._shares[""]

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
        for row in self._ops.values():
            try:
                op = Op.parse(row.key)
            except CostError as error:
                raise LatencyError(f"a row's key is no operator ({error})", where=self._name, got=row.key) from error
            samples[family(op)].append((features(op, self._bytes), row.latency_ms))
        return samples


def _model_of(table: LatencyTable) -> PhoneModel | None:
    """The numbers that a modelled table was computed from: a fit on its rows would repeat them with a false band."""
    from archsearch.latency.phones.model import MODEL, load_model

    if table.folder is None or table.provenance != "modelled" or not (table.folder / MODEL).is_file():
        return None
    return load_model(table.folder)


def _block(row: OpRow, table: str) -> BlockOp:
    try:
        return BlockOp.parse(row.key)
    except CostError as error:
        raise LatencyError(f"a row's key is no block ({error})", where=table, got=row.key) from error


def _deciles(values: list[float]) -> tuple[float, float, float]:
    """(p10, median, p90); of a single value three times that."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    cuts = statistics.quantiles(values, n=10, method="inclusive")
    return cuts[0], statistics.median(values), cuts[8]


def _scaled(found: Estimate, factor: float) -> Estimate:
    latency_ms, low_ms, high_ms, provenance = found
    return Estimate(quantised(latency_ms * factor), quantised(low_ms * factor), quantised(high_ms * factor), provenance)


def quantised(latency_ms: float) -> float:
    """The nearest positive whole number of quanta."""
    return max(round(latency_ms / QUANTUM), 1) * QUANTUM


def _quantised(latency_ms: float) -> float:
    """The nearest whole number of quanta, of either sign."""
    return round(latency_ms / QUANTUM) * QUANTUM


_ESTIMATORS: weakref.WeakKeyDictionary[LatencyTable, _Estimator] = weakref.WeakKeyDictionary()


def _estimator(table: LatencyTable) -> _Estimator:
    found = _ESTIMATORS.get(table)
    if found is None:
        found = _ESTIMATORS[table] = _Estimator(table)
    return found
