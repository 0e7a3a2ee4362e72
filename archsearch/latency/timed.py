"""Rows from what was timed, and what a table says about how: the texts of its ``protocol``."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence

from archsearch.latency.conversion import OpModel
from archsearch.latency.rows import OpRow
from archsearch.latency.targets import Timings

CONVERSION = (
    "Each operator is a model of its own, converted by litert-torch {converter} with images in NHWC, random weights "
    "and inputs. "
)
PROTOCOL = (
    CONVERSION + "Warm-up, then runs in blocks of 50 ms between blocks of the reference operator, at least 5 runs and "
    "until the 95 % confidence interval of the median is within 2 % of it, at most {max_seconds:g} s. Runs count while "
    "the reference stands within 10 % of its quiet level and the scheduler does not take the core away; operators "
    "that got no such runs are measured again at the end, and what then remains is marked unsteady or cpu. "
    "Blocks run in turns with their operators, at least 5 rounds; their latency is the median ratio times the "
    "operators' rows (marked paired). "
    "latency_ms is the median, p10_ms and p90_ms quantiles of the counted runs, one call from Python included (about "
    "0.001 ms). Weights and activations are warm in the caches."
)
PHONE_PROTOCOL = (
    CONVERSION + "benchmark_model runs it in blocks of about a second between blocks of the reference operator, each a "
    "process of its own with warm-up, at least 5 runs and 2 blocks and until the 95 % confidence interval of the "
    "median (from the runs' spread, taken as normal, and from the blocks' medians) is within 2 % of it, at most "
    "{max_seconds:g} s. Blocks count while the reference stands within 10 % of its quiet level; operators that got no "
    "such block are measured again at the end, and what then remains is marked unsteady. latency_ms is the median, "
    "p10_ms and p90_ms are the 5th and 95th percentile, which is what benchmark_model tells; it counts in microseconds."
)


def row_of(model: OpModel, timings: Timings) -> OpRow:
    """The row of a timed model: median, quantiles, ratio to the reference."""
    if timings.summary is not None:
        low, median, high, runs = timings.summary
        cpu_ms = None
    else:
        counted = sorted(timings.cpu_ns if timings.timing == "cpu" else timings.wall_ns)
        low, median, high = quantile(counted, 0.1), statistics.median(counted), quantile(counted, 0.9)
        runs = len(counted)
        cpu_ms = statistics.median(timings.cpu_ns) / 1e6
    latency_ms = median / 1e6
    reference_ms = statistics.median(timings.reference_ns) / 1e6
    return OpRow(
        key=model.key,
        kind=model.key.split("[", 1)[0],
        latency_ms=latency_ms,
        p10_ms=min(low / 1e6, latency_ms),
        p90_ms=max(high / 1e6, latency_ms),
        provenance="measured",
        runs=runs,
        dropped=timings.dropped,
        timing=timings.timing,  # type: ignore[arg-type]
        ratio=latency_ms / reference_ms,
        reference_ms=reference_ms,
        cpu_ms=cpu_ms,
        graph=model.graph,
        measured_at=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def paired_row(model: OpModel, timings: Timings, ops_ms: float, quiet_ms: float | None) -> OpRow:
    """The row of a block that ran in turns with its operators, which take ``ops_ms`` by their own rows."""
    ratios = sorted(timings.ratios)
    latency_ms = statistics.median(ratios) * ops_ms
    return OpRow(
        key=model.key,
        kind=model.key.split("[", 1)[0],
        latency_ms=latency_ms,
        p10_ms=min(quantile(ratios, 0.1) * ops_ms, latency_ms),
        p90_ms=max(quantile(ratios, 0.9) * ops_ms, latency_ms),
        provenance="measured",
        runs=len(ratios),
        dropped=timings.dropped,
        timing="paired",
        ratio=latency_ms / quiet_ms if quiet_ms else None,
        reference_ms=quiet_ms,
        cpu_ms=statistics.median(timings.cpu_ns) / 1e6,
        graph=model.graph,
        measured_at=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def quantile(ordered: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics."""
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
