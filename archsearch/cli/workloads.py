"""SPACE|ARCH... as the operators and blocks that measuring them takes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archsearch.arch import Preset
    from archsearch.cost.block import Workload
    from archsearch.space import Space


class Grain(StrEnum):
    """What is measured."""

    op = "op"
    block = "block"
    all = "all"


def workloads_of_all(refs: Sequence[str], grain: Grain = Grain.all) -> dict[str, Workload]:
    """The operators and blocks of some spaces and architectures, by key; operators first.

    Raises:
        ArchsearchError: neither a space nor an architecture.
    """
    found = [workloads_of(ref, grain) for ref in refs]
    merged = {key: one for part in found for key, one in part.items()}
    return dict(sorted(merged.items(), key=lambda item: item[0].startswith("block.")))


def workloads_of(ref: str, grain: Grain = Grain.all) -> dict[str, Workload]:
    """The operators and blocks of a space or an architecture, by key; operators first.

    Raises:
        ArchsearchError: neither a space nor an architecture.
    """
    from archsearch.cost import Conditions, lower
    from archsearch.space import Space

    ops: dict[str, Workload] = {}
    blocks: dict[str, Workload] = {}
    found = space_or_preset(ref)
    if isinstance(found, Space):
        ops.update(found.distinct_ops())
        blocks.update(found.distinct_blocks())
    else:
        for piece in lower(found.architecture, Conditions(latent=found.latent, text=found.text)).pieces:
            ops.update((traced.op.key, traced.op) for traced in piece.trace.ops)
            blocks.update((span.block.key, span.block) for span in piece.trace.blocks)
    return {**(ops if grain != Grain.block else {}), **(blocks if grain != Grain.op else {})}


def space_or_preset(ref: str) -> Space | Preset:
    """The space or the architecture behind a name or path; ``space:`` and ``arch:`` decide where both exist.

    Raises:
        ArchsearchError: neither a space nor an architecture.
    """
    from archsearch.arch import preset_names
    from archsearch.cli.common import note
    from archsearch.cli.resolve import resolve_arch
    from archsearch.space import load_space, space_names

    prefix, _, rest = ref.partition(":")
    name = rest if prefix in ("arch", "space") and rest else ref
    if prefix == "space" or (prefix != "arch" and (name in space_names() or is_space_file(name))):
        space = load_space(name)
        if name in preset_names() and prefix != "space":
            note(f"{ref}: the space of that name; arch:{ref} is the preset")
        return space
    return resolve_arch(name)


def is_space_file(name: str) -> bool:
    """Whether a path holds a space (and not an architecture)."""
    from archsearch.space.load import SCHEMA

    try:
        path = Path(name)
        return path.suffix in (".yaml", ".yml", ".json") and SCHEMA.split("/")[0] in path.read_text()[:4096]
    except (OSError, ValueError):
        return False
