"""Latency tables: measured operator latencies of one device configuration, read strictly and fast.

A table is a folder: ``table.yaml`` says what was measured, how, when and under which licence; ``ops.csv`` holds one
row an operator and is covered by the checksum in ``table.yaml``.  While a table is being measured a journal lies
beside them (see :mod:`archsearch.latency.journal`); its finished rows count.  Imports no framework.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from archsearch.cost.block import PREFIX, BlockOp
from archsearch.cost.op import Op
from archsearch.errors import LatencyError, unknown_name
from archsearch.latency.calibration import Calibration, read_calibration
from archsearch.latency.journal import JOURNAL, read_journal
from archsearch.latency.rows import COLUMNS, FROM_DEVICE, OpRow, parse_row

SCHEMA = "archsearch.latency_table/1"
TABLE = "table.yaml"
OPS = "ops.csv"
MAX_BYTES = 64_000_000
Provenance: TypeAlias = Literal["measured", "modelled", "mixed"]

STATE_FIELDS = ("quantisation", "delegated", "affinity", "governor", "battery", "thermal")  # where a device tells
TEXT_FIELDS = (
    "description",
    "device",
    "soc",
    "os",
    "runtime",
    "runtime_version",
    "delegate",
    "precision",
    *STATE_FIELDS,
    "protocol",
    "date",
    "licence",
    "notes",
)
PRECISIONS = ("fp32", "fp16", "fp16-weights", "int8", "w8a16")
VALUE_BYTES = {"fp32": 4, "fp16": 2, "fp16-weights": 4, "int8": 1, "w8a16": 2}  # of activations, which move most


@dataclass(frozen=True, eq=False, kw_only=True)
class LatencyTable:
    """The operator latencies of one device configuration.  ``rows`` maps operator keys to rows.

    Compared and hashed by identity, so that what is fitted on a table can be cached.
    """

    name: str
    description: str
    device: str
    soc: str
    os: str
    runtime: str
    runtime_version: str
    delegate: str
    precision: str
    threads: int
    protocol: str
    date: str
    licence: str
    notes: str
    reference: str
    quantisation: str = ""
    delegated: str = ""
    affinity: str = ""
    governor: str = ""
    battery: str = ""
    thermal: str = ""
    rows: Mapping[str, OpRow] = field(repr=False)
    folder: Path | None = field(default=None, repr=False)
    calibration: Calibration | None = None

    @cached_property
    def provenance(self) -> Provenance:
        """``measured`` where every row comes from the device, ``modelled`` where none does."""
        return provenance_of({row.provenance for row in self.rows.values()})

    @cached_property
    def block_rows(self) -> Mapping[str, OpRow]:
        """The rows at the grain of blocks, by key."""
        return {key: row for key, row in self.rows.items() if key.startswith(PREFIX)}

    @cached_property
    def op_rows(self) -> Mapping[str, OpRow]:
        """The rows at the grain of operators, by key."""
        return {key: row for key, row in self.rows.items() if not key.startswith(PREFIX)}

    def op_latency_ms(self, op: Op) -> float:
        """Latency of one run of an operator: its row, or the estimate of ``latency.predict`` where there is none."""
        from archsearch.latency.predict import estimate

        return estimate(self, op).latency_ms

    def between_ms(self, block: BlockOp) -> float:
        """What one run of a block takes beyond its operators; 0 in a table without rows of blocks."""
        from archsearch.latency.predict import between

        return between(self, block).latency_ms

    @property
    def value_bytes(self) -> int:
        """Bytes of one activation at the table's precision."""
        return VALUE_BYTES.get(self.precision, 4)

    @property
    def configuration(self) -> str:
        """One line: device, runtime, delegate, precision, threads."""
        threads = f"{self.threads} thread" + ("" if self.threads == 1 else "s")
        return f"{self.device}, {self.runtime} {self.runtime_version}, {self.delegate}, {self.precision}, {threads}"


def provenance_of(kinds: Collection[str]) -> Provenance:
    """``measured``, ``modelled`` or ``mixed`` from the provenances of rows."""
    from_device = FROM_DEVICE.intersection(kinds)
    if not from_device:
        return "modelled"
    return "measured" if len(from_device) == len(set(kinds)) else "mixed"


def tables_folder() -> Path:
    """The folder of shipped tables: the wheel's data, else the repository's."""
    from archsearch.resources import data_folder

    return data_folder("latency_tables")


def table_names() -> list[str]:
    """Names of the shipped tables."""
    folder = tables_folder()
    return sorted(path.parent.name for path in folder.glob(f"*/{TABLE}")) if folder.is_dir() else []


def table_folder(ref: str | Path) -> Path:
    """The folder of a table given by name or path.

    Raises:
        LatencyError: there is no such table.
    """
    text = str(ref)
    path = Path(ref)
    is_path = isinstance(ref, Path) or "/" in text or "\\" in text or text in (".", "..")
    try:
        if not is_path and (tables_folder() / text / TABLE).is_file():
            return tables_folder() / text
        if (path / TABLE).is_file():
            return path
        if path.name == TABLE and path.is_file():
            return path.parent
    except (OSError, ValueError) as error:
        raise LatencyError("not a usable table name or folder", where=text, got=str(error)) from error
    if is_path:
        raise LatencyError(f"no latency table here: it lacks {TABLE}", where=text,
                           next_step="`archsearch latency list` names the shipped tables")  # fmt: skip
    raise LatencyError(
        unknown_name("latency table", text, table_names()),
        next_step="give a shipped table's name or a table's folder",
    )


def writable_folder(ref: str) -> Path:
    """The folder into which a table of this name or path is measured.

    A bare name is a shipped table of the repository, or else a folder here.

    Raises:
        LatencyError: the name of a table that is installed with the package, which is not written to.
    """
    path = Path(ref)
    shipped = tables_folder() / ref
    if path.name != ref or not (shipped / TABLE).is_file():
        return path
    if "_data" in shipped.parts:
        raise LatencyError("an installed table is not measured into", where=ref, next_step=f"give a path, as ./{ref}")
    return shipped


def load_table(ref: str | Path) -> LatencyTable:
    """Load a table by name or folder.

    Raises:
        LatencyError: unknown name, or a file that is malformed; names file and line.
    """
    folder = table_folder(ref)
    head, digest = read_head(folder)
    journal = read_journal(folder / JOURNAL) if (folder / JOURNAL).exists() else None
    rows = _read_ops(folder / OPS, digest, journal.sealed if journal else ())
    calibration = None
    if journal:
        rows.update((row.key, row) for row in journal.rows)
    else:
        calibration = read_calibration(folder, rows)
    return LatencyTable(**head, rows=MappingProxyType(rows), folder=folder, calibration=calibration)  # type: ignore[arg-type]


def read_head(folder: Path) -> tuple[dict[str, object], str]:
    """What ``table.yaml`` says: the table's fields (rows apart), and the checksum of ``ops.csv``.

    Raises:
        LatencyError: a missing, unknown or malformed field; names file, line and key.
    """
    from archsearch.files import load_yaml

    path = folder / TABLE
    document = load_yaml(path, LatencyError)
    data = document.data

    def at(key: str) -> str:
        return document.where((key,)) if key in data else f"{path}:{document.line(())}: {key}"

    if data.get("schema") != SCHEMA:
        raise LatencyError("another schema version", where=at("schema"), got=data.get("schema", "none"),
                           allowed=SCHEMA, next_step="use the archsearch release that wrote it")  # fmt: skip
    known = {"schema", "name", "threads", "reference", "sha256", *TEXT_FIELDS}
    for key in data:
        if key not in known:
            raise LatencyError("unknown field", where=at(str(key)), got=key, allowed=", ".join(sorted(known)))
    head: dict[str, object] = {}
    for key in ("name", "reference", *TEXT_FIELDS):
        value = data.get(key, "" if key in ("notes", "reference", "soc", *STATE_FIELDS) else None)
        if not isinstance(value, str):
            raise LatencyError("must be a text", where=at(key), got=value if key in data else "nothing")
        head[key] = value.strip()
    for key in ("name", "device", "runtime", "date", "licence"):
        if not head[key]:
            raise LatencyError("must not be empty", where=at(key))
    if head["precision"] not in PRECISIONS:
        raise LatencyError("unknown precision", where=at("precision"), got=head["precision"],
                           allowed=", ".join(PRECISIONS))  # fmt: skip
    threads = data.get("threads")
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise LatencyError("must be a positive whole number", where=at("threads"), got=threads)
    head["threads"] = threads
    digest = data.get("sha256")
    if not isinstance(digest, str) or len(digest) != 64:
        raise LatencyError("must be the SHA-256 of ops.csv in hex", where=at("sha256"), got=digest)
    return head, digest


def _read_ops(path: Path, digest: str, sealed: tuple[str, ...]) -> dict[str, OpRow]:
    """Rows by key.  ``sealed``: further checksums that an interrupted compaction has promised."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LatencyError("too large for a table", where=str(path), got=path.stat().st_size, allowed=MAX_BYTES)
        if not path.is_file():
            raise LatencyError("not a file", where=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise LatencyError(f"cannot read the table's rows ({error.strerror})", where=str(path)) from error
    rows = parse_ops(data, str(path))
    actual = hashlib.sha256(data).hexdigest()
    if actual != digest and actual not in sealed:
        raise LatencyError("the checksum differs from the one in table.yaml: edited or damaged", where=str(path),
                           got=actual, allowed=digest,
                           next_step="restore the file; after a wanted edit, set sha256 in table.yaml")  # fmt: skip
    return rows


def parse_ops(data: bytes, where: str) -> dict[str, OpRow]:
    """Parse the bytes of ``ops.csv``.

    Raises:
        LatencyError: not UTF-8, another header, a malformed or duplicate row, a file cut within a row.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LatencyError("not UTF-8", where=f"{where}:{line}") from None
    if not text.endswith("\n"):
        raise LatencyError("the last row is cut off", where=f"{where}:{text.count(chr(10)) + 1}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[str, OpRow] = {}
    lines: dict[str, int] = {}
    try:
        header = next(reader)
        if tuple(header) != COLUMNS:
            raise LatencyError("other columns", where=f"{where}:1", got=",".join(header), allowed=",".join(COLUMNS))
        for cells in reader:
            line = reader.line_num
            row = parse_row(cells, f"{where}:{line}")
            if row.key in rows:
                raise LatencyError(f"duplicate operator, first in line {lines[row.key]}", where=f"{where}:{line}",
                                   got=row.key)  # fmt: skip
            rows[row.key] = row
            lines[row.key] = line
    except csv.Error as error:
        raise LatencyError(f"not CSV ({error})", where=f"{where}:{reader.line_num}") from None
    return rows
