"""What a modelled table says about itself: ``table.yaml`` and the part of ``model.yaml`` that is there to be read."""

from __future__ import annotations

from collections.abc import Sequence

from archsearch.latency.phones.imports import PHONES as NAMES
from archsearch.latency.phones.imports import SOURCE
from benchmarks.phone_tables.anchors import CLOCKWORK, Check
from benchmarks.phone_tables.checks import Whole
from benchmarks.phone_tables.gpu import Fitted
from benchmarks.phone_tables.npu import AI_HUB, APPLE, OVERHEAD_US, SNAPFUSION, Npu, Rates

DATE = "2026-11-21"
UNMEASURED = (
    "norms: 4 passes over the tensor at the rate of element-wise additions; factor 2",
    "attention, softmax included: FLOPs at the rate of 1x1 convolutions, scores moved six times; factor 2",
    "GELU, SiLU, products, upsampling, embeddings: bytes at the rate of element-wise additions; factor 2",
)
HEAD = {"runtime_version": "2.10", "threads": 1, "date": DATE, "reference": ""}


def percent(value: float) -> str:
    """``+12 %``."""
    return f"{100 * value:+.0f} %" if abs(value) >= 0.005 else "0 %"


def gpu_head(found: Fitted, whole: Whole) -> dict[str, object]:
    """``table.yaml`` of a GPU."""
    name, soc = NAMES[found.phone.device]
    held = "; ".join(
        f"{label} {q.rows} rows, median error {100 * q.cross_median:.0f} %"
        + (f", largest fifth {q.top_rows} rows, {100 * q.top_median:.0f} %, predicted over measured {q.top_bias:.2f}"
           if q.top_median is not None and q.top_bias is not None else "")
        for label, q in found.quality.items() if label != "elementwise"
    )  # fmt: skip
    return {
        **HEAD,
        "name": found.phone.table,
        "description": f"MODELLED, not measured: the GPU of {name} under TFLite, from public timings of CNN operators.",
        "device": name,
        "soc": soc,
        "os": "as in the source, which does not state it",
        "runtime": "TFLite",
        "delegate": "GPU",
        "precision": "fp16",
        "protocol": "No row is a measurement. Every row is computed from model.yaml beside it, whose rates are fitted "
        f"on operator timings of {SOURCE}. p10_ms and p90_ms are the 80 % error band.",
        "licence": "Apache-2.0; fitted on figures of qed-usc/mobile-ml-benchmark (MIT)",
        "notes": f"Checked on held-out real rows of this phone: {held}. {whole.networks} whole CNNs, none of whose "
        f"operators were fitted: median error {100 * whole.error_median:.0f} %, p90 {100 * whole.error_p90:.0f} %, "
        f"rank correlation {whole.rank:.3f}. No phone measurement at all stands behind norms, attention with its "
        "softmax, GELU, SiLU, products and upsampling: factor 2. No diffusion UNet was ever timed on this phone in "
        "public. See docs/phone-tables.md.",
    }


def gpu_more(found: Fitted, whole: Whole) -> dict[str, object]:
    """The readable part of a GPU's ``model.yaml``."""
    merged, scale = found.merged, found.scale
    assumptions = [
        "linear layers over tokens cost what a 1x1 convolution over as many pixels costs",
        "activations and weights are fp16 (the source says fp16 and float32; the rates on A12 point to fp16)",
        "a whole network takes scale times the sum of its operators; the fixed time a run is left out of the rows",
        "attention is not fused: its scores are written and read three times",
    ]
    if found.phone.winograd is None:
        assumptions.append(
            "3x3 convolutions run directly, as in every row; TFLite's own rule would choose Winograd on Adreno 6xx "
            "from 128 channels and 128 tiles on (64x64 at 320 channels), which no public row covers: they may be faster"
        )
    return {
        "sources": [f"{SOURCE}, MIT: tflite_cnn_ops_gpu.csv, torch_cnn_ops_gpu.csv (additions), tflite_cnn_e2e.csv"],
        "held_out": [
            *(f"{label}: {q.rows} distinct operators, five folds: median error {100 * q.cross_median:.0f} %, p90 "
              f"{100 * q.cross_p90:.0f} %"
              + (f"; the {q.top_rows} with most FLOPs from the others: median error {100 * q.top_median:.0f} %, "
                 f"predicted over measured {q.top_bias:.2f}"
                 if q.top_median is not None and q.top_bias is not None else "")
              for label, q in found.quality.items()),
            f"merged additions: {merged.pairs} pairs of the same convolution; merged relu costs nothing (median ratio "
            f"{merged.relu:.3f} of {merged.relu_pairs} pairs) and has no class",
            f"whole = scale * sum + {scale.per_run_ms:.2f} ms: {scale.networks} networks, held-out median error "
            f"{100 * scale.error_median:.1f} %, p90 {100 * scale.error_p90:.1f} %; the plain sum is "
            f"{scale.plain:.2f} of the whole in the median and ranks with {scale.rank:.3f}",
            f"whole networks predicted without any of their own operators' times: {whole.networks} CNNs, median error "
            f"{100 * whole.error_median:.1f} %, p90 {100 * whole.error_p90:.1f} %, rank {whole.rank:.3f}",
        ],
        "anchors_fitted": ["none: no published latency of a diffusion network on this phone"],
        "anchors_checked": ["none: no published latency of a diffusion network on this phone"],
        "no_phone_measurement": UNMEASURED,
        "assumptions": assumptions,
    }  # fmt: skip


def npu_head(npu: Npu, checked: Sequence[Check], clockwork: float) -> dict[str, object]:
    """``table.yaml`` of a device of which only whole networks are published."""
    s24 = npu.table.startswith("galaxy")
    errors = ", ".join(f"{one.anchor.network} {percent(one.error)}" for one in checked)
    return {
        **HEAD,
        "name": npu.table,
        "description": "MODELLED, not measured: "
        + ("the Hexagon NPU of Galaxy S24" if s24 else "iPhone 14 Pro under Core ML as of SnapFusion (2023)")
        + ", calibrated to the three published networks of SD 1.5.",
        "device": "Samsung Galaxy S24" if s24 else "Apple iPhone 14 Pro",
        "soc": "Snapdragon 8 Gen 3" if s24 else "A16 Bionic",
        "os": "as in the source, which does not state it",
        "runtime": "QNN" if s24 else "Core ML",
        "runtime_version": "2.43" if s24 else "of 2023",
        "delegate": "Hexagon NPU" if s24 else "not stated by the source",
        "precision": "w8a16" if s24 else "fp16",
        "protocol": "No row is a measurement. Every row is computed from model.yaml beside it: three rates that meet "
        "the published latencies of SD 1.5's text encoder, UNet and image decoder, one pass each. p10_ms and p90_ms "
        "are a factor of two.",
        "licence": f"Apache-2.0; calibrated to figures of {AI_HUB if s24 else SNAPFUSION}",
        "notes": f"Fitted on SD 1.5 only; checked on {errors}. Without its 64x64 transformers SD 1.5 takes "
        f"{percent(clockwork - 1)} here, -51 % in {CLOCKWORK}. No operator was ever timed in public on this phone: "
        "nothing but the three sums rests on it, every row has a factor of two. See docs/phone-tables.md.",
    }


def npu_more(npu: Npu, rates: Rates, fitted: Sequence[Check], checked: Sequence[Check]) -> dict[str, object]:
    """The readable part of such a device's ``model.yaml``."""

    def line(one: Check) -> str:
        return (f"{one.anchor.network}: published {one.anchor.latency_ms:.4g} ms, table {one.predicted_ms:.4g} ms "
                f"({percent(one.error)}); {one.anchor.source}")  # fmt: skip

    s24 = npu.table.startswith("galaxy")
    return {
        "sources": [AI_HUB, "A12 GPU's cost of depthwise FLOPs: iphone-xs-gpu-modelled"] if s24
        else [SNAPFUSION, APPLE, "A12 GPU's cost of depthwise FLOPs: iphone-xs-gpu-modelled"],
        "rates": [f"{1 / rates.per_gflop:.3g} TFLOP/s", f"{1 / rates.per_mb:.3g} GB/s of activations and weights",
                  f"{1 / rates.per_score_mb:.3g} GB/s of large attention scores"],
        "anchors_fitted": [line(one) for one in fitted],
        "anchors_checked": [line(one) for one in checked],
        "no_phone_measurement": [
            "every operator: only whole networks are published; factor 2",
            "norms count 4 passes over the tensor, large scores of attention six, all else its bytes once",
        ],
        "assumptions": [
            "activations and weights come from the same memory at one rate",
            "large scores of attention (over 2^20) have a rate of their own; small ones stay on the chip",
            f"{OVERHEAD_US:g} us a call; a FLOP of a depthwise convolution costs as much more as on the A12's GPU",
            "additions are merged into the kernel before them and read their second tensor",
            "weights int8, activations 16 bit" if s24 else
            "weights and activations fp16; 1700 ms is one pass (the paper also calls it the mean of three phones)",
        ],
    }  # fmt: skip
