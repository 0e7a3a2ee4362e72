"""Training state on disk: tensors and numbers only, written at once or not at all, read without executing anything."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import QualityError
from archsearch.quality.config import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = "archsearch.training-state/1"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state.

    Raises:
        QualityError: a weight is not finite (the file of before stays), or the file cannot be written.
    """
    import torch

    for name, tensor in state["weights"].items():
        if not torch.isfinite(tensor).all():
            raise QualityError("a weight is no longer finite", where=f"step {state['step']}: {name}",
                               next_step=_AFTER_NAN)  # fmt: skip
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, buffer)
    write_atomic(path, buffer.getvalue())


_AFTER_NAN = "the last checkpoint is kept; train again with a lower learning rate in another folder"


def not_finite(step: int, loss: float) -> QualityError:
    """The error of a loss that is NaN or infinite."""
    return QualityError("the loss is not finite", where=f"step {step}", got=loss, next_step=_AFTER_NAN)


def load_state(path: Path, space_hash: str) -> dict[str, Any] | None:
    """Read a state; None when there is none yet.

    Raises:
        QualityError: damaged, of another release or of another space.
    """
    import torch

    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged or hostile files
        raise QualityError("not a readable training state", where=str(path), got=type(error).__name__,
                           next_step="remove it to begin again") from error  # fmt: skip
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise QualityError("not a training state of this release", where=str(path), allowed=SCHEMA)
    if state.get("space") != space_hash:
        raise QualityError("a training state of another space", where=str(path), got=state.get("space"),
                           allowed=space_hash)  # fmt: skip
    return state


def save_weights(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights as safetensors, at once or not at all; equal weights give equal files.

    Raises:
        QualityError: the file cannot be written.
    """
    from safetensors.torch import save

    metadata = {"archsearch": json.dumps(about)}  # one entry, because several come in any order
    write_atomic(path, save({name: tensor.contiguous() for name, tensor in weights.items()}, metadata))


def load_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Weights and the SHA-256 of their file.

    Raises:
        QualityError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        return load(content), hashlib.sha256(content).hexdigest()
    except (OSError, SafetensorError) as error:
        what = "has no weights: training has not ended" if isinstance(error, FileNotFoundError) else "damaged weights"
        raise QualityError(what, where=str(path), got=os.fspath(path.name),
                           next_step="run archsearch quality train again: it continues") from error  # fmt: skip
