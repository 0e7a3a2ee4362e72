"""A second reading of space files, as plain as possible: one assignment in, one UNet out, nothing compiled."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from archsearch.arch import UNet, from_dict

Assignment = dict[str, Any]


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def assignments(data: dict[str, Any]) -> Iterator[Assignment]:
    """All assignments of a space's decisions, conditions and rules not looked at."""
    names = list(data["decisions"])
    for values in itertools.product(*(choices(data["decisions"][name]) for name in names)):
        yield dict(zip(names, values, strict=True))


def choices(decision: dict[str, Any]) -> list[Any]:
    if "range" in decision:
        low, high, *step = decision["range"]
        return list(range(low, high + 1, *step))
    return list(decision["choices"])


def holds(condition: Any, names: Assignment) -> bool:
    if isinstance(condition, list):
        return any(holds(one, names) for one in condition)
    return all(
        any(same(names[name], value) for value in (wanted if isinstance(wanted, list) else [wanted]))
        for name, wanted in condition.items()
    )


def effective(data: dict[str, Any], chosen: Assignment) -> Assignment:
    """Decisions whose condition does not hold take their default."""
    result = dict(chosen)
    for _ in result:  # conditions may depend on each other
        for name, decision in data["decisions"].items():
            if "when" in decision and not holds(decision["when"], result):
                result[name] = decision.get("default", choices(decision)[0])
    return result


def allowed(data: dict[str, Any], chosen: Assignment) -> bool:
    return not any(holds(rule["forbid"], effective(data, chosen)) for rule in data.get("rules", []))


def text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def value(node: Any, names: Assignment) -> Any:
    if isinstance(node, str) and node.startswith("$"):
        return names[node[1:]]
    if isinstance(node, dict) and "switch" in node:
        cases = node["cases"]
        key = text(value(node["switch"], names))
        return value(cases[key] if key in cases else node["else"], names)
    if isinstance(node, dict):
        return {key: value(item, names) for key, item in node.items()}
    if isinstance(node, list):
        return [value(item, names) for item in node]
    return node


def let(node: Any, names: Assignment) -> Assignment:
    result = dict(names)
    for name, item in (node or {}).items():
        result[name] = value(item, result)
    return result


def layer(
    data: dict[str, Any], entries: list[Any], names: Assignment, width: int, is_up: bool
) -> tuple[list[Any], int]:
    """The blocks of a layer and the width after it."""
    blocks: list[Any] = []
    for entry in entries:
        use = {"use": entry} if isinstance(entry, str) else entry
        inner = let(use.get("with"), names)
        template = data["templates"][use["use"]]
        times = value(use.get("repeat", 1), inner) if holds(use.get("when", {}), inner) else 0
        if times:
            block = plain(value(template, inner))
            blocks += [block] * times
            width = block.get("channels", width) if block["kind"] != "transformer" else width
        elif template["kind"] == "residual":
            channels = value(template["channels"], inner)
            if channels != width or (is_up and not blocks):
                blocks.append({"kind": "shortcut", "channels": channels})
            width = channels
    return blocks, width


def plain(block: dict[str, Any]) -> dict[str, Any]:
    """A block without shorthands."""
    block = dict(block)
    if "block" in block:
        inner = {name: slot(item, block["width"]) for name, item in block.pop("block").items()}
        block["blocks"] = [inner] * block.pop("depth", 1)
    return block


def slot(item: Any, width: int) -> Any:
    if not isinstance(item, dict) or "to" not in item:
        return item
    item = {"kind": "attention", **{key: part for key, part in item.items() if part is not None}}
    if "heads" not in item:
        item["heads"] = width // item["head_dim"]
    if "head_dim" not in item:
        item["head_dim"] = width // item["heads"]
    return item


def build(data: dict[str, Any], chosen: Assignment) -> UNet:
    """The UNet of an assignment."""
    names = let(data.get("let"), effective(data, chosen))
    stages = [stage for stage in data["stages"] if holds(stage.get("when", {}), names)]
    result: list[dict[str, Any]] = []
    pairs: list[list[dict[str, Any]]] = []
    width = value(data["unet"], names)["conv_in_channels"]
    skips = [width]
    for s, stage in enumerate(stages):
        inner = let(stage.get("let"), names)
        down = let(stage.get("let_down"), inner)
        pairs.append([pair for pair in stage["layers"] if holds(pair.get("when", {}), inner)])
        built: dict[str, Any] = {"down": [], "up": []}
        for pair in pairs[-1]:
            blocks, width = layer(data, pair["down"], down, width, False)
            built["down"].append(blocks)
            skips.append(width)
        if s + 1 < len(stages):
            built["downsample"] = value(stage["downsample"], down)
            width = built["downsample"]["channels"]
            skips.append(width)
        result.append(built)
    middle, width = layer(data, data.get("middle", []), names, width, False)
    for s in reversed(range(len(stages))):
        stage = stages[s]
        up = let(stage.get("let_up"), let(stage.get("let"), names))
        for entries in [*(pair["up"] for pair in reversed(pairs[s])), stage["outer"]]:
            blocks, width = layer(data, entries, up, width + skips.pop(), True)
            result[s]["up"].append(blocks)
        if s > 0:
            result[s]["upsample"] = value(stage["upsample"], up)
            width = result[s]["upsample"]["channels"]
    unet = from_dict({"kind": "unet", **value(data["unet"], names), "stages": result, "middle": middle})
    assert isinstance(unet, UNet)
    return unet
