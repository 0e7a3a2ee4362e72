"""The journal of a table under measurement: finished rows, one a line, each on disk before the next is measured.

A line is ``<first 16 hex of its SHA-256> <JSON>``.  A last line that was cut by a kill is no row; a damaged line
anywhere else is an error.  Besides rows there are ``seal`` lines: the checksum of an ``ops.csv`` about to replace
the old one, so that a kill between the two renames of a compaction leaves a table that still reads.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from archsearch.errors import LatencyError
from archsearch.latency.rows import OpRow, format_row, parse_row

JOURNAL = "ops.journal"


class Journal(NamedTuple):
    """Rows in the order of writing (a later one of the same key wins), promised checksums, failed operators."""

    rows: tuple[OpRow, ...]
    sealed: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def read_journal(path: Path) -> Journal:
    """Read the finished lines of a journal.

    Raises:
        LatencyError: a damaged line that is not the last.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LatencyError(f"cannot read the journal ({error.strerror})", where=str(path)) from error
    rows: list[OpRow] = []
    sealed: list[str] = []
    failed: list[tuple[str, str]] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if number == len(lines):
            break  # empty, or cut off before its newline
        where = f"{path}:{number}"
        digest, _, text = line.partition(b" ")
        if digest.decode("ascii", "replace") != _digest(text):
            raise LatencyError("a damaged line", where=where,
                               next_step="delete the line; its operator is measured again")  # fmt: skip
        record = _record(text, where)
        if "row" in record:
            rows.append(parse_row(_cells(record["row"], where), where))
        elif "seal" in record:
            sealed.append(str(record["seal"]))
        elif "failed" in record:
            failed.append((str(record["failed"]), str(record.get("why", ""))))
    return Journal(tuple(rows), tuple(sealed), tuple(failed))


def _record(text: bytes, where: str) -> dict[str, object]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise LatencyError("not a line of a journal", where=where, got=text[:60].decode("utf-8", "replace"))
    return record


def _cells(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(cell, str) for cell in value):
        raise LatencyError("a row is a list of texts", where=where, got=value)
    return value


class JournalWriter:
    """Appends lines; each is written with one call and synced to disk before the method returns."""

    def __init__(self, path: Path) -> None:
        """Open a journal, new or left by a run that was killed.

        Raises:
            LatencyError: another process measures into the same table.
            OSError: the file cannot be opened.
        """
        self._path = path
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(self._file), path.stat()):
                    break
            except BlockingIOError:
                os.close(self._file)
                raise LatencyError("another process is measuring into this table", where=str(path.parent),
                                   next_step="wait for it, or measure into another table") from None  # fmt: skip
            except FileNotFoundError:
                pass
            os.close(self._file)  # the file that we locked was removed by the process that finished with it
        self._drop_cut_line()

    def _drop_cut_line(self) -> None:
        size = os.fstat(self._file).st_size
        kept = self._path.read_bytes().rfind(b"\n") + 1
        if kept < size:
            os.ftruncate(self._file, kept)

    def row(self, row: OpRow) -> None:
        """Append a finished row."""
        self._append({"row": format_row(row)})

    def seal(self, sha256: str) -> None:
        """Promise the checksum of the ``ops.csv`` that is about to be put in place."""
        self._append({"seal": sha256})

    def failed(self, key: str, why: str) -> None:
        """Note an operator that could not be converted or measured."""
        self._append({"failed": key, "why": why})

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def abandon(self) -> None:
        """Close the file; a journal without any line goes, too."""
        if os.fstat(self._file).st_size == 0:
            self._path.unlink(missing_ok=True)
        self.close()

    def _append(self, record: dict[str, object]) -> None:
        text = json.dumps(record, ensure_ascii=False).encode()
        line = _digest(text).encode() + b" " + text + b"\n"
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, before)
            raise LatencyError(f"cannot write the journal ({error.strerror})", where=str(self._path),
                               next_step="finished rows are kept; the same command continues") from error  # fmt: skip


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]
