"""The manifest of a bundle: which models it holds, and how to tell that they are the ones.

Reading, which trusts nothing, is in :mod:`archsearch.latency.bundle_read`.  Imports no framework.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SCHEMA = "archsearch.latency_bundle/1"
MANIFEST = "manifest.json"
TARGETS = ("litert", "coreml")
SUFFIX = {"litert": ".tflite", "coreml": ".mlpackage"}
DTYPES = ("float32", "float16", "int32", "int64", "int8", "uint8", "bool")


class Input(NamedTuple):
    """An input of a model as its runtime sees it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class BundleModel(NamedTuple):
    """A model of a bundle.  ``file`` is relative to the bundle; ``graph`` lists its nodes.

    ``sha256`` of a Core ML package (a folder) is that of its files' names and checksums (:func:`digest`).
    """

    key: str
    kind: str
    file: str
    bytes: int
    sha256: str
    inputs: tuple[Input, ...]
    graph: str
    params: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says about itself.  ``failed`` maps keys to why they could not be converted."""

    target: str
    created: str
    sources: tuple[str, ...]
    converter: Mapping[str, str]
    precision: str
    layout: str
    protocol: str
    reference: str
    complete: bool
    models: Mapping[str, BundleModel]
    failed: Mapping[str, str]


def digest(path: Path) -> tuple[int, str]:
    """(bytes, SHA-256) of a model: of the file, or of a folder's ``<sha256>  <relative name>`` lines in order of name.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_dir():
        hasher = hashlib.sha256()
        size = 0
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                hasher.update(block)
                size += len(block)
        return size, hasher.hexdigest()
    lines, total = [], 0
    for file in sorted(found for found in path.rglob("*") if found.is_file()):
        size, sha256 = digest(file)
        total += size
        lines.append(f"{sha256}  {file.relative_to(path).as_posix()}\n")
    return total, hashlib.sha256("".join(lines).encode()).hexdigest()


def to_text(manifest: Manifest) -> str:
    """JSON, one model a line: read in a diff as easily as by a program."""
    head: dict[str, object] = {
        "schema": SCHEMA,
        **{name: getattr(manifest, name) for name in ("target", "created", "sources", "converter", "precision",
                                                      "layout", "protocol", "reference", "complete", "failed")},
    }  # fmt: skip
    lines = [f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in head.items()]
    models = ",\n".join(model_text(model) for model in manifest.models.values())
    return "{\n" + ",\n".join(lines) + ',\n"models": [\n' + models + "\n]\n}\n"


def model_text(model: BundleModel) -> str:
    """One model as a line of JSON."""
    inputs = [entry._asdict() for entry in model.inputs]
    return json.dumps({**model._asdict(), "inputs": inputs}, ensure_ascii=False)
