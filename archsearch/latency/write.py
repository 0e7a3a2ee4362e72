"""Writing a latency table so that no kill at any moment leaves one that does not read."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from archsearch.latency.journal import JOURNAL, JournalWriter
from archsearch.latency.rows import COLUMNS, OpRow, format_row, sort_rows
from archsearch.latency.table import OPS, SCHEMA, STATE_FIELDS, TABLE, TEXT_FIELDS


def ops_bytes(rows: Iterable[OpRow]) -> bytes:
    """The content of ``ops.csv``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(format_row(row) for row in sort_rows(rows))
    return text.getvalue().encode()


def head_text(head: Mapping[str, object], sha256: str) -> str:
    """The content of ``table.yaml``: one key a line, texts quoted where YAML wants it."""
    lines = [f"schema: {SCHEMA}", f"name: {_scalar(head['name'])}"]
    for key in ("description", "device", "soc", "os", "runtime", "runtime_version", "delegate", "precision"):
        lines.append(f"{key}: {_scalar(head[key])}")
    lines.append(f"threads: {head['threads']}")
    lines += [f"{key}: {_scalar(head[key])}" for key in STATE_FIELDS if head.get(key)]
    for key in TEXT_FIELDS[TEXT_FIELDS.index("protocol") :]:
        lines.append(f"{key}: {_scalar(head[key])}")
    lines.append(f"reference: {_scalar(head['reference'])}")
    lines.append(f"sha256: {sha256}")
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    text = " ".join(str(value).split())
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_table(
    folder: Path, head: Mapping[str, object], rows: Iterable[OpRow], journal: JournalWriter | None = None
) -> None:
    """Put a whole table in place and drop its journal; pass the writer of a journal that is open.

    The order makes every prefix of the steps a table that loads with all rows: promise the new checksum in the
    journal, replace ``ops.csv``, replace ``table.yaml``, remove the journal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = ops_bytes(rows)
    sha256 = hashlib.sha256(data).hexdigest()
    if (folder / OPS).exists():
        writer = journal or JournalWriter(folder / JOURNAL)
        writer.seal(sha256)
        if journal is None:
            writer.close()
    replace(folder / OPS, data)
    replace(folder / TABLE, head_text(head, sha256).encode())
    (folder / JOURNAL).unlink(missing_ok=True)
    _sync_folder(folder)


def replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and durably."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
