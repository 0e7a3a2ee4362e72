"""From the resolved template of a block to its value: the codec of ``arch`` and the shorthands of its presets.

``depth`` and ``block`` stand for ``blocks`` (one transformer block repeated), and an attention takes either ``heads``
or ``head_dim`` and derives the other from the transformer's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archsearch.arch.codec import FieldError, decode
from archsearch.arch.compact import expand_transformer
from archsearch.arch.identity import effect_key
from archsearch.arch.values import Block, Shortcut
from archsearch.errors import ArchError, SpaceError
from archsearch.files import KeyPath
from archsearch.space.source import Source


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """A block, one object for all spellings of it, so that layers compare and hash in no time."""

    block: Block


class Parts:
    """The blocks of one space."""

    def __init__(self) -> None:
        self._known: dict[str, Part] = {}
        self._built: dict[str, Part] = {}
        self._shortcuts: dict[int, Part] = {}

    def of(self, block: Block) -> Part:
        """The part of a block."""
        return self._known.setdefault(effect_key(block), Part(block))

    def shortcut(self, channels: int) -> Part:
        """The 1x1 convolution that is left of a removed residual block."""
        if channels not in self._shortcuts:
            self._shortcuts[channels] = self.of(Shortcut(channels=channels))
        return self._shortcuts[channels]

    def build(self, source: Source, data: Any, path: KeyPath) -> Part:
        """The part of a resolved template; as :func:`build_block`, remembered."""
        text = repr(data)
        if text not in self._built:
            self._built[text] = self.of(build_block(source, data, path))
        return self._built[text]


def build_block(source: Source, data: Any, path: KeyPath) -> Block:
    """The block of a resolved template.

    Raises:
        SpaceError: what the codec of architectures refuses, at the template's place.
    """
    short = isinstance(data, dict) and data.get("kind") == "transformer" and "block" in data
    if isinstance(data, dict) and data.get("kind") == "transformer":
        data = _transformer(source, data, path)
    return read_value(source, Block, data, path, short)  # type: ignore[no-any-return]


def read_value(source: Source, annotation: Any, data: Any, path: KeyPath, short: bool = False) -> Any:
    """A value of ``arch.values`` from resolved plain data; ``short``: its ``blocks`` were written as ``block``.

    Raises:
        SpaceError: what the codec of architectures refuses, at its place in the space file.
    """

    def where(inner: KeyPath) -> str:
        return source.document.where((*path, *(("block", *inner[2:]) if short and inner[:1] == ("blocks",) else inner)))

    try:
        return decode(annotation, data, where)
    except ArchError as problem:
        raise SpaceError(problem.what, where=problem.where, got=problem.got, allowed=problem.allowed) from None


def _transformer(source: Source, data: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    """A transformer without shorthands; heads or head_dim may be null, which is as if it were not written."""
    data = dict(data)
    if isinstance(data.get("block"), dict):
        data["block"] = {key: _without_null(item) for key, item in data["block"].items()}
    try:
        return expand_transformer(data, None, path)
    except FieldError as problem:
        raise SpaceError(
            problem.what, where=source.document.where(problem.path), got=problem.got, allowed=problem.allowed
        ) from None


def _without_null(slot: Any) -> Any:
    if not isinstance(slot, dict):
        return slot
    return {key: value for key, value in slot.items() if value is not None or key not in ("heads", "head_dim")}
