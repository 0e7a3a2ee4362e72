"""Checks of the fits on what they have not seen: whole networks, other people's fits, a random forest."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from archsearch.cost.op import Op
from archsearch.latency.phones.fit import TOP, Row, fit, latency
from archsearch.latency.phones.imports import PHONES as NAMES
from archsearch.latency.phones.qed import read_e2e, read_ops, read_totals
from archsearch.latency.phones.terms import op_class, terms
from benchmarks.phone_tables.gpu import E2E, TFLITE, Fitted
from benchmarks.phone_tables.networks import ops

FOLDS = 5
THEIR_CLASS = {
    "conv1x1": "conv1x1", "conv_direct": "conv3x3_direct", "conv_winograd": "conv3x3_winograd", "depthwise": "dwconv",
    "vector": "linear(M=1,fp16 bytes)", "cat": "concat(bytes fp16)",
}  # fmt: skip


class Whole(NamedTuple):
    """Whole networks, predicted by fits that saw none of their operators' times: relative errors, Spearman's rank."""

    networks: int
    error_median: float
    error_p90: float
    rank: float


def whole_networks(data: Path, found: Fitted) -> Whole:
    """Five folds over networks; operators that the fits do not cover keep their measured time."""
    from scipy.stats import spearmanr

    device, rule = found.phone.device, found.phone.winograd
    path = data / "qed-usc" / TFLITE
    timed = read_ops(path, device)
    every, own = read_totals(path, device)
    whole = read_e2e(data / "qed-usc" / E2E, f"{device}|gpu|float")
    names = sorted(set(whole) & set(every))
    truth, guess = [], []
    for number in range(FOLDS):
        held = set(names[number::FOLDS])
        times: dict[Op, list[float]] = defaultdict(list)
        for row in timed:
            if row.model not in held:
                times[row.op].append(row.latency_ms)
        samples: dict[str, list[Row]] = defaultdict(list)
        for op, values in times.items():
            samples[op_class(op, rule)].append((terms(op), statistics.median(values)))
        rates = {name: fit(rows) for name, rows in samples.items()}
        sums = {name: every[name] - own.get(name, 0.0) for name in held}
        for row in timed:
            if row.model in held:
                sums[row.model] += latency(rates[op_class(row.op, rule)], terms(row.op))
        truth += [whole[name] for name in sorted(held)]
        guess += [found.scale.scale * sums[name] + found.scale.per_run_ms for name in sorted(held)]
    errors = sorted(abs(a / b - 1) for a, b in zip(guess, truth, strict=True))
    return Whole(len(errors), statistics.median(errors), errors[int(0.9 * len(errors))],
                 float(spearmanr(guess, truth).statistic))  # fmt: skip


class Theirs(NamedTuple):
    """The same class in ``derived/op_class_fits.csv``: its errors, and its time for a UNet's operators over ours."""

    cross_median: float
    cross_p90: float
    top_median: str
    ratio: float


def theirs(data: Path, found: Fitted) -> dict[str, Theirs]:
    """Compare with the fits that came with the data, on operators of SD 1.5 (depthwise: of MobileDiffusion)."""
    with (data / "derived" / "op_class_fits.csv").open(newline="") as file:
        lines = [row for row in csv.DictReader(file) if row["framework"] == "tflite-2.10-gpu"]
    device = NAMES[found.phone.device][0]
    result = {}
    for name, coefficients in found.coefficients.items():
        match = [row for row in lines if row["device"] == device and row["op_class"] == THEIR_CLASS.get(name)]
        wanted = [op for op in ops("mobilediffusion" if name == "depthwise" else "sd15")
                  if op_class(op, found.phone.winograd) == name]  # fmt: skip
        if not match or not wanted:
            continue
        row = match[0]
        own = other = 0.0
        for op in wanted:
            found_terms = terms(op)
            own += latency(coefficients, found_terms)
            other += float(row["overhead_us"]) / 1e3
            other += found_terms.flops / (float(row["flops_GFs"]) * 1e6) if row["flops_GFs"] else 0.0
            other += found_terms.act_elements * 2 / (float(row["act_GBs"]) * 1e6) if row["act_GBs"] else 0.0
            other += found_terms.weight_elements * 2 / (float(row["weight_GBs"]) * 1e6) if row["weight_GBs"] else 0.0
        result[name] = Theirs(
            float(row["cv_med_ape"]), float(row["cv_p90_ape"]), row["extrap_top20pct_med_ape"] or "-", other / own
        )
    return result


def forest_ratio(found: Fitted, name: str) -> float | None:
    """Median of predicted over measured of a random forest on the fifth with most FLOPs; None without scikit-learn."""
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        return None
    rows = sorted(found.rows[name], key=lambda member: member[1][0].flops)
    cut = len(rows) - int(TOP * len(rows))

    def features(op: Op) -> list[float]:
        _, channels, height, _ = op.shapes[0]
        return [height, channels, op.attr("out"), op.attr("k"), op.attr("s"), 2.0 * op.macs, op.params]

    model = RandomForestRegressor(n_estimators=200, random_state=0, n_jobs=1)
    model.fit([features(op) for op, _ in rows[:cut]], [row[1] for _op, row in rows[:cut]])
    guesses = model.predict([features(op) for op, _ in rows[cut:]])
    return statistics.median(float(a) / row[1] for a, (_op, row) in zip(guesses, rows[cut:], strict=True))
