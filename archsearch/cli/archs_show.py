"""One network in full: drawing, facts, published figures, notes."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from archsearch.arch import Architecture, Decoder, Preset, TextEncoder, UNet, arch_id, draw, to_dict
from archsearch.arch.describe import layer_name
from archsearch.cli.archs_list import difference_text, figure_text, preset_json
from archsearch.cli.columns import TableText
from archsearch.cost import Conditions, Totals, count


def show_json(preset: Preset, conditions: Conditions) -> dict[str, Any]:
    """``archsearch.archs.show/1``; its ``arch`` is the value, and the file can be given as ARCH again."""
    entry = preset_json(preset, conditions)
    return {"schema": "archsearch.archs.show/1", "arch": to_dict(preset.architecture), **entry}


def show_text(preset: Preset, conditions: Conditions) -> str:
    """Everything that a reader wants to know, for the terminal."""
    arch = preset.architecture
    totals = count(arch, conditions)
    title = preset.title if preset.exact else f"{preset.title} (approximate)"
    parts = [f"{title}\n{'=' * len(title)}", _drawing(arch, conditions), _facts(arch, totals, conditions)]
    if preset.published:
        parts.append(_published(preset, totals))
    if preset.notes:
        parts.append("\n".join(wrap(preset.notes, 100)))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _drawing(arch: Architecture, conditions: Conditions) -> str:
    if isinstance(arch, UNet):
        return draw(arch, conditions.latent)
    if isinstance(arch, Decoder):
        return _decoder_lines(arch, conditions)
    return (
        f"{arch.layers} layers of width {arch.width}, {arch.heads} heads, feed-forward {arch.ff_width} "
        f"({arch.activation}), {arch.vocab} tokens, {arch.positions} positions"
    )


def _decoder_lines(arch: Decoder, conditions: Conditions) -> str:
    height, width = conditions.latent
    lines = [f"{arch.latent_channels} channels in, 3x3 to {arch.conv_in_channels}"]
    if arch.middle:
        lines.append(f"{height}x{width}  middle: {layer_name(arch.middle)}")
    channels = arch.conv_in_channels
    for stage in arch.stages:
        channels = next((b.channels for b in reversed(stage.blocks) if b.kind in ("residual", "shortcut")), channels)
        lines.append(
            f"{height}x{width}  {channels}: {layer_name(stage.blocks)}{', upsample' if stage.upsample else ''}"
        )
        if stage.upsample:
            height, width = 2 * height, 2 * width
    return "\n".join([*lines, f"3x3, {arch.out_channels} channels out"])


def _facts(arch: Architecture, totals: Totals, conditions: Conditions) -> str:
    height, width = conditions.latent
    facts = [("id", arch_id(arch)), ("parameters", f"{totals.params:,}")]
    if isinstance(arch, TextEncoder):
        facts.append(("MACs", f"{totals.macs:,} at {conditions.text} tokens"))
    else:
        text = f", {conditions.text} tokens" if isinstance(arch, UNet) else ""
        facts.append(("MACs", f"{totals.macs:,} at latent {height}x{width}{text}, batch 1, one pass"))
    facts += [
        ("without attention", f"{totals.macs_without_attention:,} (both attention products left out)"),
        ("weights", f"{totals.weight_bytes / 2**20:,.1f} MiB at {conditions.precision}"),
        ("peak activations", f"{totals.peak_activation_bytes / 2**20:,.1f} MiB at {conditions.precision}"),
    ]
    if isinstance(arch, UNet):
        facts += _unet_facts(arch)
    label = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{label}}  {value}" for name, value in facts)


def _unet_facts(unet: UNet) -> list[tuple[str, str]]:
    time, added, text = unet.time, unet.added, unet.text_projection
    facts = [("text width", "none" if unet.text_width is None else str(unet.text_width))]
    if text is not None:
        facts.append(("text projection", f"from {text.input_width}{' with rms norm' if text.norm else ''}"))
    facts.append(("time embedding", f"{time.input_width} -> {time.width}"))
    if time.cond_width is not None:
        facts.append(("guidance condition", str(time.cond_width)))
    if added is not None:
        facts.append(
            ("added embedding", f"{added.pooled_width} pooled text + {added.ids} numbers x {added.time_width}")
        )
    if unet.time_shift != "add":
        facts.append(("time enters", unet.time_shift))
    return [*facts, ("norms", f"{unet.norm_groups} groups"), ("activation", unet.activation)]


def _published(preset: Preset, totals: Totals) -> str:
    rows = tuple(
        (figure.quantity, figure_text(figure), difference_text(figure, totals), figure.status,
         figure.source + (f" ({figure.conditions})" if figure.conditions else ""))
        for figure in preset.published
    )  # fmt: skip
    return TableText(("published", "", "ours", "", "source"), rows, numeric=frozenset({1, 2})).text()
