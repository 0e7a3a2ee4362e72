"""From the resolved template of a block to its value: the codec of ``arch`` plus two shorthands.

``depth`` and ``block`` stand for ``blocks`` (one transformer block repeated), and an attention takes either ``heads``
or ``head_dim`` and derives the other from the transformer's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archsearch.arch.codec import decode
from archsearch.arch.identity import effect_key
from archsearch.arch.values import Block, Shortcut
from archsearch.errors import ArchError, SpaceError
from archsearch.files import KeyPath, type_name
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
    if isinstance(data, dict) and data.get("kind") == "transformer":
        data = _transformer(source, data, path)
    return read_value(source, Block, data, path)  # type: ignore[no-any-return]


def read_value(source: Source, annotation: Any, data: Any, path: KeyPath) -> Any:
    """A value of ``arch.values`` from resolved plain data.

    Raises:
        SpaceError: what the codec of architectures refuses, at its place in the space file.
    """
    try:
        return decode(annotation, data, lambda inner: source.document.where((*path, *inner)))
    except ArchError as problem:
        raise SpaceError(problem.what, where=problem.where, got=problem.got, allowed=problem.allowed) from None


def _transformer(source: Source, data: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    result = {key: value for key, value in data.items() if key not in ("depth", "block")}
    if "block" in data:
        if "blocks" in data:
            raise source.error("a transformer has either blocks or block and depth", path, "both")
        depth = data.get("depth", 1)
        if isinstance(depth, bool) or not isinstance(depth, int) or not 0 <= depth <= 64:
            raise source.error("depth is a number of transformer blocks", (*path, "depth"), depth, "0 to 64")
        result["blocks"] = [data["block"]] * depth
    elif "depth" in data:
        raise source.error("depth repeats a block, which is missing", path, "no block")
    width = data.get("width")
    if isinstance(result.get("blocks"), list):
        result["blocks"] = [_slots(source, block, width, (*path, "block")) for block in result["blocks"]]
    return result


def _slots(source: Source, block: Any, width: Any, path: KeyPath) -> Any:
    if not isinstance(block, dict):
        return block
    result = dict(block)
    for name in ("first", "second"):
        slot = block.get(name)
        if isinstance(slot, dict) and slot.get("kind", "attention") == "attention":
            result[name] = {"kind": "attention", **_heads(source, slot, width, (*path, name))}
    return result


def _heads(source: Source, slot: dict[str, Any], width: Any, path: KeyPath) -> dict[str, Any]:
    given = [key for key in ("heads", "head_dim") if slot.get(key) is not None]
    if len(given) == 2:
        return slot
    if not given:
        raise source.error("an attention says heads, head_dim or both", path, "neither")
    size = slot[given[0]]
    if not isinstance(width, int) or isinstance(size, bool) or not isinstance(size, int) or size < 1 or width % size:
        got = size if isinstance(size, (int, float, str)) else type_name(size)
        raise source.error(f"{given[0]} must divide the transformer's width", (*path, given[0]), got, width)
    other = "head_dim" if given[0] == "heads" else "heads"
    return {**slot, other: width // size}
