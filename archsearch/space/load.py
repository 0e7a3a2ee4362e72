"""Loading spaces from YAML files, by name or by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archsearch.cost.conditions import Conditions
from archsearch.errors import CostError, SpaceError, unknown_name
from archsearch.files import load_yaml
from archsearch.resources import data_folder
from archsearch.space.compiler import compile_chain
from archsearch.space.decisions import NAME, read_decisions, read_rules
from archsearch.space.language import Language
from archsearch.space.skeleton import Skeleton
from archsearch.space.source import Source
from archsearch.space.space import Space

SCHEMA = "archsearch.space/1"
KEYS = (
    "schema",
    "name",
    "title",
    "description",
    "conditions",
    "decisions",
    "rules",
    "let",
    "unet",
    "templates",
    "stages",
    "middle",
)


def space_names() -> list[str]:
    """The names of the shipped spaces."""
    return sorted(path.stem for path in data_folder("search_spaces").glob("*.yaml"))


def space_path(ref: str | Path) -> Path:
    """The file of a space given by name or path.

    Raises:
        SpaceError: there is no such space.
    """
    text = str(ref)
    if isinstance(ref, str) and NAME.fullmatch(text):
        path = data_folder("search_spaces") / f"{text}.yaml"
        if path.is_file():
            return path
    folder = False
    try:
        if Path(ref).is_file():
            return Path(ref)
        folder = bool(text) and Path(ref).is_dir()
    except (OSError, ValueError):
        pass
    if folder:
        raise SpaceError("a folder, not a file", where=text)
    if isinstance(ref, Path) or "/" in text or text.endswith((".yaml", ".yml", ".json")):
        raise SpaceError("no such file", where=text[:200])
    raise SpaceError(unknown_name("search space", text, space_names()), next_step="give a name or a YAML file")


def load_space(ref: str | Path) -> Space:
    """Load, check and compile a search space.

    Args:
        ref: a shipped space's name, or a YAML file.

    Raises:
        SpaceError: unknown name, or what the file says makes no sense; names file, line and key.
    """
    path = space_path(ref)
    document = load_yaml(path, SpaceError)
    source = Source(document)
    data = source.mapping(document.data, (), KEYS)
    if data.get("schema") != SCHEMA:
        raise source.error("another schema version", ("schema",), data.get("schema", "none"), SCHEMA)
    for key in ("name", "conditions", "decisions", "unet", "stages"):
        if key not in data:
            raise source.error("a key is missing", (), f"no {key}")
    name = source.text(data["name"], ("name",))
    if not NAME.fullmatch(name):
        raise source.error("not a name", ("name",), name, "lower-case letters, digits and _, at most 64")
    conditions = _conditions(source, data["conditions"])
    decisions = read_decisions(source, data["decisions"], ("decisions",))
    rules = read_rules(source, data.get("rules", []), decisions, ("rules",))
    defaults = [decision.default for decision in decisions]
    for rule in rules:
        if rule.forbidden.holds(defaults):
            raise source.error(f"the defaults break this rule ({rule.reason})", rule.path)
    skeleton = Skeleton(Language(source, decisions), data)
    chain = compile_chain(source, skeleton.sites(), skeleton.parts, decisions, rules)
    return Space(
        name=name,
        title=" ".join(source.text(data.get("title", name), ("title",)).split()),
        description=source.text(data.get("description", ""), ("description",)).strip(),
        conditions=conditions,
        decisions=decisions,
        rules=rules,
        chain=chain,
        path=path,
    )


def _conditions(source: Source, data: Any) -> Conditions:
    here = ("conditions",)
    items = source.mapping(data, here, ("latent", "text", "batch", "precision"))
    latent = source.sequence(items.get("latent"), (*here, "latent"))
    for i, side in enumerate(latent):
        _whole(source, side, (*here, "latent", i))
    if len(latent) != 2:
        raise source.error("must be [height, width]", (*here, "latent"), latent)
    for key in ("text", "batch"):
        if key in items:
            _whole(source, items[key], (*here, key))
    precision = items.get("precision", "fp32")
    try:
        return Conditions(
            latent=(latent[0], latent[1]),
            text=items.get("text", 77),
            batch=items.get("batch", 1),
            precision=source.text(precision, (*here, "precision")),  # type: ignore[arg-type]
        )
    except CostError as problem:
        raise source.error(problem.what, here, problem.got, problem.allowed) from None


def _whole(source: Source, value: Any, path: tuple[str | int, ...]) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise source.error("must be a whole number", path, value, "1 to 4096")
