"""The skeleton of a space: its sites in the order of execution, each a table over the decisions that affect it.

A *site* is a piece that may change: the header (all that is not a layer), a down layer with the skip after it, a
sampler, the middle, an up layer with the join before it.  Down and up layers come in pairs, so that removing one
removes the other and the skip between them; the ``outer`` up layer of a stage joins the skip from outside the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from archsearch.arch.values import Downsample, UNet, Upsample
from archsearch.errors import unknown_name
from archsearch.files import KeyPath
from archsearch.space.blocks import Part, Parts, read_value
from archsearch.space.language import Env, Language, reachable
from archsearch.space.tables import Table, constant

SiteRole: TypeAlias = Literal["stem", "down", "downsample", "middle", "up", "upsample", "head"]
ABSENT = None


class Removed(NamedTuple):
    """A removed residual block: nothing where the width stays, else its 1x1 shortcut to ``channels``."""

    channels: int


Entries: TypeAlias = tuple[Part | Removed, ...]


@dataclass(frozen=True, eq=False)
class Site:
    """One piece.  ``table`` gives the header, ``Entries`` of a layer, a sampler, or ABSENT.

    ``slot`` counts the layer pairs of a stage in the order of the down half; the outer up layer has slot -1.
    """

    role: SiteRole
    stage: int
    slot: int
    table: Table
    path: KeyPath

    @property
    def name(self) -> str:
        """``down.1.0``, ``up.2.outer``, ``middle``, ... as printed."""
        if self.role in ("stem", "middle", "head"):
            return self.role
        if self.role in ("downsample", "upsample"):
            return f"{self.role}.{self.stage}"
        return f"{self.role}.{self.stage}.{'outer' if self.slot < 0 else self.slot}"


STAGE_KEYS = ("when", "let", "let_down", "let_up", "layers", "outer", "downsample", "upsample")


class Skeleton:
    """Reads the skeleton of a space file into sites."""

    def __init__(self, language: Language, data: Mapping[str, Any]) -> None:
        self._language = language
        self._source = language.source
        self._data = data
        self.parts = Parts()
        self._templates = self._source.mapping(data.get("templates", {}), ("templates",))
        self._env = language.let(data.get("let", {}), language.decisions, ("let",))

    def sites(self) -> tuple[Site, ...]:
        """All sites in the order of execution.

        Raises:
            SpaceError: names file, line and key.
        """
        stages = self._source.sequence(self._data.get("stages"), ("stages",), 16)
        if not stages:
            raise self._source.error("a space needs at least one stage", ("stages",))
        parts = [self._stage(stage, i) for i, stage in enumerate(stages)]
        self._nested([present for present, _, _ in parts], "stages", ())
        first: list[Site] = [Site("stem", 0, 0, self._header(), ("unet",))]
        last: list[Site] = []
        for i, (_, down, up) in enumerate(parts):
            coarser = parts[i + 1][0] if i + 1 < len(parts) else constant(False)
            first += down
            if i + 1 < len(parts):
                first.append(self._sampler("downsample", i, stages[i], coarser))
            elif "downsample" in stages[i]:
                raise self._source.error("the last stage has no downsample", ("stages", i, "downsample"))
            if i > 0:
                up = [*up, self._sampler("upsample", i, stages[i], parts[i][0])]
            last = up + last
        middle = self._layer(self._data.get("middle", []), self._env, constant(True), ("middle",))
        first.append(Site("middle", len(stages) - 1, 0, middle, ("middle",)))
        return (*first, *last, Site("head", 0, 0, constant(()), ("unet",)))

    def _header(self) -> Table:
        data = self._source.mapping(self._data.get("unet"), ("unet",))
        for key in ("stages", "middle", "kind"):
            if key in data:
                raise self._source.error("this key does not belong here", ("unet", key), key)
        self._source.mapping(data, ("unet",), UNet.__dataclass_fields__)
        table = self._language.value(data, self._env, ("unet",))

        def build(header: dict[str, Any]) -> UNet:
            return read_value(self._source, UNet, {**header, "stages": []}, ("unet",))  # type: ignore[no-any-return]

        return self._language.total(
            self._language.tables.combine(build, [table], self._source.where(("unet",))), ("unet",)
        )

    def _stage(self, data: Any, i: int) -> tuple[Table, list[Site], list[Site]]:
        path: KeyPath = ("stages", i)
        stage = self._source.mapping(data, path, STAGE_KEYS)
        present = constant(True)
        if "when" in stage:
            if i == 0:
                raise self._source.error("the first stage is always present", (*path, "when"))
            present = self._language.condition(stage["when"], self._env, (*path, "when"))
        env = self._language.let(stage.get("let", {}), self._env, (*path, "let"))
        env_down = self._language.let(stage.get("let_down", {}), env, (*path, "let_down"))
        env_up = self._language.let(stage.get("let_up", {}), env, (*path, "let_up"))
        layers = self._source.sequence(stage.get("layers"), (*path, "layers"))
        presence: list[Table] = []
        down: list[Site] = []
        up: list[Site] = []
        for j, item in enumerate(layers):
            here = (*path, "layers", j)
            pair = self._source.mapping(item, here, ("when", "down", "up"))
            there = present
            if "when" in pair:
                own = self._language.condition(pair["when"], env, (*here, "when"))
                there = self._both(present, own, here)
            presence.append(there)
            for key, site_env, sites in (("down", env_down, down), ("up", env_up, up)):
                if key not in pair:
                    raise self._source.error("layers come in pairs of down and up", here, f"no {key}")
                role: SiteRole = "down" if key == "down" else "up"
                table = self._layer(pair[key], site_env, there, (*here, key))
                sites.append(Site(role, i, j, table, (*here, key)))
        self._nested(presence, "layers", path)
        if "outer" not in stage:
            raise self._source.error("a stage has an outer up layer, which joins the skip from outside", path,
                                     "no outer")  # fmt: skip
        outer = self._layer(stage["outer"], env_up, present, (*path, "outer"))
        return present, down, [*reversed(up), Site("up", i, -1, outer, (*path, "outer"))]

    def _layer(self, data: Any, env: Env, present: Table, path: KeyPath) -> Table:
        parts = [self._entry(item, env, (*path, i)) for i, item in enumerate(self._source.sequence(data, path))]
        where = self._source.where(path)
        layer = self._language.tables.combine(_joined, parts, where)
        cases = {i: constant(ABSENT) for i, value in enumerate(present.values) if not value}
        return self._language.total(self._language.tables.switch(present, cases, layer, where), path)

    def _entry(self, data: Any, env: Env, path: KeyPath) -> Table:
        """One block of a layer: ``name``, or ``{use: name, with: {...}, when: ..., repeat: ...}``."""
        item = {"use": data} if isinstance(data, str) else self._source.mapping(data, path)
        self._source.mapping(item, path, ("use", "with", "when", "repeat"))
        name = self._source.text(item.get("use"), (*path, "use"))
        if name not in self._templates:
            raise self._source.error(unknown_name("template", name, self._templates), path)
        inner = self._language.let(item.get("with", {}), env, (*path, "with"))
        template: KeyPath = ("templates", name)
        where = self._source.where(path)
        tables = self._language.tables
        node = self._source.mapping(self._templates[name], template)
        removed = constant(())
        if node.get("kind") in ("residual", "shortcut"):
            channels = self._language.value(node.get("channels"), inner, (*template, "channels"))
            removed = tables.combine(lambda width: (Removed(width),), [channels], where)
        resolved = self._language.value(node, inner, template)
        entry = tables.combine(lambda value: (self.parts.build(self._source, value, template),), [resolved], where)
        if "repeat" in item:
            times = self._language.scalar(item["repeat"], env, (*path, "repeat"))
            for value in reachable(times):
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 64:
                    raise self._source.error("repeat is a number of blocks", (*path, "repeat"), value, "0 to 64")
            copies = {
                i: tables.combine(lambda value, n=n: value * n, [entry], where) if n else removed
                for i, n in enumerate(times.values)
            }
            entry = tables.switch(times, copies, None, where)
        if "when" in item:
            present = self._language.condition(item["when"], env, (*path, "when"))
            entry = tables.switch(present, {i: removed for i, v in enumerate(present.values) if not v}, entry, where)
        return entry

    def _sampler(self, role: Literal["downsample", "upsample"], i: int, data: Any, present: Table) -> Site:
        path: KeyPath = ("stages", i, role)
        if role not in data:
            raise self._source.error(f"this stage needs its {role}", ("stages", i), f"no {role}")
        kind = Downsample if role == "downsample" else Upsample
        env = self._language.let(data.get("let", {}), self._env, ("stages", i, "let"))
        key = "let_down" if role == "downsample" else "let_up"
        env = self._language.let(data.get(key, {}), env, ("stages", i, key))
        table = self._language.value(data[role], env, path)
        where = self._source.where(path)
        table = self._language.tables.combine(lambda value: read_value(self._source, kind, value, path), [table], where)
        cases = {j: constant(ABSENT) for j, value in enumerate(present.values) if not value}
        table = self._language.tables.switch(present, cases, table, where)
        return Site(role, i, 0, self._language.total(table, path), path)

    def _both(self, a: Table, b: Table, path: KeyPath) -> Table:
        return self._language.tables.combine(lambda x, y: x and y, [a, b], self._source.where(path))

    def _nested(self, presence: list[Table], what: str, path: KeyPath) -> None:
        """Optional stages and layers are the last ones, or one network would have several encodings."""
        for i in range(1, len(presence)):
            table = self._language.tables.combine(
                lambda before, after: after and not before, presence[i - 1 : i + 1], self._source.where(path)
            )
            if any(reachable(table)):
                raise self._source.error(f"optional {what} come last: this one can be present without the one before",
                                         (*path, what, i))  # fmt: skip


def _joined(*entries: Entries) -> Entries:
    return tuple(part for entry in entries for part in entry)
