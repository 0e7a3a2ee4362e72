"""The compact way to write an architecture by hand, expanded to the plain data of ``codec``.

Beside the fields of the values:

* ``blocks:`` names blocks; a layer is a list of such names (or of blocks written in place);
* a stage's ``channels`` go to its residual blocks, transformers (as ``width``) and samplers, which need not be
  written: every stage but the last has a downsample, every stage but the first an upsample, at its own width;
* a transformer is written with ``block`` and ``depth`` instead of ``blocks``, an attention with ``heads`` or
  ``head_dim`` alone, which divide the width;
* ``time`` may be left out: sinusoids of ``conv_in_channels``, a width of four times that.
"""

from __future__ import annotations

from typing import Any

from archsearch.arch.codec import FieldError
from archsearch.errors import unknown_name
from archsearch.files import KeyPath, Locate, type_name


class Expansion:
    """Expands one hand-written architecture and remembers where each block was written.

    Args:
        body: the content under ``unet:`` or ``decoder:``.
        templates: the content under ``blocks:``.
        root: key path of ``body`` in the file.
    """

    def __init__(self, body: Any, templates: Any, root: KeyPath) -> None:
        self._root = root
        self._templates = _mapping({} if templates is None else templates, ("blocks",))
        self._body = _mapping(body, root)
        self._origins: dict[KeyPath, KeyPath] = {}

    def locate(self, where: Locate) -> Locate:
        """From key paths of the expanded data to places in the file."""

        def run(path: KeyPath) -> str:
            for end in range(len(path), 0, -1):
                if path[:end] in self._origins:
                    return where((*self._origins[path[:end]], *path[end:]))
            return where((*self._root, *path))

        return run

    def unet(self) -> dict[str, Any]:
        """Plain data of a UNet."""
        data = dict(self._body)
        first = data.get("conv_in_channels")
        if "time" not in data and isinstance(first, int):
            data["time"] = {"input_width": first, "width": 4 * first}
        stages = self._list("stages")
        data["stages"] = [self._stage(stage, s, len(stages) - 1) for s, stage in enumerate(stages)]
        if "middle" in data:
            last = data["stages"][-1]["channels"] if stages else None
            data["middle"] = self._layer(data["middle"], last, ("middle",))
        for stage in data["stages"]:
            stage.pop("channels", None)
        return {"kind": "unet", **data}

    def decoder(self) -> dict[str, Any]:
        """Plain data of a decoder."""
        data = dict(self._body)
        stages = self._list("stages")
        data["stages"] = []
        for s, written in enumerate(stages):
            path: KeyPath = ("stages", s)
            stage = dict(_mapping(written, (*self._root, *path)))
            channels = self._channels(stage, path, ("blocks", "upsample"))
            stage.pop("channels", None)
            stage["blocks"] = self._layer(stage.get("blocks", []), channels, (*path, "blocks"))
            if s < len(stages) - 1:
                stage["upsample"] = _sampler(stage.get("upsample"), channels)
            data["stages"].append(stage)
        if "middle" in data:
            data["middle"] = self._layer(data["middle"], data.get("conv_in_channels"), ("middle",))
        return {"kind": "decoder", **data}

    def _list(self, key: str) -> list[Any]:
        value = self._body.get(key)
        if not isinstance(value, list):
            raise FieldError("must be a list", (*self._root, key), type_name(value))
        return value

    def _stage(self, written: Any, s: int, last: int) -> dict[str, Any]:
        path: KeyPath = ("stages", s)
        stage = dict(_mapping(written, (*self._root, *path)))
        channels = self._channels(stage, path, ("down", "up", "downsample", "upsample"))
        for half in ("down", "up"):
            layers = stage.get(half, [])
            if not isinstance(layers, list):
                raise FieldError("must be a list of layers", (*self._root, *path, half), type_name(layers))
            stage[half] = [self._layer(layer, channels, (*path, half, j)) for j, layer in enumerate(layers)]
        if s < last:
            stage["downsample"] = _sampler(stage.get("downsample"), channels)
        if s > 0:
            stage["upsample"] = _sampler(stage.get("upsample"), channels)
        return {**stage, "channels": channels}

    def _channels(self, stage: dict[str, Any], path: KeyPath, keys: tuple[str, ...]) -> int | None:
        """The width that a stage hands down; refuses keys that no stage has."""
        for key in stage:
            if key not in ("channels", *keys):
                raise FieldError(unknown_name("key", key, ("channels", *keys)), (*self._root, *path, key))
        channels = stage.get("channels")
        if channels is None:
            return None
        if isinstance(channels, bool) or not isinstance(channels, int):
            raise FieldError("must be an integer", (*self._root, *path, "channels"), repr(channels))
        return channels

    def _layer(self, layer: Any, channels: Any, path: KeyPath) -> list[Any]:
        if not isinstance(layer, list):
            raise FieldError("a layer is a list of blocks", (*self._root, *path), type_name(layer))
        return [self._block(block, channels, (*path, i)) for i, block in enumerate(layer)]

    def _block(self, written: Any, channels: Any, path: KeyPath) -> Any:
        origin: KeyPath = (*self._root, *path)
        if isinstance(written, str):
            if written not in self._templates:
                raise FieldError(unknown_name("block", written, self._templates), origin)
            origin, written = ("blocks", written), self._templates[written]
        self._origins[path] = origin
        block = dict(_mapping(written, origin))
        if block.get("kind") in ("residual", "shortcut") and channels is not None:
            block.setdefault("channels", channels)
        if block.get("kind") == "transformer":
            return expand_transformer(block, channels, origin)
        return block


def _mapping(value: Any, path: KeyPath) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FieldError("must be a mapping", path, type_name(value))
    return value


def _sampler(written: Any, channels: Any) -> Any:
    if written is None:
        return {"channels": channels}
    return {"channels": channels, **written} if isinstance(written, dict) else written


def expand_transformer(block: dict[str, Any], channels: Any, path: KeyPath) -> dict[str, Any]:
    """A transformer without shorthands (changes and returns ``block``); ``channels`` is its width where it has none.

    Raises:
        FieldError: a malformed shorthand, below ``path``.
    """
    if channels is not None:
        block.setdefault("width", channels)
    if "block" in block:
        depth = block.pop("depth", 1)
        if "blocks" in block:
            raise FieldError("a transformer has either block and depth or blocks", path, "both")
        if isinstance(depth, bool) or not isinstance(depth, int) or not 0 <= depth <= 1024:
            raise FieldError("must be a number of blocks", (*path, "depth"), repr(depth), "0 to 1024")
        block["blocks"] = [block.pop("block")] * depth
    inner = block.get("blocks")
    if isinstance(inner, list):
        block["blocks"] = [_inner(entry, block.get("width"), path) for entry in inner]
    return block


def _inner(written: Any, width: Any, path: KeyPath) -> Any:
    if not isinstance(written, dict):
        return written
    result = dict(written)
    for name in ("first", "second"):
        slot = written.get(name)
        if isinstance(slot, dict) and slot.get("kind", "attention") == "attention":
            result[name] = _heads({"kind": "attention", **slot}, width, (*path, "block", name))
    return result


def _heads(slot: dict[str, Any], width: Any, path: KeyPath) -> dict[str, Any]:
    given = [key for key in ("heads", "head_dim") if key in slot]
    if len(given) == 1 and isinstance(width, int):
        size = slot[given[0]]
        if isinstance(size, bool) or not isinstance(size, int) or size < 1 or width % size:
            raise FieldError("must divide the width", (*path, given[0]), repr(size), f"a divisor of {width}")
        slot["head_dim" if given[0] == "heads" else "heads"] = width // size
    return slot
