"""Facts about the ends of a network (embeddings, first and last convolution), for telling two networks apart."""

from __future__ import annotations

from archsearch.arch.values import Architecture, UNet
from archsearch.arch.walk import Step


def told_value(value: object) -> str:
    """A value in a sentence."""
    return "none" if value is None else str(value)


def embedding_facts(arch: Architecture, step: Step) -> dict[str, object]:
    """What is chosen about the time, added and text embeddings of a UNet."""
    assert isinstance(arch, UNet)
    time, added, text = arch.time, arch.added, arch.text_projection
    return {
        "sinusoids": time.input_width,
        "width": time.width,
        "guidance condition": time.cond_width,
        "sine first": not time.flip_sin_to_cos,
        "frequency shift": time.freq_shift,
        "added embedding": added and f"{added.pooled_width} + {added.ids} x {added.time_width}",
        "text projection": text and f"from {text.input_width}{', rms norm' if text.norm else ''}",
        "projected to": arch.text_width if text else None,
    }


def conv_in_facts(arch: Architecture, step: Step) -> dict[str, object]:
    """What is chosen about the first convolution."""
    kernel = arch.conv_in_kernel if isinstance(arch, UNet) else 3
    return {"input channels": step.in_channels, "channels": step.out_channels, "kernel": kernel}


def head_facts(arch: Architecture, step: Step) -> dict[str, object]:
    """What is chosen about the output norm and the last convolution."""
    kernel = arch.conv_out_kernel if isinstance(arch, UNet) else 3
    return {
        "reads": step.in_channels,
        "output channels": step.out_channels,
        "kernel": kernel,
        "resolution": resolution(step),
    }


def resolution(step: Step) -> str:
    """``1/8`` of the input, or ``4x`` after a decoder's upsamplers."""
    return f"1/{1 << step.level}" if step.level >= 0 else f"{1 << -step.level}x"
