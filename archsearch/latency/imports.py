"""Rows from elsewhere: a filled bundle, a runtime's profile, published phone data; all of them become ``imported``.

An import is read and checked to the end before a table is touched.  Rows that a table holds already are kept; another
figure for one of them is an error unless ``replace`` is asked for.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from archsearch.errors import LatencyError, unknown_name
from archsearch.latency.journal import JOURNAL, JournalWriter
from archsearch.latency.rows import OpRow
from archsearch.latency.table import OPS, PRECISIONS, TABLE, TEXT_FIELDS, load_table
from archsearch.latency.write import ops_bytes, write_table

DEVICE_FIELDS = tuple(name for name in TEXT_FIELDS if name not in ("description", "protocol"))
SAME = ("device", "soc", "runtime", "runtime_version", "delegate", "precision", "threads")


@dataclass(frozen=True)
class Found:
    """What a file holds: rows with where each stands, what is known of the device, and remarks for the reader."""

    format: str
    rows: Mapping[str, OpRow]
    places: Mapping[str, str]
    head: Mapping[str, object]
    remarks: tuple[str, ...] = ()


class Imported(NamedTuple):
    """What :func:`import_rows` did to a table."""

    format: str
    new: int
    replaced: int
    kept: int
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Options:
    """``device`` chooses among the devices of published data, else names the device; ``device_yaml`` describes it."""

    device: str | None = None
    device_yaml: Path | None = None
    model: Path | None = None
    replace: bool = False
    description: str = ""
    head: Mapping[str, object] = field(default_factory=dict)


def detect(path: Path) -> str:
    """The format of what lies at ``path``.

    Raises:
        LatencyError: nothing that can be imported.
    """
    from archsearch.latency.bundle_manifest import MANIFEST

    try:
        if path.is_dir() and (path / MANIFEST).is_file():
            return "bundle"
        if path.is_dir() and (path / TABLE).is_file():
            raise LatencyError("this is a table already", where=str(path), next_step="`archsearch latency check` it")
        if not path.exists():
            raise LatencyError("no such file or folder", where=str(path))
        start = b""
        if path.is_file():
            with path.open("rb") as stream:
                start = stream.read(1 << 16)
    except OSError as error:
        raise LatencyError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except ValueError as error:
        raise LatencyError("not a usable path", where=str(path), got=str(error)) from error
    if _phones_know(path):
        return "phones"
    if b"Run Order" in start and b"avg_ms" in start:
        return "op-profile"
    if start.lstrip()[:1] in (b"[", b"{") and b'"cat"' in start and b'"dur"' in start:
        return "onnxruntime"
    raise LatencyError("not a format that is known", where=str(path), allowed=", ".join(FORMATS),
                       next_step="--format says which one it is meant to be")  # fmt: skip


def read(path: Path, options: Options, format_: str | None = None) -> Found:
    """Read and check what lies at ``path``; touches nothing.

    Raises:
        LatencyError: names file and line.
    """
    name = format_ or detect(path)
    if name not in FORMATS:
        raise LatencyError(unknown_name("format", name, FORMATS), where="--format")
    return FORMATS[name](path, options)


def import_rows(found: Found, folder: Path, options: Options) -> Imported:
    """Put rows into the table in ``folder``, which is made if need be.

    Raises:
        LatencyError: another configuration than the table's, another figure for a row that it holds, a device that
            is not described; the table is then as it was.
    """
    if not found.rows:
        raise LatencyError("no filled rows", where=str(folder), next_step="fill in results first")
    new_table = not (folder / TABLE).exists()
    if new_table and (folder / OPS).exists() and (folder / OPS).read_bytes() != ops_bytes([]):
        raise LatencyError(f"rows without their {TABLE}", where=str(folder / OPS), next_step="restore it")
    head = new_head(found, folder, options) if new_table else {}
    held: dict[str, OpRow] = {}
    if not new_table:
        held, head = _matching(found, folder, options)
    changed = [key for key, row in found.rows.items() if key in held and not _same(held[key], row)]
    if changed and not options.replace:
        key = changed[0]
        raise LatencyError(f"the table holds another figure for {len(changed)} of the rows", where=found.places[key],
                           got=f"{found.rows[key].latency_ms:.6g} ms for {key}",
                           allowed=f"{held[key].latency_ms:.6g} ms",
                           next_step="--replace takes the new ones")  # fmt: skip
    fresh = {key: row for key, row in found.rows.items() if key not in held or key in changed}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if new_table:
            write_table(folder, head, fresh.values())
        elif fresh:
            journal = JournalWriter(folder / JOURNAL)
            try:
                rows = {**load_table(folder).rows, **fresh}
                write_table(folder, head, rows.values(), journal)
            finally:
                journal.close()
    except OSError as error:
        raise LatencyError(f"the table cannot be written ({error.strerror})", where=str(folder)) from error
    return Imported(found.format, len(fresh) - len(changed), len(changed), len(found.rows) - len(fresh), found.remarks)


def _matching(found: Found, folder: Path, options: Options) -> tuple[dict[str, OpRow], dict[str, object]]:
    """Rows and head of the table that is there, if it is of the same configuration."""
    from archsearch.latency.measure import head_of

    table = load_table(folder)
    named = {"device": options.device} if options.device and found.format != "phones" else {}
    told = {**found.head, **_device_file(options), **named}
    for name in SAME:
        wanted = told.get(name)
        if wanted not in (None, "") and wanted != getattr(table, name):
            raise LatencyError(f"the table was measured with another {name}", where=str(folder), got=wanted,
                               allowed=getattr(table, name), next_step="import into another table")  # fmt: skip
    return dict(table.rows), head_of(table)


def new_head(found: Found, folder: Path, options: Options) -> dict[str, object]:
    """What ``table.yaml`` will say.

    Raises:
        LatencyError: device, runtime or date is not known.
    """
    head: dict[str, object] = dict.fromkeys(TEXT_FIELDS, "")
    head.update({"name": folder.resolve().name, "reference": "", "threads": 1, "precision": "fp32"})
    head.update({name: value for name, value in found.head.items() if value != ""})
    head.update({name: value for name, value in _device_file(options).items() if value != ""})
    if options.device and found.format != "phones":
        head["device"] = options.device
    if options.description:
        head["description"] = options.description
    head["description"] = head["description"] or "Imported."
    if found.format != "bundle" and not head["date"]:
        head["date"] = f"imported {datetime.datetime.now(datetime.UTC).date().isoformat()}"  # the source says no date
    for name in ("device", "runtime", "date"):
        if not head[name]:
            raise LatencyError(f"not known for a new table: {name}", where=str(options.device_yaml or "device.yaml"),
                               next_step="fill in device.yaml, or give --device-yaml FILE")  # fmt: skip
    head["licence"] = head["licence"] or "not stated"
    head["notes"] = " ".join(filter(None, (str(head["notes"]), *found.remarks)))
    return head


def _device_file(options: Options) -> dict[str, object]:
    return read_device(options.device_yaml) if options.device_yaml else {}


def read_device(path: Path) -> dict[str, object]:
    """Read a ``device.yaml``.

    Raises:
        LatencyError: an unknown field or an impossible value; names file and line.
    """
    from archsearch.files import load_yaml

    document = load_yaml(path, LatencyError)
    known = ("threads", *DEVICE_FIELDS)
    values: dict[str, object] = {}
    for name, value in document.data.items():
        where = document.where((name,))
        if name not in known:
            raise LatencyError("unknown field", where=where, got=name, allowed=", ".join(known))
        if name == "threads":
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1024:
                raise LatencyError("must be a positive whole number", where=where, got=value)
            values[name] = value
            continue
        if value is None or isinstance(value, bool | list | dict):
            if value is not None:
                raise LatencyError("must be a text", where=where, got=value)
            value = ""
        values[name] = " ".join(str(value).split())
    if values.get("precision", "fp32") not in PRECISIONS:
        raise LatencyError("unknown precision", where=document.where(("precision",)), got=values["precision"],
                           allowed=", ".join(PRECISIONS))  # fmt: skip
    if values.get("date"):
        try:
            datetime.date.fromisoformat(str(values["date"]))
        except ValueError:
            raise LatencyError("not a date", where=document.where(("date",)), got=values["date"],
                               allowed="YYYY-MM-DD") from None  # fmt: skip
    return values


def _same(old: OpRow, new: OpRow) -> bool:
    """The same figures at the precision that a table prints."""
    return [f"{x:.6g}" for x in old[2:5]] == [f"{x:.6g}" for x in new[2:5]]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, for the provenance of what was read from it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_bundle(path: Path, options: Options) -> Found:
    from archsearch.latency.bundle_results import read_filled

    return read_filled(path)


def _read_op_profile(path: Path, options: Options) -> Found:
    from archsearch.latency.op_profile import read_op_profile

    return read_op_profile(path, options.model)


def _read_onnxruntime(path: Path, options: Options) -> Found:
    from archsearch.latency.ort_profile import read_ort_profile

    return read_ort_profile(path)


def _phones_know(path: Path) -> bool:
    from archsearch.latency import phones

    return path.is_file() and phones.recognise(path)


def _read_phones(path: Path, options: Options) -> Found:
    from archsearch.latency import phones

    devices = phones.devices(path)
    if not devices:
        raise LatencyError("holds whole models, no operators", where=str(path),
                           next_step="import the operator file of the same data")  # fmt: skip
    if options.device not in devices:
        raise LatencyError("which of its devices?", where="--device", got=options.device or "nothing",
                           allowed=", ".join(devices))  # fmt: skip
    rows = {row.key: row for row in phones.import_rows(path, options.device)}
    return Found("phones", rows, dict.fromkeys(rows, str(path)), phones.head(path, options.device))


FORMATS: dict[str, Callable[[Path, Options], Found]] = {
    "bundle": _read_bundle,
    "op-profile": _read_op_profile,
    "onnxruntime": _read_onnxruntime,
    "phones": _read_phones,
}
