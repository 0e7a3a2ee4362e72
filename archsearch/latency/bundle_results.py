"""A filled bundle: ``results.csv`` against ``manifest.json`` and the models, as rows for a table."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from archsearch.errors import LatencyError
from archsearch.latency.bundle_manifest import MANIFEST, BundleModel, Manifest, digest
from archsearch.latency.bundle_read import read_manifest
from archsearch.latency.bundle_texts import DEVICE, RESULT_COLUMNS, RESULTS
from archsearch.latency.imports import Found, read_device
from archsearch.latency.rows import OpRow

MAX_BYTES = 256_000_000
_TIMES = ("median_ms", "p10_ms", "p90_ms", "p5_ms", "p95_ms", "min_ms", "reference_ms")
MAX_MS = 3_600_000.0


def read_filled(folder: Path) -> Found:
    """Rows of a bundle's filled results, and what ``device.yaml`` says.

    Raises:
        LatencyError: a model that is not the one of the manifest, a time that is none, a row twice or for nothing in
            the bundle, a file that is cut off; names file and line.
    """
    manifest = read_manifest(folder)
    absent = check_models(folder, manifest)
    rows, places, counts = parse_results(folder / RESULTS, manifest)
    device = read_device(folder / DEVICE)
    date = str(device.get("date", ""))
    remarks = []
    if counts["bare"]:
        remarks.append(f"{counts['bare']} rows came without quantiles: p10_ms and p90_ms repeat the median.")
    if counts["wide"]:
        remarks.append(f"{counts['wide']} rows came with p5 and p95, which stand as p10_ms and p90_ms.")
    if absent:
        remarks.append(f"{absent} of {len(manifest.models)} models were not beside the results and were not checked.")
    converter = ", ".join(f"{name} {version}" for name, version in manifest.converter.items())
    head = {
        **device,
        "description": "Imported from a bundle.",
        "protocol": f"Asked for: {manifest.protocol} Models by {converter}; {manifest.layout}.",
        "reference": manifest.reference,
    }
    dated = {key: row._replace(measured_at=date) for key, row in rows.items()}
    return Found("bundle", dated, places, head, tuple(remarks))


def check_models(folder: Path, manifest: Manifest) -> int:
    """Compare the models that are there with the manifest; returns how many are not there.

    Raises:
        LatencyError: a model was changed.
    """
    absent = 0
    for model in manifest.models.values():
        path = folder / model.file
        if not path.exists():
            absent += 1
            continue
        if not path.resolve().is_relative_to(folder.resolve()) or not (path.is_file() or path.is_dir()):
            raise LatencyError("leads out of the bundle, or is no file", where=str(path))
        try:
            size, sha256 = digest(path)
        except OSError as error:
            raise LatencyError(f"cannot be read ({error.strerror})", where=str(path)) from error
        if (size, sha256) != (model.bytes, model.sha256):
            raise LatencyError(f"not the model of the manifest {folder / MANIFEST}", where=str(path),
                               got=f"{size} bytes, sha256 {sha256[:16]}",
                               allowed=f"{model.bytes} bytes, sha256 {model.sha256[:16]}",
                               next_step="its times are those of something else; restore the model")  # fmt: skip
    return absent


def parse_results(path: Path, manifest: Manifest) -> tuple[dict[str, OpRow], dict[str, str], dict[str, int]]:
    """Rows by key, where each stands, and how many have no quantiles (``bare``) or wider ones (``wide``)."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[str, OpRow] = {}
    places: dict[str, str] = {}
    counts = {"bare": 0, "wide": 0}
    seen: dict[str, int] = {}
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, f"{path}:1")
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise LatencyError("a row has another number of cells (truncated?)", where=where, got=len(cells),
                                   allowed=len(header))  # fmt: skip
            values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            model = manifest.models.get(values["key"])
            if model is None:
                raise LatencyError("not a key of this bundle", where=where, got=values["key"] or "nothing")
            if values.get("file") and values["file"] != model.file:
                raise LatencyError("not the file of this key", where=where, got=values["file"], allowed=model.file)
            if model.key in seen:
                raise LatencyError(f"stands twice, first in line {seen[model.key]}", where=where, got=model.key)
            seen[model.key] = reader.line_num
            row = _row(model, values, where, counts)
            if row is not None:
                rows[model.key] = row
                places[model.key] = where
    except csv.Error as error:
        raise LatencyError(f"not CSV ({error})", where=f"{path}:{reader.line_num}") from None
    return rows, places, counts


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise LatencyError(f"cannot read the results ({error.strerror})", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise LatencyError("too large for results", where=str(path), allowed=f"<= {MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise LatencyError("not UTF-8 text", where=f"{path}:{line}") from None


def _check_header(header: list[str], where: str) -> None:
    for name in header:
        if name not in RESULT_COLUMNS:
            raise LatencyError("unknown column", where=where, got=name, allowed=", ".join(RESULT_COLUMNS))
    if len(set(header)) != len(header):
        raise LatencyError("a column stands twice", where=where, got=",".join(header))
    if "key" not in header or not {"median_ms", "samples_ms"} & set(header):
        raise LatencyError("lacks key, or median_ms and samples_ms", where=where, got=",".join(header) or "nothing")


def _row(model: BundleModel, values: Mapping[str, str], where: str, counts: dict[str, int]) -> OpRow | None:
    """The row of a line; none where nothing was filled in."""
    times = {name: _time(values[name], name, where) for name in _TIMES if values.get(name)}
    samples = [_time(word, "samples_ms", where) for word in values.get("samples_ms", "").replace(";", " ").split()]
    runs = _runs(values.get("runs", ""), where)
    if samples:
        if runs is not None and runs != len(samples):
            raise LatencyError("runs is not the number of samples", where=where, got=runs, allowed=len(samples))
        runs = len(samples)
        times = {**quantiles(samples), **times}
    if "median_ms" not in times:
        if times or runs is not None:
            raise LatencyError("a row without median_ms and samples_ms", where=where, got=", ".join(times) or "runs",
                               next_step="fill it in, or leave the whole row empty")  # fmt: skip
        return None
    if runs == 0:
        raise LatencyError("a time of no runs", where=where, got="runs 0", allowed=">= 1, or empty where unknown")
    low, high = _band(times, where, counts)
    median, reference = times["median_ms"], times.get("reference_ms")
    if "min_ms" in times and times["min_ms"] > median:
        raise LatencyError("min_ms <= median_ms must hold", where=where, got=f"{times['min_ms']:g}, {median:g}")
    return OpRow(
        key=model.key,
        kind=model.kind,
        latency_ms=median,
        p10_ms=low,
        p90_ms=high,
        provenance="imported",
        runs=runs or 0,
        ratio=median / reference if reference else None,
        reference_ms=reference,
        graph=model.graph,
    )


def _band(times: Mapping[str, float], where: str, counts: dict[str, int]) -> tuple[float, float]:
    median = times["median_ms"]
    for name, low, high in (("", "p10_ms", "p90_ms"), ("wide", "p5_ms", "p95_ms")):
        if low in times and high in times:
            if not times[low] <= median <= times[high]:
                raise LatencyError(f"{low} <= median_ms <= {high} must hold", where=where,
                                   got=f"{times[low]:g}, {median:g}, {times[high]:g}")  # fmt: skip
            if name:
                counts[name] += 1
            return times[low], times[high]
        if low in times or high in times:
            raise LatencyError(f"{low} and {high} come together", where=where, got=low if low in times else high)
    counts["bare"] += 1
    return median, median


def quantiles(samples: list[float]) -> dict[str, float]:
    """Median, p10 and p90 of single runs, by linear interpolation."""
    if len(samples) == 1:
        return {"median_ms": samples[0], "p10_ms": samples[0], "p90_ms": samples[0]}
    cuts = statistics.quantiles(samples, n=10, method="inclusive")
    median = statistics.median(samples)
    low, high = max(cuts[0], min(samples)), min(cuts[-1], max(samples))  # interpolation rounds
    return {"median_ms": median, "p10_ms": min(low, median), "p90_ms": max(high, median)}


def _time(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value <= MAX_MS:
        raise LatencyError(f"{name} must be a positive number of milliseconds", where=where, got=text)
    return value


def _runs(text: str, where: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise LatencyError("runs must be a whole number", where=where, got=text)
    return int(text)
