"""Measuring operators and blocks into a table: convert, time, journal, compact; resumable after a kill at any moment.

The device may be any (see :mod:`archsearch.latency.targets`); what is measured is anything with a ``key``, a ``kind``,
``macs`` and ``params`` that the converter knows.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archsearch.cost.block import PREFIX, BlockOp, Workload
from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.conversion import OpModel, cache_folder, convert_ops, converter_version
from archsearch.latency.failures import read_failures, write_failures
from archsearch.latency.host import HostRunner
from archsearch.latency.journal import JOURNAL, JournalWriter, read_journal
from archsearch.latency.progress import Progress
from archsearch.latency.quantise import is_quantised, quantisation, quantise_all
from archsearch.latency.rows import SOUND, OpRow, quiet_level
from archsearch.latency.runner import STEADY
from archsearch.latency.table import OPS, STATE_FIELDS, TABLE, TEXT_FIELDS, LatencyTable, load_table
from archsearch.latency.targets import (
    MAX_SECONDS,
    Device,
    OpFailedError,
    Runner,
    Setup,
    Timings,
    open_device,
    parse_target,
)
from archsearch.latency.timed import PHONE_PROTOCOL, PROTOCOL, paired_row, row_of
from archsearch.latency.write import ops_bytes, write_table

REFERENCE = Op("conv2d", ((1, 64, 32, 32),), (("bias", 1), ("g", 1), ("k", 3), ("out", 64), ("s", 1)))
CHUNK_OPS = 192
CHUNK_BYTES = 1_000_000_000
SAME = ("soc", "runtime", "runtime_version", "delegate", "precision", "threads", "quantisation")


@dataclass(frozen=True)
class Measured:
    """What a run of :func:`measure` did.  ``left`` operators were not reached; ``failed`` maps keys to reasons."""

    rows: int
    failed: dict[str, str]
    left: int
    convert_seconds: float
    measure_seconds: float


def measure(
    ops: Sequence[Workload],
    folder: Path,
    *,
    device: str | Setup = "host",
    threads: int = 1,
    budget_seconds: float | None = None,
    max_seconds: float = MAX_SECONDS,
    again: bool = False,
    cache: Path | None = None,
    description: str = "",
    licence: str = "Apache-2.0",
    show_progress: bool = True,
) -> Measured:
    """Measure those of ``ops`` that the table in ``folder`` lacks, in their order; makes the table if need be.

    ``device`` is a device string, measured with LiteRT, XNNPACK and fp32 on ``threads`` threads, or a whole set-up.
    With ``again``, rows of ``ops`` that were timed under load are measured once more, too; the quieter one stays.
    Every finished row is on disk before the next operator starts, so that a kill loses at most one; the same call
    continues.  After ``budget_seconds`` no further operator is started.

    Raises:
        MissingExtraError: litert-torch or the runtime is not installed.
        DeviceLostError: the device went away; what was finished is in the table.
        LatencyError: a device that cannot be reached or lacks what is asked of it; a table of another configuration; a
            folder that cannot be written or is being measured into by somebody else.
    """
    setup = device if isinstance(device, Setup) else Setup(target=parse_target(device), threads=threads)
    session = _Session(folder, setup, cache or cache_folder(), max_seconds, budget_seconds)
    session.open(description, licence)
    try:
        with Progress(show_progress) as progress:
            return session.run(list(dict.fromkeys(ops)), again, progress)
    finally:
        session.close()


class _Session:
    """One run over one table."""

    def __init__(
        self, folder: Path, setup: Setup, cache: Path, max_seconds: float, budget_seconds: float | None
    ) -> None:
        self.folder = folder
        self.setup = setup
        self.cache = cache
        self.max_seconds = max_seconds
        self.end = time.monotonic() + budget_seconds if budget_seconds is not None else float("inf")
        self.journal: JournalWriter | None = None
        self.rows: dict[str, OpRow] = {}
        self.new: dict[str, OpRow] = {}
        self.failed: dict[str, str] = {}
        self.earlier: dict[str, str] = {}  # failures of sessions before
        self.undelegated: dict[str, bool] = {}  # by operator: whether nodes of it were left to the processor
        self.convert_seconds = 0.0

    def open(self, description: str, licence: str) -> None:
        """Reach the device, create or check the table, and take its journal."""
        self.device: Device = open_device(self.setup)
        try:
            self._open_table({**self.device.describe(), "quantisation": quantisation(self.setup.precision)},
                             description, licence)  # fmt: skip
        except BaseException:
            self.device.close()
            raise

    def _open_table(self, told: dict[str, object], description: str, licence: str) -> None:
        try:
            if not (self.folder / TABLE).exists():
                self._create(told, description, licence)
            self.journal = JournalWriter(self.folder / JOURNAL)
        except OSError as error:
            raise LatencyError(f"the table cannot be written ({error.strerror})", where=str(self.folder)) from error
        for name in (OPS, TABLE):
            for draft in self.folder.glob(f".{name}.*"):  # left by a kill
                draft.unlink(missing_ok=True)
        try:
            table = load_table(self.folder)
            for name in SAME:
                if getattr(table, name) != told[name]:
                    raise LatencyError(f"the table was measured with another {name}", where=str(self.folder),
                                       got=told[name], allowed=getattr(table, name),
                                       next_step="measure into another table")  # fmt: skip
            if table.affinity != told["affinity"] and (table.rows or table.affinity):
                raise LatencyError("the table was measured on other cores", where="--cpus",
                                   got=told["affinity"] or "all", allowed=table.affinity or "all",
                                   next_step="measure into another table")  # fmt: skip
            self.earlier = {**read_failures(self.folder), **dict(read_journal(self.folder / JOURNAL).failed)}
        except BaseException:
            self.journal.abandon()
            raise
        self.rows = dict(table.rows)
        self.head = {**head_of(table), **{name: told[name] for name in STATE_FIELDS if told.get(name)}}

    def _create(self, told: dict[str, object], description: str, licence: str) -> None:
        rows = self.folder / OPS
        if rows.exists() and rows.read_bytes() != ops_bytes([]):
            raise LatencyError(f"rows without their {TABLE}", where=str(rows), next_step="restore it, or remove both")
        protocol = PHONE_PROTOCOL if self.setup.target.kind == "adb" else PROTOCOL
        head: dict[str, object] = {
            **told,
            "name": self.folder.resolve().name,
            "description": description or "Measured here.",
            "protocol": protocol.format(converter=converter_version(), max_seconds=self.max_seconds),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "licence": licence,
            "notes": "",
            "reference": REFERENCE.key,
        }
        write_table(self.folder, head, [])

    def close(self) -> None:
        """Compact the journal into ``ops.csv`` and ``failed.csv``, and leave the device."""
        assert self.journal is not None
        try:
            failed = {key: why for key, why in {**self.earlier, **self.failed}.items() if key not in self.rows}
            write_failures(self.folder, failed)
            self._note_state()
            write_table(self.folder, self.head, self.rows.values(), self.journal)
        finally:
            self.journal.close()
            self.device.close()

    def _note_state(self) -> None:
        """What changed while it was measured: battery and thermal state, and how much the delegate took."""
        with contextlib.suppress(LatencyError, TimeoutError):  # the device may be gone
            for name, after in self.device.state().items():
                before = self.head.get(name)
                if self.new and after and before and after != before:
                    self.head[name] = f"{before} at the start of the last session, {after} at its end"
        if self.undelegated:
            left = [key for key, some in self.undelegated.items() if some]
            of = f"of {len(self.undelegated)} operators of the last session"
            self.head["delegated"] = f"every node {of}" if not left else (
                f"every node of {len(self.undelegated) - len(left)} {of}; `undelegated` in graph marks the others"
            )  # fmt: skip

    def run(self, ops: Sequence[Workload], again: bool, progress: Progress) -> Measured:
        """Measure what is missing, then once more what was timed under load."""
        todo = [op for op in ops if op.key not in self.rows]
        start = time.monotonic()
        if todo or (again and self._under_load(ops)):
            first, *rest = _chunks(todo)
            models = self._convert([REFERENCE, *first], progress)
            if not models or models[0].key != REFERENCE.key:
                raise LatencyError("the reference operator cannot be converted", got=self.failed.get(REFERENCE.key))
            with self.device.start(models[0].path, self._quiet_ms()) as runner:
                self._measure(runner, models if REFERENCE in first else models[1:], progress)
                for chunk in rest:
                    if time.monotonic() < self.end:
                        self._measure(runner, self._convert(chunk, progress), progress)
                self._once_more(runner, ops if again else [op for op in ops if op.key in self.new], progress)
        left = sum(op.key not in self.rows and op.key not in self.failed for op in todo)
        return Measured(
            len(self.new), self.failed, left, self.convert_seconds, time.monotonic() - start - self.convert_seconds
        )

    def _convert(self, ops: Sequence[Workload], progress: Progress) -> list[OpModel]:
        start = time.monotonic()
        with progress.task("converting", len(ops)) as task:
            models, failures = self._models(ops, task.advance)
        self.convert_seconds += time.monotonic() - start
        for key, why in failures.items():
            self._fail(key, why)
        return [models[op.key] for op in dict.fromkeys(ops) if op.key in models]

    def _models(
        self, ops: Sequence[Workload], done: Callable[[int], None] = lambda n: None
    ) -> tuple[dict[str, OpModel], dict[str, str]]:
        """Models in the precision that is measured, and why those that failed did."""
        models, failures = convert_ops(ops, self.cache, done=done)
        if is_quantised(self.setup.precision):
            models, more = quantise_all(models.values(), self.setup.precision)
            failures |= more
        return models, failures

    def _time(self, runner: Runner, model: OpModel) -> OpRow:
        if model.key.startswith(PREFIX) and isinstance(runner, HostRunner):
            paired = self._time_paired(runner, model)
            if paired is not None:
                return paired
        timings = runner.time(model.path, max_seconds=self.max_seconds)
        return row_of(self._marked(model, timings), timings)

    def _marked(self, model: OpModel, timings: Timings) -> OpModel:
        """The model, its graph saying how many nodes the delegate left to the processor, if any."""
        if timings.undelegated is None or self.setup.delegate == "none":
            return model
        self.undelegated[model.key] = timings.undelegated > 0
        return (
            model._replace(graph=f"{model.graph}; {timings.undelegated} undelegated") if timings.undelegated else model
        )

    def _time_paired(self, runner: HostRunner, model: OpModel) -> OpRow | None:
        """A block in turns with its operators; None where the table lacks a sound row of one of them."""
        own = Counter(BlockOp.parse(model.key).ops)
        rows = {op: self.rows.get(op.key) for op in own}
        if self.setup.threads != 1 or any(row is None or row.timing not in SOUND for row in rows.values()):
            return None
        models, _ = self._models(list(own))
        if len(models) != len(own):
            return None
        beside = [(models[op.key].path, count) for op, count in own.items()]
        timings = runner.time_beside(model.path, beside, max_seconds=self.max_seconds)
        ops_ms = sum(row.latency_ms * own[op] for op, row in rows.items() if row is not None)
        return paired_row(self._marked(model, timings), timings, ops_ms, self._quiet_ms())

    def _measure(self, runner: Runner, models: Sequence[OpModel], progress: Progress) -> None:
        with progress.task("measuring", len(models)) as task:
            for model in models:
                if time.monotonic() >= self.end:
                    return
                task.show(model.key)
                try:
                    self._keep(self._time(runner, model))
                except OpFailedError as error:
                    self._fail(model.key, str(error))
                task.advance(1)

    def _quiet_ms(self) -> float | None:
        """What the reference took beside the quietest rows of earlier sessions."""
        return quiet_level(self.rows.values())

    def _under_load(self, ops: Sequence[Workload]) -> list[Workload]:
        """Operators whose row is marked so, or was taken as steady before the quiet level was known."""
        limit = STEADY * (self._quiet_ms() or 0.0)
        rows = ((op, self.rows[op.key]) for op in ops if op.key in self.rows)
        return [
            op for op, row in rows
            if row.provenance == "measured" and (row.timing not in SOUND or (row.reference_ms or 0.0) > limit)
        ]  # fmt: skip

    def _once_more(self, runner: Runner, ops: Sequence[Workload], progress: Progress) -> None:
        """Measure once more what was timed under load; the quieter of the two measurements stays."""
        drifted = self._under_load(ops)
        if not drifted or time.monotonic() >= self.end:
            return
        models, _ = self._models(drifted)
        with progress.task("measuring again", len(models)) as task:
            for model in models.values():
                if time.monotonic() >= self.end:
                    return
                task.show(model.key)
                try:
                    row = self._time(runner, model)
                except OpFailedError:
                    continue
                if _quieter(row, self.rows[row.key]):
                    self._keep(row)
                task.advance(1)

    def _keep(self, row: OpRow) -> None:
        assert self.journal is not None
        self.journal.row(row)
        self.rows[row.key] = self.new[row.key] = row

    def _fail(self, key: str, why: str) -> None:
        assert self.journal is not None
        why = " ".join(why.split())
        self.journal.failed(key, why)
        self.failed[key] = why


def head_of(table: LatencyTable) -> dict[str, object]:
    """What ``table.yaml`` says about a loaded table."""
    return {name: getattr(table, name) for name in ("name", "threads", "reference", *TEXT_FIELDS)}


def _chunks(ops: Sequence[Workload]) -> list[list[Workload]]:
    """Operators that are converted before they are measured, so that rows come early and the disk is not flooded."""
    chunks: list[list[Workload]] = [[]]
    weight = 0
    for op in ops:
        if chunks[-1] and (len(chunks[-1]) == CHUNK_OPS or weight + 4 * op.params > CHUNK_BYTES):
            chunks.append([])
            weight = 0
        chunks[-1].append(op)
        weight += 4 * op.params
    return chunks


_RANK = {"steady": 0, "paired": 0, "scaled": 0, "unsteady": 1, "cpu": 2, "": 3}


def _quieter(new: OpRow, old: OpRow) -> bool:
    if _RANK[new.timing] != _RANK[old.timing]:
        return _RANK[new.timing] < _RANK[old.timing]
    return (new.reference_ms or 0.0) < (old.reference_ms or 0.0)
