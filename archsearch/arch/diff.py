"""What was removed, added and changed between two networks, in words and down to the steps that pay for it.

Stages are compared at equal resolution; their layers, then the blocks of a layer, are aligned by least edits.  Every
change names the steps of both walks that it concerns, so that whoever counts costs can give each change its share:
the shares add up to the difference of the totals (``Diff.shares``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from archsearch.arch.align import align
from archsearch.arch.describe import describe, differences, layer_name, short_name
from archsearch.arch.ends import conv_in_facts, embedding_facts, head_facts, resolution, told_value
from archsearch.arch.values import (
    Architecture,
    Attention,
    Block,
    Decoder,
    ResBlock,
    TextEncoder,
    Transformer,
    UNet,
)
from archsearch.arch.walk import Step, walk
from archsearch.errors import ArchError

Action: TypeAlias = Literal["removed", "added", "changed"]
Half: TypeAlias = Literal["down", "up", "middle"]
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(frozen=True, slots=True)
class Change:
    """One change.  ``before`` and ``after`` are indices into the walks of the two networks."""

    action: Action
    where: str
    what: str
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Diff:
    """All changes from one network to another, and the pairs of steps that are the same in both."""

    changes: tuple[Change, ...]
    unchanged: tuple[tuple[int, int], ...] = field(repr=False)

    def shares(self, before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
        """Split a difference of additive costs over the changes.

        Args:
            before: a cost of every step of the first network's walk.
            after: the same for the second network.

        Returns:
            One number a change; they add up to ``sum(after) - sum(before)``.
        """
        return tuple(
            sum(after[i] for i in change.after) - sum(before[i] for i in change.before) for change in self.changes
        )


class _Item(NamedTuple):
    number: int
    step: Step


class _LayerSteps(NamedTuple):
    """A layer with its steps: blocks, and what it is joined with."""

    layer: tuple[Block, ...]
    blocks: tuple[_Item, ...]
    others: tuple[int, ...]
    in_channels: int


def diff(a: Architecture, b: Architecture) -> Diff:
    """Compare two architectures of one kind.

    Raises:
        ArchError: two kinds of network, or one that is inconsistent.
    """
    if a.kind != b.kind:
        raise ArchError("only networks of one kind can be compared", got=f"{a.kind} and {b.kind}")
    return _Comparison(a, b).run()


class _Comparison:
    def __init__(self, a: Architecture, b: Architecture) -> None:
        self.a, self.b = a, b
        self.steps = (list(walk(a)), list(walk(b)))
        self.changes: list[Change] = []
        self.same: list[tuple[int, int]] = []

    def run(self) -> Diff:
        if isinstance(self.a, TextEncoder):
            self._encoder()
            return Diff(tuple(self.changes), tuple(self.same))
        self._ends()
        counts = [self._stage_count(side) for side in (0, 1)]
        for s in range(max(counts)):
            if s < min(counts):
                self._half("down", s)
                if s + 1 < min(counts) or isinstance(self.a, Decoder):
                    self._sampler("downsample", s)
            else:
                self._whole_stage(s, 0 if counts[0] > counts[1] else 1)
        self._half("middle", 0)
        for s in reversed(range(min(counts))):
            self._half("up", s)
            self._sampler("upsample", s)
        self._settings()
        assert self._complete(), "every step belongs to one change or to one pair"
        return Diff(tuple(self.changes), tuple(self.same))

    def _complete(self) -> bool:
        for side, steps in enumerate(self.steps):
            owned = [i for change in self.changes for i in ((change.before, change.after)[side])]
            owned += [pair[side] for pair in self.same]
            if sorted(owned) != list(range(len(steps))):
                return False
        return True

    # -- whole network ---------------------------------------------------------------------------------------------

    def _encoder(self) -> None:
        told = [
            f"{name} {getattr(self.a, name)} -> {getattr(self.b, name)}"
            for name in self.a.__dataclass_fields__
            if getattr(self.a, name) != getattr(self.b, name)
        ]
        if told:
            self.changes.append(Change("changed", "text encoder", ", ".join(told), (0,), (0,)))
        else:
            self.same.append((0, 0))

    def _settings(self) -> None:
        """Choices made once: those that cost something take the equal steps that they make dearer or cheaper."""
        for name, label, kind in (
            ("text_width", "text width", Transformer),
            ("time", "time embedding", ResBlock),
            ("time_shift", "time shift", ResBlock),
            ("activation", "activation", None),
            ("norm_groups", "norm groups", None),
            ("norm_eps", "norm epsilon", None),
            ("upcast_attention", "upcast attention", None),
        ):
            one, other = getattr(self.a, name, None), getattr(self.b, name, None)
            if name == "time" and isinstance(self.a, UNet) and isinstance(self.b, UNet):
                one, other = self.a.time.width, self.b.time.width
                label = "time width"
            if one == other:
                continue
            pairs = [pair for pair in self.same if kind is not None and self._pays(pair[0], kind)]
            self.same = [pair for pair in self.same if pair not in pairs]
            elsewhere = "" if pairs or kind is None else " (counted in the changes above)"
            self._change("changed", "whole network", f"{label} {told_value(one)} -> {told_value(other)}{elsewhere}",
                         [p[0] for p in pairs], [p[1] for p in pairs])  # fmt: skip

    def _pays(self, index: int, kind: type) -> bool:
        value = self.steps[0][index].value
        if not isinstance(value, kind):
            return False
        if not isinstance(value, Transformer):
            return True
        slots = [slot for inner in value.blocks for slot in (inner.first, inner.second)]
        return any(isinstance(slot, Attention) and slot.to == "text" for slot in slots)

    def _ends(self) -> None:
        for role, label, facts in (
            ("embed", "embeddings", embedding_facts),
            ("conv_in", "input convolution", conv_in_facts),
            ("head", "output convolution", head_facts),
        ):
            found = [[i for i, step in enumerate(steps) if step.role == role] for steps in self.steps]
            if not found[0]:
                continue
            i, j = found[0][0], found[1][0]
            one, other = facts(self.a, self.steps[0][i]), facts(self.b, self.steps[1][j])
            told = [
                f"{name} {told_value(one[name])} -> {told_value(other[name])}"
                for name in one
                if one[name] != other[name]
            ]
            if told:
                self._change("changed", label, ", ".join(told), [i], [j])
            else:
                self.same.append((i, j))
        stems = [
            [i for i, s in enumerate(steps) if s.role == "push" and s.place.half == "stem"] for steps in self.steps
        ]
        self.same.extend(zip(*stems, strict=True))

    # -- stages ----------------------------------------------------------------------------------------------------

    def _stage_count(self, side: int) -> int:
        arch = (self.a, self.b)[side]
        assert isinstance(arch, (UNet, Decoder))
        return len(arch.stages)

    def _in_stage(self, side: int, half: str, s: int) -> list[_Item]:
        found = enumerate(self.steps[side])
        if half == "middle":
            return [_Item(i, step) for i, step in found if step.place.half == "middle"]
        return [_Item(i, step) for i, step in found if step.place.half == half and step.place.stage == s]

    def _whole_stage(self, s: int, side: int) -> None:
        """A stage that only one network has, with the samplers that lead there and back."""
        items = [
            item
            for item in self._in_stage(side, "down", s) + self._in_stage(side, "up", s)
            if item.step.role != "downsample" and not (item.step.role == "push" and item.step.level == s + 1)
        ]
        told = []
        for half in ("down", "up"):
            layers = self._layers(side, half, s)
            if layers:
                names = list(dict.fromkeys(layer_name(entry.layer) for entry in layers))
                told.append(f"{len(layers)} {half} layer{'s' if len(layers) > 1 else ''} ({'; '.join(names)})")
        indices = [item.number for item in items]
        above = [
            item.number
            for item in self._in_stage(side, "down", s - 1)
            if item.step.role == "downsample" or (item.step.role == "push" and item.step.level == s)
        ]
        action: Action = "removed" if side == 0 else "added"
        text = f"whole stage {action}: {', '.join(told)}, its samplers"
        own = indices + [i for i in above if i not in indices]
        before, after = (own, []) if side == 0 else ([], own)
        self._change(action, f"stage {s}", text, before, after)

    def _sampler(self, role: Literal["downsample", "upsample"], s: int) -> None:
        half = "down" if role == "downsample" else "up"
        found = []
        for side in (0, 1):
            items = [item for item in self._in_stage(side, half, s) if item.step.role == role]
            pushes = [
                item.number
                for item in self._in_stage(side, half, s)
                if item.step.role == "push" and item.step.level == s + 1
            ]
            taken = {i for change in self.changes for i in (change.before, change.after)[side]}
            found.append(([i for i in items if i.number not in taken], [i for i in pushes if i not in taken]))
        (first, push_a), (second, push_b) = found
        if not first and not second:
            return
        where = f"{half} {s}"
        if first and second:
            one, other = first[0].step, second[0].step
            told = []
            if one.out_channels != other.out_channels:
                told.append(f"channels {one.out_channels} -> {other.out_channels}")
            kept = one.in_channels == one.out_channels and other.in_channels == other.out_channels
            if one.in_channels != other.in_channels and not kept:
                told.append(f"reads {one.in_channels} -> {other.in_channels} channels")
            if getattr(one.value, "separable", False) != getattr(other.value, "separable", False):
                told.append("separable" if getattr(other.value, "separable", False) else "full convolution")
            if one.level != other.level:
                told.append(f"runs at {resolution(one)} -> {resolution(other)} of the input")
            if told:
                self._change("changed", where, f"{role}: {', '.join(told)}",
                             [first[0].number, *push_a], [second[0].number, *push_b])  # fmt: skip
                return
            self.same.extend(zip([first[0].number, *push_a], [second[0].number, *push_b], strict=True))
        elif first:
            self._change("removed", where, f"{role} removed", [first[0].number, *push_a], [])
        else:
            self._change("added", where, f"{role} added", [], [second[0].number, *push_b])

    # -- layers and blocks -----------------------------------------------------------------------------------------

    def _layers(self, side: int, half: str, s: int) -> list[_LayerSteps]:
        entries: dict[int, list[_Item]] = {}
        for item in self._in_stage(side, half, s):
            role = item.step.role
            if role in ("downsample", "upsample") or (role == "push" and item.step.level != s):
                continue
            entries.setdefault(item.step.place.layer, []).append(item)
        result = []
        for items in entries.values():
            blocks = tuple(item for item in items if item.step.role == "block")
            others = tuple(item.number for item in items if item.step.role != "block")
            values: tuple[Any, ...] = tuple(item.step.value for item in blocks)
            width = next(
                (item.step.out_channels for item in items if item.step.role == "join"), items[0].step.in_channels
            )
            result.append(_LayerSteps(values, blocks, others, width))
        return result

    def _half(self, half: Half, s: int) -> None:
        one, other = self._layers(0, half, s), self._layers(1, half, s)
        where = "middle" if half == "middle" else f"{half} {s}"
        single = half == "middle" or isinstance(self.a, Decoder)
        pairs = align(one, other, _layer_cost, lambda entry: 1 + 2.0 * len(entry.layer))
        for first, second in pairs:
            if first is not None and second is not None:
                place = where if single else f"{where}, {_ordinal(first, one)} layer"
                self._pair_layers(place, first, second)
            elif first is not None:
                what = f"removed ({layer_name(first.layer)})"
                self._whole_layer("removed", where, what if single else f"{_ordinal(first, one)} layer {what}", first)
            elif second is not None:
                what = f"added ({layer_name(second.layer)})"
                self._whole_layer("added", where, what if single else f"{_ordinal(second, other)} layer {what}", second)

    def _whole_layer(self, action: Action, where: str, what: str, entry: _LayerSteps) -> None:
        own = [item.number for item in entry.blocks] + list(entry.others)
        self._change(action, where, what, own if action == "removed" else [], own if action == "added" else [])

    def _pair_layers(self, where: str, a: _LayerSteps, b: _LayerSteps) -> None:
        rest_a, rest_b = list(a.others), list(b.others)
        self.same.extend(zip(rest_a, rest_b, strict=True))
        for first, second in align(a.blocks, b.blocks, _block_cost, lambda _: 2.0):
            if first is None and second is not None:
                self._change("added", where, f"{describe(_block(second))} added", [], [second.number])
            elif second is None and first is not None:
                self._change("removed", where, f"{short_name(_block(first))} removed", [first.number], [])
            elif first is not None and second is not None:
                self._pair_blocks(where, first, second)

    def _pair_blocks(self, where: str, a: _Item, b: _Item) -> None:
        told = differences(_block(a), _block(b))
        reads = a.step.in_channels != b.step.in_channels and not isinstance(a.step.value, Transformer)
        reads = reads or (a.step.in_channels != b.step.in_channels and not told)
        moved = a.step.level != b.step.level
        if not told and not reads and not moved:
            self.same.append((a.number, b.number))
            return
        if reads:
            told.append(f"reads {a.step.in_channels} -> {b.step.in_channels} channels")
        if moved:
            told.append(f"runs at {resolution(a.step)} -> {resolution(b.step)} of the input")
        name = "transformer" if isinstance(a.step.value, Transformer) else short_name(_block(a))
        self._change("changed", where, f"{name}: {', '.join(told)}", [a.number], [b.number])

    def _change(self, action: Action, where: str, what: str, before: Sequence[int], after: Sequence[int]) -> None:
        self.changes.append(Change(action, where, what, tuple(before), tuple(after)))


def _block(item: _Item) -> Block:
    value: Any = item.step.value
    return value  # type: ignore[no-any-return]


def _layer_cost(a: _LayerSteps, b: _LayerSteps) -> float:
    pairs = align(a.blocks, b.blocks, _block_cost, lambda _: 2.0)
    edits = sum(2.0 if x is None or y is None else _block_cost(x, y) for x, y in pairs)
    return edits + (0.0 if a.in_channels == b.in_channels else 0.25)


def _block_cost(a: _Item, b: _Item) -> float:
    one, other = _block(a), _block(b)
    if one == other:
        return 0.0 if a.step.in_channels == b.step.in_channels else 0.5
    if type(one) is type(other):
        return 1.0
    both = {type(one), type(other)}
    return 1.5 if ResBlock in both and Transformer not in both else 4.0


def _ordinal(entry: _LayerSteps, entries: list[_LayerSteps]) -> str:
    number = next(i for i, other in enumerate(entries) if other is entry)
    return _ORDINALS[number] if number < len(_ORDINALS) else f"{number + 1}th"
