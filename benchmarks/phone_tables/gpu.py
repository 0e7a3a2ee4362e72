"""Models of three phones' GPUs, fitted on the public per-operator rows of qed-usc/mobile-ml-benchmark."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from archsearch.cost.op import Op
from archsearch.latency.phones.fit import Coefficients, Quality, Row, fit, quality
from archsearch.latency.phones.imports import import_rows
from archsearch.latency.phones.qed import read_e2e, read_ops, read_totals
from archsearch.latency.phones.terms import NORM_PASSES, Winograd, op_class, terms

FP16 = 2
TFLITE, TORCH = "tflite_cnn_ops_gpu.csv", "torch_cnn_ops_gpu.csv"
E2E = "tflite_cnn_e2e.csv"
WINOGRAD_GAIN = 4.0  # F(4x4, 3x3) multiplies a fourth as often: no faster than four times the rate of 1x1


@dataclass(frozen=True)
class Phone:
    """A phone of the source and the table made for it."""

    device: str
    table: str
    winograd: Winograd | None


PHONES = (
    Phone("pixel4", "pixel4-gpu-modelled", None),
    Phone("s10", "galaxy-s10-gpu-modelled", Winograd(16, 32)),
    Phone("iphonexs", "iphone-xs-gpu-modelled", Winograd(16, 32)),
)


class Scale(NamedTuple):
    """Whole networks against the sum of their timed operators: ``whole = scale * sum + per_run_ms``.

    ``plain`` is the median of sum / whole; ``error_median`` and ``error_p90`` are the fit's relative errors, with five
    folds held out; ``rank`` is Spearman's correlation of sum and whole.
    """

    scale: float
    per_run_ms: float
    plain: float
    error_median: float
    error_p90: float
    rank: float
    networks: int


class Merged(NamedTuple):
    """Additions and relus inside a convolution's kernel: microseconds a call and a MB of the tensor that is added, from
    ``pairs`` of the same convolution; the median ratio of times with and without relu, from ``relu_pairs``."""

    overhead_us: float
    us_per_mb: float
    pairs: int
    relu: float
    relu_pairs: int


class Fitted(NamedTuple):
    """All that is known about one phone: coefficients, quality and rows of every class, and the scale."""

    phone: Phone
    coefficients: dict[str, Coefficients]
    quality: dict[str, Quality]
    rows: dict[str, list[tuple[Op, Row]]]
    scale: Scale
    merged: Merged


def fit_phone(data: Path, phone: Phone) -> Fitted:
    """Fit every class that the source has rows of."""
    tflite, torch = data / "qed-usc" / TFLITE, data / "qed-usc" / TORCH
    rows: dict[str, list[tuple[Op, Row]]] = defaultdict(list)
    for row in import_rows(tflite, phone.device):
        op = Op.parse(row.key)
        name = op_class(op, phone.winograd)
        if name != "vector" or op.kind == "linear":  # 1x1 convolutions of one pixel are launches of a kernel, no more
            rows[name].append((op, (terms(op), row.latency_ms)))
    for row in import_rows(torch, phone.device):
        op = Op.parse(row.key)
        if op.kind == "add":  # a kernel of its own there: reads two tensors, writes one
            rows["elementwise"].append((op, (terms(op)._replace(act_elements=float(op.moved)), row.latency_ms)))
    rows["cat"] = _larger_half(rows["cat"])
    floors = {"conv_winograd": fit([row for _op, row in rows["conv1x1"]])[1] / WINOGRAD_GAIN}
    samples = {name: [_masked(name, row) for _op, row in members] for name, members in rows.items()}
    return Fitted(
        phone,
        {name: fit(members, floors.get(name, 0.0)) for name, members in samples.items()},
        {name: quality(members, floors.get(name, 0.0)) for name, members in samples.items()},
        dict(rows),
        fit_scale(data, phone.device),
        merged_add(tflite, phone.device),
    )


def merged_add(path: Path, device: str) -> Merged:
    """What an addition costs inside a convolution's kernel: the same convolutions with and without, from kernel names.

    Extra time = overhead + bytes of the second tensor / rate, weighted by one over the convolution's time, with which
    the scatter grows.
    """
    import numpy as np
    from scipy.optimize import nnls

    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    ops: dict[str, Op] = {}
    for row in read_ops(path, device):
        if row.kernel.startswith("convolution_2d"):
            times[row.op.key][row.kernel].append(row.latency_ms)
            ops[row.op.key] = row.op
    extra: list[tuple[float, float, float]] = []
    relus: list[float] = []
    for key, found in times.items():
        middle = {kernel: statistics.median(values) for kernel, values in found.items()}
        plain, relu = middle.get("convolution_2d"), middle.get("convolution_2d + relu")
        for base, kernel in ((plain, "convolution_2d + add"), (relu, "convolution_2d + add + relu")):
            if base and kernel in middle:
                extra.append(((middle[kernel] - base) * 1e3, prod(ops[key].out_shape) * FP16 / 1e6, base))
        if plain and relu:
            relus.append(relu / plain)
    left = np.array([[1.0, mb] for _us, mb, _base in extra]) / np.array([[base] for _us, _mb, base in extra])
    (overhead_us, us_per_mb), _ = nnls(left, np.array([us / base for us, _mb, base in extra]))
    return Merged(float(overhead_us), float(us_per_mb), len(extra), statistics.median(relus), len(relus))


def _larger_half(members: list[tuple[Op, Row]]) -> list[tuple[Op, Row]]:
    """By bytes: small joins are launches of a kernel and say nothing about large ones."""
    ordered = sorted(members, key=lambda member: member[1][0].act_elements)
    return ordered[len(ordered) // 2 :]


def _masked(name: str, row: Row) -> Row:
    """Vectors are bound by their weights; terms that are collinear with them are left out."""
    found, latency_ms = row
    return (found._replace(flops=0.0, act_elements=0.0), latency_ms) if name == "vector" else row


def fit_scale(data: Path, device: str) -> Scale:
    """Fit whole networks on the sums of their operators, in relative error."""
    import numpy as np
    from scipy.optimize import nnls
    from scipy.stats import spearmanr

    whole = read_e2e(data / "qed-usc" / E2E, f"{device}|gpu|float")
    total, _own = read_totals(data / "qed-usc" / TFLITE, device)
    names = sorted(set(whole) & set(total))
    x = np.array([[total[name] / whole[name], 1 / whole[name]] for name in names])
    both, _ = nnls(x, np.ones(len(names)))
    errors = []
    for number in range(5):
        held = np.arange(len(names)) % 5 == number
        part, _ = nnls(x[~held], np.ones(int((~held).sum())))
        errors += list(abs(x[held] @ part - 1))
    errors.sort()
    return Scale(
        float(both[0]), float(both[1]), float(np.median(x[:, 0])), float(np.median(errors)),
        float(errors[int(0.9 * len(errors))]),
        float(spearmanr([total[n] for n in names], [whole[n] for n in names]).statistic), len(names),
    )  # fmt: skip


def classes_of(found: Fitted) -> dict[str, dict[str, object]]:
    """The classes of ``model.yaml``: fitted rates, and what is carried over where nothing was measured."""
    c, q = found.coefficients, found.quality
    add, one = c["elementwise"], c["conv1x1"]
    vulkan = "Metal" if found.phone.device.startswith("iphone") else "Vulkan"
    adds = f"bytes at the rate of {q['elementwise'].rows} additions under PyTorch Mobile 2.0 ({vulkan}) on this phone"
    entries: dict[str, dict[str, object]] = {}
    for name in ("conv1x1", "conv_direct", "conv_winograd", "depthwise", "vector", "cat"):
        if name in c:
            largest = max(row[0].flops for _op, row in found.rows[name]) / 1e9
            entries[name] = _entry(c[name], q[name].band, "fitted", f"{q[name].rows} distinct TFLite rows", largest)
    entries["conv1x1"]["source"] = f"{entries['conv1x1']['source']}; linear layers over tokens are taken for 1x1"
    entries["cat"]["source"] = f"{entries['cat']['source']}, the larger half"
    merged = (found.merged.overhead_us / 1e3, 0.0, found.merged.us_per_mb / 1e9 * FP16, 0.0)
    entries["add"] = _entry(
        merged, 2.0, "fitted",
        f"merged into a convolution's kernel: {found.merged.pairs} convolutions with and without; second tensor read",
    )  # fmt: skip
    entries["elementwise"] = _entry(add, 2.0, "unmeasured", f"SiLU, GELU, products: {adds}")
    norm = (NORM_PASSES * add[0], 0.0, add[2], 0.0)
    entries["norm"] = _entry(norm, 2.0, "unmeasured", f"{NORM_PASSES} passes over the tensor, {adds}")
    entries["attention"] = _entry(
        (3 * one[0], one[1], add[2], 0.0), 2.0, "unmeasured",
        f"FLOPs at the rate of 1x1 convolutions; scores written and read three times (unfused), {adds}",
    )  # fmt: skip
    entries["upsample"] = _entry(add, 2.0, "unmeasured", adds)
    entries["small"] = _entry(add, 2.0, "unmeasured", adds)
    return entries


def _entry(
    rates: tuple[float, ...], band: float, basis: str, source: str, largest_gflop: float = 0.0
) -> dict[str, object]:
    """Readable units: microseconds a call, a GFLOP, a MB of fp16 values."""
    return {
        "overhead_us": rates[0] * 1e3,
        "us_per_gflop": rates[1] * 1e12,
        "us_per_mb_activations": rates[2] * 1e9 / FP16,
        "us_per_mb_weights": rates[3] * 1e9 / FP16,
        "band": max(band, 1.0),
        "basis": basis,
        "source": source,
        "largest_gflop": largest_gflop,
    }
