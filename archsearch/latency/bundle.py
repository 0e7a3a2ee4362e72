"""Bundles: single-operator and single-block models with all that another machine needs to time them.

For a phone that this machine cannot reach: a colleague's iPhone, a device farm, an Xcode session.  The folder holds
the models, ``manifest.json``, a template for results and one for the device's description, and a script that fills
them where a runner is at hand.  Every finished model is noted on disk before the next, so that a kill at any moment
costs at most one chunk of conversions, which the cache still holds; the same call continues.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from archsearch.cost.block import Workload
from archsearch.errors import LatencyError
from archsearch.latency.bundle_manifest import (
    MANIFEST,
    TARGETS,
    BundleModel,
    Input,
    Manifest,
    digest,
    model_text,
    to_text,
)
from archsearch.latency.bundle_models import (
    chunks,
    converter_versions,
    estimate_bytes,
    file_of,
    tflite_inputs,
    with_reference,
)
from archsearch.latency.bundle_read import parse_model, read_manifest
from archsearch.latency.bundle_texts import (
    DEVICE,
    LAYOUTS,
    PRECISIONS,
    PROTOCOL,
    README,
    RESULTS,
    add_to_results,
    write_texts,
)
from archsearch.latency.conversion import cache_folder, convert_ops
from archsearch.latency.progress import Progress
from archsearch.latency.write import replace

NOTES = ".models.jsonl"  # models finished since the manifest was written
DRAFTS = ".drafts"


class Bundled(NamedTuple):
    """What :func:`write_bundle` did: models in the bundle, those new, why others failed, and bytes of models."""

    models: int
    new: int
    failed: Mapping[str, str]
    bytes: int


def missing(units: Mapping[str, Workload], folder: Path) -> list[Workload]:
    """Those of ``units`` (and the reference operator) that the bundle in ``folder`` does not list yet."""
    held: dict[str, BundleModel] = {}
    if (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        held = {**manifest.models, **noted(folder, manifest.target)}
    return [unit for key, unit in with_reference(units).items() if key not in held]


def noted(folder: Path, target: str) -> dict[str, BundleModel]:
    """Models that a run finished after its last manifest, before it was killed."""
    path = folder / NOTES
    models = {}
    with contextlib.suppress(FileNotFoundError):
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            with contextlib.suppress(ValueError):  # cut by the kill; a LatencyError is one, too
                model = parse_model(json.loads(line), target, f"{path}:{number}")
                models[model.key] = model
    return models


def write_bundle(
    units: Mapping[str, Workload],
    folder: Path,
    *,
    target: str,
    sources: Sequence[str] = (),
    cache: Path | None = None,
    workers: int | None = None,
    show_progress: bool = True,
) -> Bundled:
    """Write the models of ``units`` into ``folder``, or add what a bundle there lacks; results in it are kept.

    Raises:
        MissingExtraError: the converter is not installed.
        LatencyError: a folder that holds something else or a bundle of another converter, a full disk, a bundle that
            another process is writing.
    """
    if target not in TARGETS:
        raise LatencyError("unknown target", where="--to", got=target, allowed=", ".join(TARGETS))
    converter = converter_versions(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            return _Writer(folder, target, converter, sources, cache, workers).run(units, show_progress)
    except OSError as error:
        raise LatencyError(f"the bundle cannot be written ({error.strerror})", where=str(folder),
                           next_step="finished models are kept; the same command continues") from error  # fmt: skip


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LatencyError("another process is writing this bundle", where=str(folder)) from None
        yield
    finally:
        os.close(handle)


class _Writer:
    """One run over one bundle."""

    def __init__(
        self,
        folder: Path,
        target: str,
        converter: Mapping[str, str],
        sources: Sequence[str],
        cache: Path | None,
        workers: int | None,
    ) -> None:
        self.folder = folder
        self.target = target
        self.cache = cache or cache_folder()
        self.workers = workers
        self.models: dict[str, BundleModel] = {}
        self.failed: dict[str, str] = {}
        reference = next(iter(with_reference({})))
        self.manifest = Manifest(
            target=target,
            created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            sources=tuple(sources),
            converter=dict(converter),
            precision=PRECISIONS[target],
            layout=LAYOUTS[target],
            protocol=PROTOCOL,
            reference=reference,
            complete=False,
            models={},
            failed={},
        )

    def run(self, units: Mapping[str, Workload], show_progress: bool) -> Bundled:
        """Convert what is missing, chunk by chunk."""
        self._open()
        wanted = with_reference(units)
        self._take_finished()
        todo = [unit for key, unit in wanted.items() if key not in self.models]
        self._check_space(todo)
        self._save(complete=False)
        with Progress(show_progress) as progress, progress.task("writing", len(todo)) as task:
            for chunk in chunks(todo):
                for model in self._convert(chunk, task.advance):
                    self._note(model)
                self._save(complete=False)
        self._save(complete=True)
        shutil.rmtree(self.folder / DRAFTS, ignore_errors=True)
        for name in (MANIFEST, RESULTS, DEVICE, README):
            for draft in self.folder.glob(f".{name}.*"):  # left by a kill
                draft.unlink(missing_ok=True)
        total = sum(model.bytes for model in self.models.values())
        return Bundled(len(self.models), len(todo) - len(self.failed), dict(self.failed), total)

    def _open(self) -> None:
        path = self.folder / MANIFEST
        if not path.exists():
            others = sorted(entry.name for entry in self.folder.iterdir() if not entry.name.startswith("."))
            if others:
                raise LatencyError("the folder holds something else than a bundle", where=str(self.folder),
                                   got=", ".join(others[:5]), next_step="give a new or an empty folder")  # fmt: skip
            return
        old = read_manifest(self.folder)
        mine = self.manifest
        for name in ("target", "converter", "layout", "precision", "reference"):
            if getattr(old, name) != getattr(mine, name):
                raise LatencyError(f"a bundle with another {name}", where=str(path), got=getattr(mine, name),
                                   allowed=getattr(old, name), next_step="write another bundle")  # fmt: skip
        sources = tuple(dict.fromkeys((*old.sources, *mine.sources)))
        self.manifest = dataclasses.replace(mine, created=old.created, sources=sources)
        self.models = dict(old.models)

    def _take_finished(self) -> None:
        """Models that the manifest or the notes of a killed run name, as far as their files are whole."""
        self.models.update(noted(self.folder, self.target))
        for key, model in list(self.models.items()):
            path = self.folder / model.file
            if not path.exists() or digest(path) != (model.bytes, model.sha256):
                del self.models[key]

    def _check_space(self, todo: Sequence[Workload]) -> None:
        need = estimate_bytes(todo, self.target)
        free = shutil.disk_usage(self.folder).free
        if need > free:
            raise LatencyError("the models do not fit on the disk", where=str(self.folder),
                               got=f"about {need / 1e9:.1f} GB wanted, {free / 1e9:.1f} GB free",
                               next_step="choose with --kind or --limit, or another folder")  # fmt: skip

    def _convert(self, chunk: Sequence[Workload], done: object) -> Iterator[BundleModel]:
        assert callable(done)
        if self.target == "litert":
            models, failures = convert_ops(chunk, self.cache, self.workers, done=done)
            self.failed.update(failures)
            for unit in chunk:
                if unit.key in models:
                    source = models[unit.key]
                    self._place(unit, lambda draft, path=source.path: shutil.copyfile(path, draft))
                    yield self._model(unit, tflite_inputs(source.path), source.graph)
            return
        from archsearch.latency.coreml import convert_coreml

        drafts = self.folder / DRAFTS
        shutil.rmtree(drafts, ignore_errors=True)
        drafts.mkdir()
        for unit, result in convert_coreml(chunk, drafts):
            done(1)
            if isinstance(result, str):
                self.failed[unit.key] = result
                continue
            self._place(unit, lambda draft, path=result.path: path.rename(draft))
            yield self._model(unit, result.inputs, result.graph)

    def _place(self, unit: Workload, fill: object) -> None:
        """Put a model at its name whole or not at all."""
        assert callable(fill)
        path = self.folder / file_of(unit, self.target)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}")
        for stale in (draft, path):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
        fill(draft)
        draft.rename(path)

    def _model(self, unit: Workload, inputs: Sequence[Input], graph: str) -> BundleModel:
        file = file_of(unit, self.target)
        size, sha256 = digest(self.folder / file)
        return BundleModel(unit.key, unit.kind, file, size, sha256, tuple(inputs), graph, unit.params, unit.macs)

    def _note(self, model: BundleModel) -> None:
        self.models[model.key] = model
        with (self.folder / NOTES).open("ab") as stream:
            stream.write(b"\n" + model_text(model).encode() + b"\n")

    def _save(self, complete: bool) -> None:
        """Manifest and templates for what there is; the notes are then part of it."""
        models = {key: self.models[key] for key in sorted(self.models, key=lambda key: (self.models[key].kind, key))}
        manifest = dataclasses.replace(self.manifest, models=models, failed=dict(self.failed), complete=complete)
        replace(self.folder / MANIFEST, to_text(manifest).encode())
        (self.folder / NOTES).unlink(missing_ok=True)
        add_to_results(self.folder, manifest)
        if complete or not (self.folder / README).exists() or not (self.folder / DEVICE).exists():
            write_texts(self.folder, manifest)
