"""A space compiled to a chain of finite steps: what makes counting, uniform sampling and exact ranges possible.

One step a site, in the order of execution.  A *row* is a choice of all decisions that still matter, in a given state
of the network; choosing the decisions that a site needs leads from row to row.  A *group* holds the rows that no
site so far could tell apart: the same network up to here.  From group to group leads one *edge* for each thing that
the site can emit, so paths over edges are networks, each exactly once, and counting paths counts candidates.

Rows of a group are ordered by preference (defaults first).  Of all ways to a row by one edge the first is the *best*;
the encodings that take only best ways are the canonical ones, one a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from archsearch.arch.values import UNet
from archsearch.space.machine import Emission, Local, Machine
from archsearch.space.skeleton import Site

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Bools: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
NONE = -1


@dataclass(frozen=True, eq=False)
class Step:
    """One site.  Arrays over rows [R] x choices [K], edges [E] (sorted by group) and groups [G]."""

    site: Site
    decisions: tuple[int, ...]  # chosen at this site
    choices: Ints  # [K, decisions]: what choice number k means
    next_row: Ints  # [R, K], NONE where a rule forbids it
    edge: Ints  # [R, K], NONE likewise
    row_start: Ints  # [G + 1]: rows of a group
    edge_start: Ints  # [G + 1]: edges of a group
    edge_next: Ints  # [E]: group in the next step
    edge_piece: Ints  # [E]: index into pieces
    edge_emission: Ints  # [E]: index into emissions
    way_start: Ints  # [E + 1]: best ways of an edge, one for each row of the next group
    way: Ints  # row * K + choice
    pieces: tuple[tuple[Local, int], ...]  # what is lowered here: surroundings, emission
    emissions: tuple[Emission, ...]
    machines: tuple[Machine, ...]
    group_machine: Ints  # [G]


@dataclass(frozen=True, eq=False)
class Chain:
    """The steps and the headers (UNets without stages) that they refer to."""

    steps: tuple[Step, ...]
    headers: tuple[UNet, ...]
