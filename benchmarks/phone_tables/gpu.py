"""Models of three phones' GPUs, fitted on the public per-operator rows of qed-usc/mobile-ml-benchmark."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from archsearch.cost.op import Op
from archsearch.latency.phones.fit import Coefficients, Quality, Row, fit, latency, quality
from archsearch.latency.phones.imports import import_rows
from archsearch.latency.phones.qed import read_e2e, read_totals
from archsearch.latency.phones.terms import NORM_PASSES, Winograd, op_class, terms

FP16 = 2
TFLITE, TORCH = "tflite_cnn_ops_gpu.csv", "torch_cnn_ops_gpu.csv"
E2E = "tflite_cnn_e2e.csv"
MIN_BYTES_SHARE = 0.5  # joins: the larger half of the rows; small ones take an overhead that says nothing about large


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


class Fitted(NamedTuple):
    """All that is known about one phone: coefficients, quality and rows of every class, and the scale."""

    phone: Phone
    coefficients: dict[str, Coefficients]
    quality: dict[str, Quality]
    rows: dict[str, list[tuple[Op, Row]]]
    scale: Scale


def fit_phone(data: Path, phone: Phone) -> Fitted:
    """Fit every class that the source has rows of."""
    rows: dict[str, list[tuple[Op, Row]]] = defaultdict(list)
    for source, prefix in ((TFLITE, ""), (TORCH, "torch ")):
        for row in import_rows(data / "qed-usc" / source, phone.device):
            op = Op.parse(row.key)
            name = op_class(op, phone.winograd if not prefix else None)
            if prefix and not (name == "fused" and op.kind == "add"):
                continue  # PyTorch's own kernels describe PyTorch; its additions stand in for element-wise work
            if name == "vector" and op.kind != "linear":
                continue  # 1x1 convolutions of one pixel, few channels: latency of a launch, not streaming of weights
            rows["elementwise" if prefix else name].append((op, (terms(op), row.latency_ms)))
    found = {name: _only(name, members) for name, members in rows.items()}
    return Fitted(
        phone,
        {name: fit([_masked(name, row) for _op, row in members]) for name, members in found.items()},
        {name: quality([_masked(name, row) for _op, row in members]) for name, members in found.items()},
        found,
        fit_scale(data, phone.device),
    )


def _only(name: str, members: list[tuple[Op, Row]]) -> list[tuple[Op, Row]]:
    if name != "cat":
        return members
    ordered = sorted(members, key=lambda member: member[1][0].act_elements)
    return ordered[int(MIN_BYTES_SHARE * len(ordered)) :]


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
    direct = " and ".join({"conv_direct", "conv_winograd"} & set(c))
    add, one = c["elementwise"], c["conv1x1"]
    vulkan = "Metal" if found.phone.device.startswith("iphone") else "Vulkan"
    adds = f"additions of PyTorch Mobile 2.0 ({vulkan}) on this phone"
    entries: dict[str, dict[str, object]] = {}
    for name in ("conv1x1", "conv_direct", "conv_winograd", "depthwise", "vector", "cat"):
        if name in c:
            largest = max(row[0].flops for _op, row in found.rows[name]) / 1e9
            entries[name] = _entry(c[name], q[name].band, "fitted", f"{q[name].rows} distinct TFLite rows", largest)
    entries["conv1x1"]["source"] = f"{entries['conv1x1']['source']}; linear layers over tokens are taken for 1x1"
    entries["fused"] = _entry(add, q["elementwise"].band, "carried", f"merged by TFLite (its kernel names); {adds}")
    entries["fused"]["merged"] = True
    entries["elementwise"] = _entry(add, 2.0, "unmeasured", f"SiLU, GELU, products: bytes at the rate of {adds}")
    norm = (NORM_PASSES * add[0], 0.0, add[2], 0.0)
    entries["norm"] = _entry(norm, 2.0, "unmeasured", f"{NORM_PASSES} passes over the tensor at the rate of {adds}")
    entries["attention"] = _entry(
        (3 * one[0], one[1], add[2], 0.0), 2.0, "unmeasured",
        f"FLOPs at the rate of 1x1 convolutions, scores written and read (unfused) at the rate of {adds}",
    )  # fmt: skip
    entries["upsample"] = _entry(add, 2.0, "unmeasured", f"bytes at the rate of {adds}")
    entries["small"] = _entry(add, 2.0, "unmeasured", f"bytes at the rate of {adds}")
    assert direct
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


__all__ = ["PHONES", "Fitted", "Phone", "classes_of", "fit_phone", "latency"]
