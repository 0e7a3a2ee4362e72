"""How often each path of a supernet was trained: rarely sampled paths lag and are scored too low."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from archsearch.arch.values import UNet
    from archsearch.quality.supernet import Supernet


class PathUpdates(NamedTuple):
    """Updates of all weights below a path of shared names, and how many of them used the full width."""

    path: str
    updates: int
    full_width: int


class UpdateCounter:
    """Counts the updates of every shared tensor: all of them, and those at full width."""

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._all = dict.fromkeys(supernet.weights, 0)
        self._full = dict.fromkeys(supernet.weights, 0)

    def add(self, arch: UNet) -> None:
        """Count one step on a network."""
        for bound in self._supernet.plan(arch):
            for item in bound.slices:
                self._all[item.shared] += 1
                self._full[item.shared] += not item.cuts

    def tensor(self) -> Tensor:
        """The counts [tensors, 2] in the order of the supernet's weights."""
        import torch

        return torch.tensor([list(self._all.values()), list(self._full.values())], dtype=torch.int64).T.contiguous()

    def restore(self, counts: Tensor) -> None:
        """Take up the counts of :meth:`tensor`."""
        for name, (total, full) in zip(self._all, counts.tolist(), strict=True):
            self._all[name], self._full[name] = total, full

    def paths(self) -> list[PathUpdates]:
        """The counts, tensors that were always trained together as one path."""
        return _grouped("", [(name.split("/"), (total, self._full[name])) for name, total in self._all.items()])


def _grouped(prefix: str, items: list[tuple[list[str], tuple[int, int]]]) -> list[PathUpdates]:
    if len({count for _, count in items}) == 1:
        return [PathUpdates(prefix or "all", *items[0][1])]
    children: dict[str, list[tuple[list[str], tuple[int, int]]]] = {}
    for names, count in items:
        children.setdefault(names[0], []).append((names[1:], count))
    result = []
    for name, inner in children.items():
        result += _grouped(f"{prefix}/{name}" if prefix else name, inner)
    return result


def to_csv(rows: list[PathUpdates], steps: int) -> str:
    """The table as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("path", "updates", "full_width_updates", "share_of_steps"))
    for row in rows:
        writer.writerow((row.path, row.updates, row.full_width, f"{row.updates / max(1, steps):.4f}"))
    return stream.getvalue()
