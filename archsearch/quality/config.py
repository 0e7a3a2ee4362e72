"""The frozen configuration of a quality run, and the small files that say what a run folder is.

A run folder holds ``run.json`` (what was asked: configuration, space, versions), a copy of the space, ``state.pt``
(training state, tensors and numbers only), and when training ends ``weights.safetensors`` (averaged weights),
``result.json`` (what was reached) and ``updates.csv`` (how often each path was trained).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from archsearch.errors import QualityError, unknown_name

if TYPE_CHECKING:
    from archsearch.space import Space

SCHEMA = "archsearch.quality-run/1"
RUN, STATE, WEIGHTS, RESULT, UPDATES, SCORES = (
    "run.json", "state.pt", "weights.safetensors", "result.json", "updates.csv", "scores.jsonl",
)  # fmt: skip
BUDGET = ("steps", "seconds", "threads", "save_seconds")  # may change when a run continues


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides what training does.

    Training ends after ``steps`` steps, or at the first step past ``seconds`` of training; the steps done are
    recorded, and a run is the same for the same steps however they were cut.  ``drop_residual`` and
    ``drop_transformer`` are the probabilities with which a block of the sampled network is left out of a step
    (SnapFusion's robust training, section 3.1); ``share_largest`` and ``share_smallest`` of the steps train the
    extremes of the space, all others a network drawn uniformly.  The share of the largest falls to that from one over
    the first ``warmup_steps``: rarely sampled paths then start on features that exist.
    """

    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    batch: int = 32
    threads: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema: float = 0.99
    guidance_dropout: float = 0.1
    schedule: Literal["cosine", "scaled_linear"] = "cosine"
    weighting: Literal["image", "velocity"] = "image"
    warmup_steps: int = 200
    share_largest: float = 0.1
    share_smallest: float = 0.1
    drop_residual: float = 0.05
    drop_transformer: float = 0.05
    save_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise QualityError("training needs a budget", where="steps", next_step="give steps or seconds")
        for name, low, high, whole in (
            ("steps", 1, 10**9, True),
            ("seconds", 0.001, 1e9, False),
            ("batch", 1, 65536, True),
            ("threads", 1, 1024, True),
            ("warmup_steps", 0, 10**9, True),
            ("learning_rate", 0, 10, False),
            ("weight_decay", 0, 10, False),
            ("clip_norm", 0, 1e9, False),
            ("ema", 0, 1, False),
            ("save_seconds", 0, 1e9, False),
            *((share, 0, 1, False) for share in _SHARES),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            kind = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not kind or not math.isfinite(value) or not low <= value <= high:
                raise QualityError("out of range", where=name, got=value, allowed=f"{low:g} to {high:g}")
        for name, allowed in (("schedule", ("cosine", "scaled_linear")), ("weighting", ("image", "velocity"))):
            if getattr(self, name) not in allowed:
                raise QualityError(unknown_name(name, str(getattr(self, name)), allowed), where=name)
        if self.share_largest + self.share_smallest > 1:
            raise QualityError("shares above one", where="share_largest + share_smallest",
                               got=self.share_largest + self.share_smallest, allowed="<= 1")  # fmt: skip


_SHARES = ("guidance_dropout", "share_largest", "share_smallest", "drop_residual", "drop_transformer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What ``run.json`` says."""

    config: TrainConfig
    space: str
    space_hash: str
    space_file: str
    versions: dict[str, str]


def space_hash(path: Path) -> str:
    """12 hexadecimal digits over what a space file says; titles, descriptions and comments left out.

    Raises:
        QualityError: the file cannot be read.
    """
    from archsearch.files import load_yaml

    data = dict(load_yaml(path, QualityError).data)
    for key in ("title", "description"):
        data.pop(key, None)
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def open_run(folder: Path, space: Space, config: TrainConfig) -> Run:
    """Begin a run, or come back to the one that lies in ``folder``.

    Raises:
        QualityError: the folder holds a run of another space or configuration, or cannot be written.
    """
    now = Run(
        config=config,
        space=space.name,
        space_hash=space_hash(space.path),
        space_file=f"space{space.path.suffix}",
        versions=_versions(),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QualityError(f"cannot write ({error.strerror})", where=str(folder)) from error
    if (folder / RUN).exists():
        before = read_run(folder)
        if before.space_hash != now.space_hash:
            raise QualityError(
                "this folder holds a run of another space",
                where=str(folder),
                got=space.name,
                allowed=f"{before.space} ({before.space_hash})",
                next_step="give another folder",
            )
        for item in fields(TrainConfig):
            a, b = getattr(before.config, item.name), getattr(config, item.name)
            if item.name not in BUDGET and a != b:
                raise QualityError(f"this folder holds a run with another {item.name}", where=str(folder), got=b,
                                   allowed=a, next_step="give another folder, or the same settings")  # fmt: skip
        now = Run(config=config, space=before.space, space_hash=before.space_hash, space_file=before.space_file,
                  versions=_versions())  # fmt: skip
    elif any(folder.iterdir()):
        raise QualityError("this folder is neither empty nor a quality run", where=str(folder),
                           next_step="give another folder")  # fmt: skip
    if not (folder / now.space_file).exists():
        write_atomic(folder / now.space_file, space.path.read_bytes())
    write_json(folder / RUN, {"schema": SCHEMA, **asdict(now)})
    return now


def read_run(folder: Path) -> Run:
    """What ``run.json`` of a run folder says.

    Raises:
        QualityError: no run folder, or a malformed one.
    """
    data = read_json(folder / RUN, "not a quality run")
    where = str(folder / RUN)
    try:
        known = {item.name for item in fields(TrainConfig)}
        if data.keys() != {"schema", *(item.name for item in fields(Run))} or data["config"].keys() - known:
            raise ValueError("its keys are not those of this release")
        config = TrainConfig(**data["config"])
        texts = {name: data[name] for name in ("space", "space_hash", "space_file")}
        if not all(isinstance(text, str) for text in texts.values()) or "/" in texts["space_file"]:
            raise ValueError("space must be text")
        versions = {str(key): str(value) for key, value in data["versions"].items()}
        return Run(config=config, versions=versions, **texts)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise QualityError(f"malformed ({error})", where=where) from error


def read_json(path: Path, otherwise: str) -> dict[str, Any]:
    """A JSON file of this schema.

    Raises:
        QualityError: missing, malformed or of another schema.
    """
    from archsearch.files import load_yaml

    try:
        there = path.is_file()
    except OSError:  # a name that is too long, a folder that may not be looked into
        there = False
    if not there:
        raise QualityError(otherwise, where=str(path.parent), got=f"no {path.name}",
                           next_step="make one with archsearch quality train")  # fmt: skip
    data = load_yaml(path, QualityError).data
    if data.get("schema") != SCHEMA:
        raise QualityError("written by another release", where=str(path), got=data.get("schema"), allowed=SCHEMA)
    return data


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file at once or not at all.

    Raises:
        QualityError: it cannot be written.
    """
    write_atomic(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file at once or not at all, so that a kill leaves the old or the new one.

    Raises:
        QualityError: it cannot be written (no space left, no permission).
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise QualityError(f"cannot write ({error.strerror})", where=str(path),
                           next_step="what was there before is kept") from error  # fmt: skip


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("archsearch", "torch", "pytorch-lightning", "diffusers", "numpy")}
