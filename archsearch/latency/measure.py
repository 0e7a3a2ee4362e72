"""Measuring operators into a table: convert, time, journal, compact; resumable after a kill at any moment."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.conversion import OpModel, cache_folder, convert_ops, converter_version
from archsearch.latency.host import MAX_SECONDS, HostRunner, OpFailedError, Timings, describe_host
from archsearch.latency.journal import JOURNAL, JournalWriter
from archsearch.latency.progress import Progress
from archsearch.latency.rows import OpRow
from archsearch.latency.runner import STEADY
from archsearch.latency.table import OPS, TABLE, TEXT_FIELDS, LatencyTable, load_table
from archsearch.latency.write import ops_bytes, write_table

REFERENCE = Op("conv2d", ((1, 64, 32, 32),), (("bias", 1), ("g", 1), ("k", 3), ("out", 64), ("s", 1)))
CHUNK_OPS = 192
CHUNK_BYTES = 1_000_000_000
PROTOCOL = (
    "Each operator is a model of its own, converted by litert-torch {converter} with images in NHWC, random weights "
    "and inputs. Warm-up, then runs in blocks of 50 ms between blocks of the reference operator, at least 5 runs and "
    "until the 95 % confidence interval of the median is within 2 % of it, at most {max_seconds:g} s. Runs count while "
    "the reference stands within 10 % of its quiet level and the scheduler does not take the core away; operators "
    "that got no such runs are measured again at the end, and what then remains is marked unsteady or cpu. "
    "latency_ms is the median, p10_ms and p90_ms quantiles of the counted runs, one call from Python included (about "
    "0.001 ms). Weights and activations are warm in the caches."
)


@dataclass(frozen=True)
class Measured:
    """What a run of :func:`measure` did.  ``left`` operators were not reached; ``failed`` maps keys to reasons."""

    rows: int
    failed: dict[str, str]
    left: int
    convert_seconds: float
    measure_seconds: float


def measure(
    ops: Sequence[Op],
    folder: Path,
    *,
    device: str = "host",
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

    With ``again``, rows of ``ops`` that were timed under load are measured once more, too; the quieter one stays.
    Every finished row is on disk before the next operator starts, so that a kill loses at most one; the same call
    continues.  After ``budget_seconds`` no further operator is started.

    Raises:
        MissingExtraError: litert-torch or ai-edge-litert is not installed.
        LatencyError: another device than ``host``; a table of another configuration; a folder that cannot be
            written or is being measured into by somebody else.
    """
    check_device(device)
    session = _Session(folder, threads, cache or cache_folder(), max_seconds, budget_seconds)
    session.open(description, licence)
    try:
        with Progress(show_progress) as progress:
            return session.run(list(dict.fromkeys(ops)), again, progress)
    finally:
        session.close()


def check_device(device: str) -> None:
    """Refuse what cannot be measured on.

    Raises:
        LatencyError: any device but ``host``.
    """
    if device != "host":
        raise LatencyError("this device cannot be measured on yet", where="device", got=device, allowed="host")


class _Session:
    """One run over one table."""

    def __init__(
        self, folder: Path, threads: int, cache: Path, max_seconds: float, budget_seconds: float | None
    ) -> None:
        self.folder = folder
        self.threads = threads
        self.cache = cache
        self.max_seconds = max_seconds
        self.end = time.monotonic() + budget_seconds if budget_seconds is not None else float("inf")
        self.journal: JournalWriter | None = None
        self.rows: dict[str, OpRow] = {}
        self.new: dict[str, OpRow] = {}
        self.failed: dict[str, str] = {}
        self.convert_seconds = 0.0

    def open(self, description: str, licence: str) -> None:
        """Create or check the table, and take its journal."""
        host = describe_host(self.threads)
        try:
            if not (self.folder / TABLE).exists():
                self._create(host, description, licence)
            self.journal = JournalWriter(self.folder / JOURNAL)
        except OSError as error:
            raise LatencyError(f"the table cannot be written ({error.strerror})", where=str(self.folder)) from error
        for name in (OPS, TABLE):
            for draft in self.folder.glob(f".{name}.*"):  # left by a kill
                draft.unlink(missing_ok=True)
        try:
            table = load_table(self.folder)
            for name in ("soc", "runtime", "runtime_version", "delegate", "precision", "threads"):
                if getattr(table, name) != host[name]:
                    raise LatencyError(f"the table was measured with another {name}", where=str(self.folder),
                                       got=host[name], allowed=getattr(table, name),
                                       next_step="measure into another table")  # fmt: skip
        except BaseException:
            self.journal.close()
            raise
        self.rows = dict(table.rows)
        self.head = head_of(table)

    def _create(self, host: dict[str, object], description: str, licence: str) -> None:
        rows = self.folder / OPS
        if rows.exists() and rows.read_bytes() != ops_bytes([]):
            raise LatencyError(f"rows without their {TABLE}", where=str(rows), next_step="restore it, or remove both")
        head: dict[str, object] = {
            **host,
            "name": self.folder.resolve().name,
            "description": description or "Measured here.",
            "protocol": PROTOCOL.format(converter=converter_version(), max_seconds=self.max_seconds),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "licence": licence,
            "notes": "",
            "reference": REFERENCE.key,
        }
        write_table(self.folder, head, [])

    def close(self) -> None:
        """Compact the journal into ``ops.csv``."""
        assert self.journal is not None
        try:
            write_table(self.folder, self.head, self.rows.values(), self.journal)
        finally:
            self.journal.close()

    def run(self, ops: Sequence[Op], again: bool, progress: Progress) -> Measured:
        """Measure what is missing, then once more what was timed under load."""
        todo = [op for op in ops if op.key not in self.rows]
        start = time.monotonic()
        if todo or (again and self._under_load(ops)):
            first, *rest = _chunks(todo)
            models = self._convert([REFERENCE, *first], progress)
            if not models or models[0].key != REFERENCE.key:
                raise LatencyError("the reference operator cannot be converted", got=self.failed.get(REFERENCE.key))
            with HostRunner(models[0].path, self.threads, self._quiet_ms()) as runner:
                self._measure(runner, models if REFERENCE in first else models[1:], progress)
                for chunk in rest:
                    if time.monotonic() < self.end:
                        self._measure(runner, self._convert(chunk, progress), progress)
                self._once_more(runner, ops if again else [op for op in ops if op.key in self.new], progress)
        left = sum(op.key not in self.rows and op.key not in self.failed for op in todo)
        return Measured(
            len(self.new), self.failed, left, self.convert_seconds, time.monotonic() - start - self.convert_seconds
        )

    def _convert(self, ops: Sequence[Op], progress: Progress) -> list[OpModel]:
        start = time.monotonic()
        with progress.task("converting", len(ops)) as task:
            models, failures = convert_ops(ops, self.cache, done=task.advance)
        self.convert_seconds += time.monotonic() - start
        for key, why in failures.items():
            self._fail(key, why)
        return [models[op.key] for op in dict.fromkeys(ops) if op.key in models]

    def _measure(self, runner: HostRunner, models: Sequence[OpModel], progress: Progress) -> None:
        with progress.task("measuring", len(models)) as task:
            for model in models:
                if time.monotonic() >= self.end:
                    return
                task.show(model.key)
                try:
                    self._keep(row_of(model, runner.time(model.path, max_seconds=self.max_seconds)))
                except OpFailedError as error:
                    self._fail(model.key, str(error))
                task.advance(1)

    def _quiet_ms(self) -> float | None:
        """What the reference took beside the quietest rows of earlier sessions."""
        levels = sorted(row.reference_ms for row in self.rows.values() if row.timing == "steady" and row.reference_ms)
        return levels[len(levels) // 20] if levels else None

    def _under_load(self, ops: Sequence[Op]) -> list[Op]:
        """Operators whose row is marked so, or was taken as steady before the quiet level was known."""
        limit = STEADY * (self._quiet_ms() or 0.0)
        rows = ((op, self.rows[op.key]) for op in ops if op.key in self.rows)
        return [
            op for op, row in rows
            if row.provenance == "measured" and (row.timing != "steady" or (row.reference_ms or 0.0) > limit)
        ]  # fmt: skip

    def _once_more(self, runner: HostRunner, ops: Sequence[Op], progress: Progress) -> None:
        """Measure once more what was timed under load; the quieter of the two measurements stays."""
        drifted = self._under_load(ops)
        if not drifted or time.monotonic() >= self.end:
            return
        models, _ = convert_ops(drifted, self.cache)
        with progress.task("measuring again", len(models)) as task:
            for model in models.values():
                if time.monotonic() >= self.end:
                    return
                task.show(model.key)
                try:
                    row = row_of(model, runner.time(model.path, max_seconds=self.max_seconds))
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
        self.journal.failed(key, why)
        self.failed[key] = why


def head_of(table: LatencyTable) -> dict[str, object]:
    """What ``table.yaml`` says about a loaded table."""
    return {name: getattr(table, name) for name in ("name", "threads", "reference", *TEXT_FIELDS)}


def _chunks(ops: Sequence[Op]) -> list[list[Op]]:
    """Operators that are converted before they are measured, so that rows come early and the disk is not flooded."""
    chunks: list[list[Op]] = [[]]
    weight = 0
    for op in ops:
        if chunks[-1] and (len(chunks[-1]) == CHUNK_OPS or weight + 4 * op.params > CHUNK_BYTES):
            chunks.append([])
            weight = 0
        chunks[-1].append(op)
        weight += 4 * op.params
    return chunks


_RANK = {"steady": 0, "unsteady": 1, "cpu": 2, "": 3}


def _quieter(new: OpRow, old: OpRow) -> bool:
    if new.timing != old.timing:
        return _RANK[new.timing] < _RANK[old.timing]
    return (new.reference_ms or 0.0) < (old.reference_ms or 0.0)


def row_of(model: OpModel, timings: Timings) -> OpRow:
    """The row of a timed model: median, quantiles, ratio to the reference."""
    runs = sorted(timings.cpu_ns if timings.timing == "cpu" else timings.wall_ns)
    latency_ms = statistics.median(runs) / 1e6
    reference_ms = statistics.median(timings.reference_ns) / 1e6
    return OpRow(
        key=model.key,
        kind=model.key.split("[", 1)[0],
        latency_ms=latency_ms,
        p10_ms=min(quantile(runs, 0.1) / 1e6, latency_ms),
        p90_ms=max(quantile(runs, 0.9) / 1e6, latency_ms),
        provenance="measured",
        runs=len(runs),
        dropped=timings.dropped,
        timing=timings.timing,  # type: ignore[arg-type]
        ratio=latency_ms / reference_ms,
        reference_ms=reference_ms,
        cpu_ms=statistics.median(timings.cpu_ns) / 1e6,
        graph=model.graph,
        measured_at=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def quantile(ordered: Sequence[int], q: float) -> float:
    """Linear interpolation between order statistics."""
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
