"""The study folder: everything that is needed to read a search years later.

::

    study.json      frozen configuration: objectives, constraints, hashes, versions, seed, date
    space.yaml      the searched space
    tables/0/...    the latency tables, as they were
    trials.jsonl    one line a finished trial

``trials.jsonl`` is the one source of truth for trials; strategies rebuild what they need from it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.errors import ArchsearchError, SearchError
from archsearch.search.config import StudyConfig, differences, from_json, to_json, version_differences
from archsearch.search.objectives import Constraint, Objective, parse_constraint, parse_objective
from archsearch.search.trial import TRIALS, Trial, TrialLog, read_trials

if TYPE_CHECKING:
    from archsearch.arch import Preset, UNet
    from archsearch.cost import Conditions
    from archsearch.latency.table import LatencyTable
    from archsearch.space import Space

STUDY = "study.json"
SPACE = "space.yaml"
TABLES = "tables"
MAX_STUDY_BYTES = 16_000_000


@dataclass(frozen=True)
class Study:
    """An opened study.  Space and tables are those kept in the folder, loaded when first asked for."""

    folder: Path
    config: StudyConfig
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, all minimised."""
        names = [table.name for table in self.config.tables]
        return tuple(parse_objective(text, names, str(self.folder / STUDY)) for text in self.config.objectives)

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """The constraints; their limits in units of the objectives are ``config.bounds``."""
        names = [table.name for table in self.config.tables]
        return tuple(parse_constraint(text, names, str(self.folder / STUDY)) for text in self.config.constraints)

    @cached_property
    def conditions(self) -> Conditions:
        """Under which every candidate was counted and predicted."""
        from archsearch.cost import Conditions

        plain = dict(self.config.conditions)
        try:
            return Conditions(**(plain | {"latent": tuple(plain["latent"])}))
        except (TypeError, KeyError) as error:
            raise SearchError(f"malformed conditions ({error})", where=str(self.folder / STUDY)) from error

    @cached_property
    def space(self) -> Space:
        """The searched space.

        Raises:
            SearchError: the copy in the folder is missing or was edited.
        """
        path = self.folder / SPACE
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise SearchError(f"cannot be read ({error.strerror})", where=str(path)) from error
        if found != self.config.space.sha256:
            raise SearchError("the study's space was edited", where=str(path), allowed=self.config.space.sha256,
                              next_step="restore the file; an edited space needs a study of its own")  # fmt: skip
        from archsearch.space import load_space

        return load_space(str(path))

    @cached_property
    def tables(self) -> tuple[LatencyTable, ...]:
        """The latency tables.

        Raises:
            SearchError: a copy in the folder is missing or was edited.
        """
        from archsearch.latency.table import load_table

        found = []
        for ref in self.config.tables:
            folder = self.folder / TABLES / Path(ref.folder).name
            if table_hash(folder) != ref.sha256:
                raise SearchError("the study's latency table was edited", where=str(folder), allowed=ref.sha256,
                                  next_step="restore the folder from a copy")  # fmt: skip
            found.append(load_table(folder))
        return tuple(found)

    def architecture(self, number: int) -> UNet:
        """The candidate of a trial.

        Raises:
            SearchError: there is no such trial, or the space now means another architecture by its encoding.
        """
        from archsearch.arch import arch_id

        if not 0 <= number < len(self.trials):
            allowed = f"0 to {len(self.trials) - 1}" if self.trials else "none yet"
            raise SearchError("no such trial", where=str(self.folder), got=number, allowed=allowed)
        trial = self.trials[number]
        space = self.space
        try:
            unet = space.decode(trial.encoding)
        except ArchsearchError as error:
            raise SearchError(f"the trial's encoding is not one of the space ({error.what})",
                              where=f"{self.folder}#{number}", got=list(trial.encoding)) from error  # fmt: skip
        if arch_id(unet) != trial.arch_id:
            raise SearchError("the space now gives another architecture than when it was searched",
                              where=f"{self.folder}#{number}", got=arch_id(unet), allowed=trial.arch_id,
                              next_step=f"use archsearch {self.config.versions.get('archsearch', '')}")  # fmt: skip
        return unet


def open_study(folder: Path) -> Study:
    """Read a study; finished trials of a running one are seen too.

    Raises:
        SearchError: not a study, another schema, or a damaged file.
    """
    path = folder / STUDY
    try:
        if path.stat().st_size > MAX_STUDY_BYTES:
            raise SearchError("too large for a study.json", where=str(path), allowed=f"<= {MAX_STUDY_BYTES} bytes")
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SearchError("not a study: it has no study.json", where=str(folder),
                          next_step="start one with `archsearch search run SPACE --study DIR`") from error  # fmt: skip
    except (OSError, ValueError) as error:
        raise SearchError(f"cannot be read ({error})", where=str(path)) from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SearchError(f"not JSON ({error})", where=str(path)) from error
    trials, _ = read_trials(folder / TRIALS)
    return Study(folder, from_json(data, str(path)), tuple(trials))


def create_study(folder: Path, config: StudyConfig, space_file: bytes, tables: Sequence[Path]) -> Study:
    """Write a new study folder; ``tables`` are the folders of ``config.tables``, in order.

    Raises:
        SearchError: the folder holds something else, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            what = "holds a study already" if (folder / STUDY).exists() else "is not empty"
            raise SearchError(f"the study's folder {what}", where=str(folder), next_step="name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SPACE).write_bytes(space_file)
        for ref, source in zip(config.tables, tables, strict=True):
            target = folder / TABLES / ref.folder
            target.mkdir(parents=True)
            for path in table_files(source):
                shutil.copyfile(path, target / path.name)
        write_atomically(folder / STUDY, json.dumps(to_json(config), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise SearchError(f"cannot write the study ({error.strerror})", where=str(folder)) from error
    return open_study(folder)


def check_same(study: Study, wanted: StudyConfig) -> None:
    """Refuse to continue a study under another configuration.

    Raises:
        SearchError: says what differs.
    """
    found = differences(study.config, wanted)
    if found:
        raise SearchError(f"the study was started with another configuration ({'; '.join(found)})",
                          where=str(study.folder),
                          next_step="`archsearch search resume` continues it; a new folder starts anew")  # fmt: skip


def check_versions(study: Study, now: Mapping[str, str]) -> None:
    """Refuse to add trials with software that would generate others.

    Raises:
        SearchError: says which versions differ.
    """
    found = version_differences(study.config, now)
    if found:
        raise SearchError(f"the study was started with other versions ({'; '.join(found)})", where=str(study.folder),
                          next_step="install those, or continue with --any-version and lose repeatability")  # fmt: skip


def extend(study: Study, trials: int) -> Study:
    """Raise the budget of trials.

    Raises:
        SearchError: the folder cannot be written.
    """
    if trials <= study.config.trials:
        return study
    config = replace(study.config, trials=trials)
    try:
        write_atomically(study.folder / STUDY, json.dumps(to_json(config), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise SearchError(f"cannot write the study ({error.strerror})", where=str(study.folder)) from error
    return Study(study.folder, config, study.trials)


def open_log(study: Study) -> tuple[Study, TrialLog]:
    """Take the study's lock; returns the study as it is under the lock, and the log to append to.

    Raises:
        SearchError: another process runs it, or it cannot be written.
    """
    log = TrialLog(study.folder / TRIALS)
    return Study(study.folder, study.config, tuple(log.open())), log


def resolve_trial(study: str, number: int) -> Preset:
    """``STUDY#NUMBER``: the architecture of a trial with the conditions under which it was searched.

    Raises:
        SearchError: no such study or trial.
    """
    from archsearch.arch import Preset

    opened = open_study(Path(study))
    unet = opened.architecture(number)
    return Preset(
        name=f"{opened.name}#{number}",
        title=f"Trial {number} of study {opened.name} in space {opened.config.space.name}",
        architecture=unet,
        latent=opened.conditions.latent,
        text=opened.conditions.text,
    )


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old or the new one, never a part."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def file_hash(paths: Sequence[Path]) -> str:
    """SHA-256 over names and contents.

    Raises:
        SearchError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SearchError(f"cannot be read ({error.strerror})", where=str(path)) from error
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def table_files(folder: Path) -> list[Path]:
    """The files that make a latency table (a journal of an unfinished measurement included)."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def table_hash(folder: Path) -> str:
    """SHA-256 of a latency table.

    Raises:
        SearchError: the folder cannot be read.
    """
    try:
        return file_hash(table_files(folder))
    except OSError as error:
        raise SearchError(f"cannot be read ({error.strerror})", where=str(folder)) from error
