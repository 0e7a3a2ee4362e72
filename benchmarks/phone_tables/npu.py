"""Models of two phones of which only whole networks are published, fitted on the three networks of SD 1.5.

Three unknown rates meet three anchors: text encoder, UNet and image decoder of Stable Diffusion 1.5.
``t = FLOPs * r + (activation bytes + weight bytes) * b + score bytes * s + 1 us a call``: weights and activations are
taken to come from the same memory, and the scores of attention, which runtimes keep on the chip or not, have a rate of
their own.  Depthwise convolutions use matrix units badly everywhere; how badly is carried over from the A12's GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from archsearch.arch import TextEncoder, load_preset
from archsearch.cost import Conditions, lower
from archsearch.cost.op import Op
from archsearch.latency.phones.ai_hub import read_components
from archsearch.latency.phones.terms import NORM_PASSES, op_class, terms
from benchmarks.phone_tables.networks import CONTROLNET, EFFICIENT, ops

ON_CHIP = 2**20  # elements of attention scores that stay on the chip; an assumption, met by text encoders
OVERHEAD_US = 1.0  # an assumption: a call of an operator inside a compiled graph
SD21_TEXT = "sd21 text encoder"
AI_HUB = "github.com/qualcomm/ai-hub-models @b61a009 (BSD-3-Clause)"
SNAPFUSION = "SnapFusion, arXiv 2306.00980 Table 1"
BK_SDM = "github.com/Nota-NetsPresso/BK-SDM README"
APPLE = "github.com/apple/ml-stable-diffusion @e12202c README (MIT)"


class Anchor(NamedTuple):
    """A published latency of one pass of a network, and where it is from."""

    network: str
    latency_ms: float
    source: str


class Rates(NamedTuple):
    """Milliseconds a GFLOP, a MB of activations or weights, a MB of attention scores."""

    per_gflop: float
    per_mb: float
    per_score_mb: float


class Npu(NamedTuple):
    """A device, how its figures are stored, and its anchors: those that fit and those that check."""

    table: str
    act_bytes: int
    weight_bytes: int
    fitted: tuple[Anchor, ...]
    checked: tuple[Anchor, ...]


def network_ops(name: str) -> list[Op]:
    """Every operator of one pass, SD 2.1's text encoder (OpenCLIP ViT-H without its last layer) included."""
    if name != SD21_TEXT:
        return ops(name)
    clip = load_preset("clip-vit-l14").architecture
    assert isinstance(clip, TextEncoder)
    import dataclasses

    wide = dataclasses.replace(clip, width=1024, layers=23, heads=16, ff_width=4096, activation="gelu")
    return [located.op for located in lower(wide, Conditions(text=77)).ops()]


def sums(name: str, act_bytes: int, weight_bytes: int) -> tuple[float, float, float, float]:
    """(calls, GFLOP, MB of activations and weights, MB of scores) of a network."""
    calls = gflop = mb = score_mb = 0.0
    for op in network_ops(name):
        found = terms(op, ON_CHIP)
        calls += 1
        gflop += found.flops / 1e9
        mb += found.weight_elements * weight_bytes / 1e6
        if op_class(op, None, ON_CHIP) == "attention":
            score_mb += found.act_elements * act_bytes / 1e6
        else:
            mb += found.act_elements * act_bytes / 1e6
    return calls, gflop, mb, score_mb


def fit_rates(anchors: Sequence[Anchor], act_bytes: int, weight_bytes: int) -> Rates:
    """Non-negative rates that meet the anchors, in relative error."""
    import numpy as np
    from scipy.optimize import nnls

    left, right = [], []
    for anchor in anchors:
        calls, *rest = sums(anchor.network, act_bytes, weight_bytes)
        left.append([value / anchor.latency_ms for value in rest])
        right.append(1 - calls * OVERHEAD_US / 1e3 / anchor.latency_ms)
    found, _ = nnls(np.array(left), np.array(right))
    return Rates(*(float(value) for value in found))


def predicted(rates: Rates, name: str, act_bytes: int, weight_bytes: int) -> float:
    """Milliseconds of one pass."""
    calls, gflop, mb, score_mb = sums(name, act_bytes, weight_bytes)
    return calls * OVERHEAD_US / 1e3 + gflop * rates.per_gflop + mb * rates.per_mb + score_mb * rates.per_score_mb


def classes_of(rates: Rates, depthwise: float) -> dict[str, dict[str, object]]:
    """The classes of ``model.yaml``; ``depthwise``: times the cost of a GFLOP of 1x1 convolutions."""
    gflop, mb = rates.per_gflop * 1e3, rates.per_mb * 1e3

    def entry(us_per_gflop: float, us_per_mb: float, source: str, calls: float = 1.0) -> dict[str, object]:
        return {
            "overhead_us": OVERHEAD_US * calls, "us_per_gflop": us_per_gflop, "us_per_mb_activations": us_per_mb,
            "us_per_mb_weights": mb, "band": 2.0, "basis": "unmeasured", "source": source,
        }  # fmt: skip

    matrix = "rates that meet the three whole networks of SD 1.5"
    memory = "bytes at a rate that meets the three whole networks of SD 1.5"
    return {
        "conv1x1": entry(gflop, mb, matrix),
        "conv_direct": entry(gflop, mb, matrix),
        "depthwise": entry(gflop * depthwise, mb, f"{matrix}; a FLOP costs {depthwise:.2g} times, as on the A12's GPU"),
        "vector": entry(gflop, mb, matrix),
        "cat": entry(0.0, mb, memory),
        "elementwise": entry(0.0, mb, memory),
        "add": entry(0.0, mb, f"second tensor read, {memory}"),
        "norm": entry(0.0, mb, f"{NORM_PASSES} passes, {memory}"),
        "attention": entry(gflop, rates.per_score_mb * 1e3, f"scores written and read three times, {matrix}"),
        "attention_small": entry(gflop, mb, f"scores stay on the chip; {matrix}"),
        "upsample": entry(0.0, mb, memory),
        "small": entry(0.0, mb, memory),
    }


def ai_hub_anchors(data: Path, device: str) -> dict[str, Anchor]:
    """Medians of the newest snapshot by network: SD 1.5's three, and those that check."""
    names = {
        ("stable_diffusion_v1_5", "text_encoder"): "clip-vit-l14", ("stable_diffusion_v1_5", "unet"): "sd15",
        ("stable_diffusion_v1_5", "vae"): "sd-decoder", ("stable_diffusion_v2_1", "unet"): "sd21-base",
        ("stable_diffusion_v2_1", "text_encoder"): SD21_TEXT, ("controlnet_canny", "controlnet"): CONTROLNET,
    }  # fmt: skip
    found = {}
    for row in read_components(data / "ai-hub" / "sd_perf.csv"):
        name = names.get((row.model, row.component))
        if name and row.device == device and row.repo == "qualcomm/ai-hub-models" and row.runtime == RUNTIME:
            found[name] = Anchor(name, row.latency_ms, AI_HUB)
    return found


RUNTIME = "qnn_context_binary"
FITTED = ("clip-vit-l14", "sd15", "sd-decoder")


def galaxy_s24(data: Path) -> Npu:
    """Hexagon of the Snapdragon 8 Gen 3, weights int8 and activations int16."""
    found = ai_hub_anchors(data, "Samsung Galaxy S24")
    return Npu("galaxy-s24-npu-modelled", 2, 1, tuple(found[name] for name in FITTED),
               tuple(found[name] for name in ("sd21-base", CONTROLNET, SD21_TEXT)))  # fmt: skip


IPHONE_14_PRO = Npu(
    "iphone-14-pro-modelled", 2, 2,
    (Anchor("clip-vit-l14", 4.0, SNAPFUSION), Anchor("sd15", 1700.0, SNAPFUSION),
     Anchor("sd-decoder", 369.0, SNAPFUSION)),
    (Anchor("snapfusion", 230.0, SNAPFUSION), Anchor("snapfusion-decoder", 116.0, SNAPFUSION),
     Anchor("sd21-base", 186.0, f"{APPLE}: iPhone 14 Pro Max, 2.69 iterations/s of 2 passes, 6-bit weights, "
                                "SPLIT_EINSUM_V2"),
     Anchor("bk-sdm-base", 200.0, f"{BK_SDM}: about 4 s for 10 steps of 2 passes and a decoder on iPhone 14, so at "
                                  "most 200 ms a pass; which of its networks is not said")),
)  # fmt: skip


def ratio(rates: Mapping[str, float]) -> float:
    """Clockwork's ratio: SD 1.5 without its 64x64 transformers over SD 1.5."""
    return rates[EFFICIENT] / rates["sd15"]
