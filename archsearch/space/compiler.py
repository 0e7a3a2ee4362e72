"""Compiling sites to a chain: see :mod:`archsearch.space.chain` for what rows, groups, edges and ways are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archsearch.arch.identity import effect_key
from archsearch.arch.values import UNet
from archsearch.arch.walk import Place, block_out
from archsearch.errors import ArchError, SpaceError
from archsearch.space.blocks import Part, Parts
from archsearch.space.chain import NONE, Bools, Chain, Ints, Step
from archsearch.space.decisions import Condition, Decision, Rule
from archsearch.space.machine import START, Emission, Local, Machine, Outcome, advance, local, outcome, settle
from archsearch.space.skeleton import Site
from archsearch.space.source import Source

MAX_TRANSITIONS = 6_000_000


@dataclass
class _State:
    """Rows before a step: group starts, columns of live decisions, and the machine of each group."""

    row_start: Ints
    columns: dict[int, Ints]
    machines: list[Machine]
    group_machine: Ints

    @property
    def rows(self) -> int:
        return int(self.row_start[-1])

    @property
    def row_group(self) -> Ints:
        return np.repeat(np.arange(len(self.row_start) - 1), np.diff(self.row_start))


def compile_chain(
    source: Source, sites: Sequence[Site], parts: Parts, decisions: Sequence[Decision], rules: Sequence[Rule]
) -> Chain:
    """Compile the sites of a space.

    Raises:
        SpaceError: a candidate is inconsistent, rules leave nothing, or too many decisions depend on each other.
    """
    return _Compiler(source, sites, parts, decisions, rules).run()


class _Compiler:
    def __init__(
        self, source: Source, sites: Sequence[Site], parts: Parts, decisions: Sequence[Decision], rules: Sequence[Rule]
    ) -> None:
        self.source = source
        self.sites = sites
        self.parts = parts
        self.decisions = decisions
        self.rules = rules
        self.headers: list[UNet] = []
        self.kinds: list[int] = []
        self.introduced = self._introduction()
        # Of a rule only this has to be remembered: whether what was chosen so far still matches an alternative.
        self.patterns = [alternative for rule in rules for alternative in rule.forbidden.alternatives]
        self.pattern_end = [max(self._step_of(d) for d, _ in pattern) for pattern in self.patterns]
        self.last_use = self._last_use()

    def run(self) -> Chain:
        state = _State(np.array([0, 1]), {}, [START], np.zeros(1, dtype=np.int64))
        steps = []
        for t, site in enumerate(self.sites):
            step, state = self._step(t, site, state)
            steps.append(step)
        return Chain(tuple(steps), tuple(self.headers))

    def _introduction(self) -> list[tuple[int, ...]]:
        """Which decisions are chosen at which step: at the first site that needs them, after what they depend on."""
        done: set[int] = set()
        result = []
        for t, site in enumerate(self.sites):
            wanted: list[int] = []

            def visit(d: int, wanted: list[int] = wanted) -> None:
                if d in done:
                    return
                done.add(d)
                for parent in self.decisions[d].condition.scope:
                    visit(parent)
                wanted.append(d)

            for d in site.table.scope if t < len(self.sites) - 1 else range(len(self.decisions)):
                visit(d)
            result.append(tuple(wanted))
        return result

    def _step_of(self, decision: int) -> int:
        return next(t for t, found in enumerate(self.introduced) if decision in found)

    def _last_use(self) -> dict[int, int]:
        last = {d: t for t, found in enumerate(self.introduced) for d in found}
        for t, site in enumerate(self.sites):
            last.update((d, max(t, last[d])) for d in site.table.scope)
        for d, decision in enumerate(self.decisions):
            last.update((p, max(self._step_of(d), last[p])) for p in decision.condition.scope)
        last.update((-1 - i, t) for i, t in enumerate(self.pattern_end))
        return last

    def _radix(self, column: int) -> int:
        return len(self.decisions[column].choices) if column >= 0 else 2

    def _match(self, t: int, columns: dict[int, Ints], valid: Bools) -> Bools:
        """Follow the forbidden patterns through the decisions of step ``t``; what is left of ``valid``."""
        for i, pattern in enumerate(self.patterns):
            here = [(d, allowed) for d, allowed in pattern if d in self.introduced[t]]
            if here:
                matches = _holds(Condition((tuple(here),)), columns, self.decisions)
                columns[-1 - i] = matches * columns.get(-1 - i, np.ones((1, 1), dtype=np.int64))
                if self.pattern_end[i] == t:
                    valid = valid & (columns[-1 - i] == 0)
        return valid

    def _step(self, t: int, site: Site, state: _State) -> tuple[Step, _State]:
        new = self.introduced[t]
        columns, choices, listed = self._choose(site, new, state)
        rows, count = state.rows, len(listed)
        valid = self._match(t, columns, np.ones((rows, count), dtype=bool))
        if not valid.any():
            raise SpaceError("the rules leave no candidate", where=self.source.document.where(("rules",)))
        symbol = np.broadcast_to(site.table.ids[tuple(columns[d] for d in site.table.scope)], (rows, count))
        pieces, emissions, piece = self._emit(site, state, symbol, valid)
        piece_emission = np.array([emission for _, emission in pieces], dtype=np.int64)

        group = state.row_group[:, None]
        emitted = np.where(valid, piece_emission[piece], 0)
        edge_code = group * len(emissions) + emitted
        edges, _, inverse = _distinct(edge_code[valid])
        edge = np.full((rows, count), NONE)
        edge[valid] = inverse
        edge_group, edge_emission = np.divmod(edges, len(emissions))
        edge_piece = np.zeros(len(edges), dtype=np.int64)
        edge_piece[edge[valid]] = piece[valid]

        machines, edge_machine = self._advance(site, state, edge_group, edge_piece, pieces, emissions)
        live = [d for d in columns if self.last_use[d] > t]
        key, span = self._key(site, columns, live, (rows, count))
        flat = np.flatnonzero(valid)
        code = edge.ravel()[flat] * span + key.ravel()[flat]
        codes, first, inverse = _distinct(code)
        way_edge, way_key = np.divmod(codes, span)
        order = np.lexsort((first, way_edge))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        way_start = np.searchsorted(way_edge, np.arange(len(edges) + 1))
        edge_next, chosen = _merge(way_start, way_key[order], edge_machine)

        sizes = np.diff(way_start)[chosen]
        row_start = np.concatenate(([0], np.cumsum(sizes)))
        within = np.arange(row_start[-1]) - np.repeat(row_start[:-1], sizes)
        keys = way_key[order][np.repeat(way_start[chosen], sizes) + within]
        arrived = row_start[edge_next[way_edge]] + (place - way_start[way_edge])
        next_row = np.full(rows * count, NONE, dtype=np.int64)
        next_row[flat] = arrived[inverse]
        way = flat[first[order]]
        step = Step(
            site,
            new,
            choices,
            _listed(next_row.reshape(rows, count), listed),
            _listed(edge, listed),
            state.row_start,
            np.searchsorted(edge_group, np.arange(len(state.row_start))),
            edge_next.astype(np.int32),
            edge_piece.astype(np.int32),
            edge_emission.astype(np.int32),
            way_start,
            (way // count * count + listed[way % count]).astype(np.int32),
            pieces,
            emissions,
            tuple(state.machines),
            state.group_machine,
        )
        return step, _State(row_start, self._columns(keys, live), machines, edge_machine[chosen])

    def _choose(self, site: Site, new: tuple[int, ...], state: _State) -> tuple[dict[int, Ints], Ints, Ints]:
        """Columns [R, K] (or broadcastable) of all live decisions; choices [K, new]; listed number of each k.

        The K joint choices run from the most to the least preferred; files and encodings number them as listed.
        """
        radices = [len(self.decisions[d].choices) for d in new]
        count = int(np.prod(radices, dtype=np.float64)) if new else 1
        if count * state.rows > MAX_TRANSITIONS:
            live = [self.decisions[d].name for d in (*state.columns, *new) if d >= 0]
            raise SpaceError(
                f"too many decisions depend on each other here ({', '.join(live)})",
                where=self.source.document.where(site.path),
                got=f"{count * state.rows} joint states",
                allowed=f"<= {MAX_TRANSITIONS}",
                next_step="let one decision stand for several, or give them fewer choices",
            )
        choices = np.stack(np.unravel_index(np.arange(count), radices), axis=1) if new else np.zeros((1, 0), np.int64)
        ranks = np.zeros((count, len(new)), dtype=np.int64)
        for i, d in enumerate(new):
            default = self.decisions[d].default
            ranks[:, i] = np.where(choices[:, i] == default, 0, choices[:, i] + (choices[:, i] < default))
        listed = np.lexsort(ranks.T[::-1]) if new else np.zeros(1, dtype=np.int64)
        columns = {d: column[:, None] for d, column in state.columns.items()}
        for i, d in enumerate(new):
            column = choices[listed, i][None, :]
            decision = self.decisions[d]
            if decision.condition.alternatives:
                active = _holds(decision.condition, columns, self.decisions)
                column = np.where(active, column, decision.default)
            columns[d] = column
        return columns, choices, listed

    def _emit(
        self, site: Site, state: _State, symbol: Ints, valid: Bools
    ) -> tuple[tuple[tuple[Local, int], ...], tuple[Emission, ...], Ints]:
        """Resolve what the table says for the widths that come in; ``piece`` [R, K] indexes the first result."""
        locals_: dict[Local, int] = {}
        around_of = [local(machine, site.role) for machine in state.machines]
        if site.role not in ("stem", "head"):  # headers that only differ in their ends are one
            around_of = [around._replace(header=self.kinds[around.header]) for around in around_of]
        of_machine = [locals_.setdefault(around, len(locals_)) for around in around_of]
        row_local = np.array(of_machine, dtype=np.int64)[state.group_machine][state.row_group]
        symbols = len(site.table.values)
        code = row_local[:, None] * symbols + symbol
        seen = np.zeros(len(locals_) * symbols, dtype=bool)
        seen[code[valid]] = True
        surroundings = list(locals_)
        pieces: dict[tuple[Local, int], int] = {}
        known: dict[Any, int] = {}
        emissions: list[Emission] = []
        settled: dict[tuple[int, int, int], int] = {}
        lookup = np.zeros(len(seen), dtype=np.int64)
        for pair in np.flatnonzero(seen).tolist():
            around, number = surroundings[pair // symbols], pair % symbols
            memo = (number, around.channels + around.skip_channels, around.header)
            found = settled.get(memo)
            if found is None:
                identity, emission = self._settled(site, site.table.values[number], around)
                if identity not in known:
                    known[identity] = len(emissions)
                    emissions.append(emission)
                found = settled[memo] = known[identity]
            lookup[pair] = pieces.setdefault((around, found), len(pieces))
        return tuple(pieces), tuple(emissions), lookup[code]

    def _settled(self, site: Site, value: Any, around: Local) -> tuple[Any, Emission]:
        """What tells an emission from others, and the emission."""
        if site.role not in ("down", "middle", "up") or value is None:
            return effect_key(value), value
        channels = around.channels + around.skip_channels
        layer: tuple[Part, ...] = settle(value, channels, site.role == "up", self.parts)
        header = self.headers[around.header]
        try:
            for part in layer:
                channels = block_out(header, part.block, channels, Place("middle"))
        except ArchError as problem:
            where = self.source.document.where(site.path)
            what = f"a candidate is inconsistent: {problem.what}"
            raise SpaceError(what, where=where, got=problem.got, allowed=problem.allowed) from None
        return layer, tuple(part.block for part in layer)

    def _advance(
        self,
        site: Site,
        state: _State,
        edge_group: Ints,
        edge_piece: Ints,
        pieces: tuple[tuple[Local, int], ...],
        emissions: tuple[Emission, ...],
    ) -> tuple[list[Machine], Ints]:
        outcomes: dict[Outcome | None, int] = {}
        of_piece = np.empty(len(pieces), dtype=np.int64)
        for i, (around, number) in enumerate(pieces):
            emission = emissions[number]
            if isinstance(emission, UNet):
                self.headers.append(emission)
                self.kinds.append(self._kind(emission))
            reached = outcome(emission, around, len(self.headers) - 1)
            of_piece[i] = outcomes.setdefault(reached, len(outcomes))
        listed = list(outcomes)
        codes, _, inverse = _distinct(state.group_machine[edge_group] * len(listed) + of_piece[edge_piece])
        known: dict[Machine, int] = {}
        after = np.empty(len(codes), dtype=np.int64)
        for i, pair in enumerate(codes.tolist()):
            machine, number = divmod(pair, len(listed))
            after[i] = known.setdefault(advance(state.machines[machine], site.role, listed[number]), len(known))
        return list(known), after[inverse]

    def _kind(self, header: UNet) -> int:
        """The first header that blocks cannot tell from this one."""
        return next(i for i, known in enumerate(self.headers) if _for_blocks(known) == _for_blocks(header))

    def _key(self, site: Site, columns: dict[int, Ints], live: list[int], shape: tuple[int, int]) -> tuple[Ints, int]:
        span = 1
        key: Ints = np.zeros(shape, dtype=np.int64)
        for d in live:
            radix = self._radix(d)
            span *= radix
            key = key * radix + columns[d]
        if span >= 1 << 40:
            raise SpaceError("too many decisions stay open here", where=self.source.document.where(site.path),
                             got=", ".join(self.decisions[d].name for d in live if d >= 0))  # fmt: skip
        return key, span

    def _columns(self, keys: Ints, live: list[int]) -> dict[int, Ints]:
        columns = {}
        for d in reversed(live):
            keys, columns[d] = np.divmod(keys, self._radix(d))
        return {d: columns[d] for d in live}


def _for_blocks(header: UNet) -> UNet:
    return replace(header, in_channels=1, out_channels=1, conv_in_channels=1, conv_in_kernel=1, conv_out_kernel=1)


def _holds(condition: Condition, columns: dict[int, Ints], decisions: Sequence[Decision]) -> Bools:
    result: Bools = np.zeros((1, 1), dtype=bool)
    for alternative in condition.alternatives:
        term: Bools = np.ones((1, 1), dtype=bool)
        for d, allowed in alternative:
            lookup = np.array([i in allowed for i in range(len(decisions[d].choices))])
            term = term & lookup[columns[d]]
        result = result | term
    return result


def _listed(values: Ints, listed: Ints) -> Ints:
    """Columns by preference -> columns as listed."""
    result = np.empty(values.shape, dtype=np.int32)
    result[:, listed] = values
    return result  # type: ignore[return-value]


def _distinct(values: Ints) -> tuple[Ints, Ints, Ints]:
    """Distinct values in order, the first place of each, and the number of each value's distinct one.

    ``np.unique`` does the same with a stable sort, which takes several times as long.
    """
    n = len(values)
    bits = n.bit_length()
    if n == 0 or int(values.max()) >= 1 << (62 - bits):
        return np.unique(values, return_index=True, return_inverse=True)
    packed = (values << bits) | np.arange(n)
    packed.sort()
    ordered, place = packed >> bits, packed & ((1 << bits) - 1)
    new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    number = np.empty(n, dtype=np.int64)
    number[place] = np.cumsum(new) - 1
    return ordered[new], place[new], number


def _merge(way_start: Ints, keys: Ints, machine: Ints) -> tuple[Ints, Ints]:
    """Edges that reach the same rows in the same order and state lead to one group; a representative of each."""
    _, _, key_id = _distinct(keys)
    span = int(key_id.max()) + 1
    sizes = np.diff(way_start)
    edge_next = np.empty(len(sizes), dtype=np.int64)
    chosen: list[Ints] = []
    total = 0
    for size in np.unique(sizes):
        edges = np.flatnonzero(sizes == size)
        mark = machine[edges]
        for i in range(int(size)):
            _, _, mark = _distinct(mark * span + key_id[way_start[edges] + i])
        _, first, mark = _distinct(mark)
        edge_next[edges] = total + mark
        chosen.append(edges[first])
        total += len(first)
    return edge_next, np.concatenate(chosen)
