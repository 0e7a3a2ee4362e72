"""Writing a modelled table: ``model.yaml`` first, then the rows that its printed numbers give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from archsearch.cost.op import Op
from archsearch.latency.phones.model import MODEL, SCHEMA, load_model
from archsearch.latency.phones.terms import Winograd
from archsearch.latency.write import write_table

DIGITS = 5


def all_ops() -> dict[str, Op]:
    """Every operator of the shipped spaces and presets under their default conditions."""
    from archsearch.arch import preset_names
    from archsearch.cli.workloads import Grain, workloads_of
    from archsearch.space import space_names

    found: dict[str, Op] = {}
    for ref in [*(f"space:{name}" for name in space_names()), *(f"arch:{name}" for name in preset_names())]:
        found.update(workloads_of(ref, Grain.op))
    return found


def model_text(
    name: str,
    scale: float,
    act_bytes: int,
    weight_bytes: int,
    winograd: Winograd | None,
    on_chip_scores: int,
    classes: Mapping[str, Mapping[str, object]],
    more: Mapping[str, object],
) -> str:
    """``model.yaml``.  ``more``: what is told beside the numbers that count (sources, checks), lists of one-liners."""
    lines = [f"schema: {SCHEMA}", f"name: {name}", "# latency_us = scale * (overhead_us + us_per_gflop * GFLOP"
             " + us_per_mb_activations * MB + us_per_mb_weights * MB)", f"scale: {number(scale)}",
             f"act_bytes: {act_bytes}", f"weight_bytes: {weight_bytes}"]  # fmt: skip
    if winograd is not None:
        lines.append(f"winograd: {{min_depth: {winograd.min_depth}, min_tiles: {winograd.min_tiles}}}")
    if on_chip_scores:
        lines.append(f"on_chip_scores: {on_chip_scores}")
    lines.append("classes:")
    for key in classes:
        lines.append(f"  {key}:")
        lines += [f"    {field}: {number(value)}" for field, value in classes[key].items()]
    for key, value in more.items():
        if isinstance(value, str):
            lines.append(f"{key}: {number(value)}")
        else:
            assert isinstance(value, Iterable)
            lines += [f"{key}:", *(f"  - {number(item)}" for item in value)]
    return "\n".join(lines) + "\n"


def number(value: object) -> str:
    """A scalar as YAML: five digits that count, texts quoted."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:.{DIGITS}g}"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def write(folder: Path, text: str, head: Mapping[str, object], ops: Iterable[Op]) -> None:
    """Write model, rows and description; the rows follow from the model as printed, not from more digits."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_text(text)
    write_table(folder, head, load_model(folder).rows(ops))
