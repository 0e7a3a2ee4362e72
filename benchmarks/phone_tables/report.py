"""The dated result file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from archsearch.latency.phones.ai_hub import read_components
from archsearch.latency.phones.imports import PHONES as NAMES
from archsearch.latency.predict import predict
from archsearch.latency.table import LatencyTable
from benchmarks.phone_tables import anchors, npu
from benchmarks.phone_tables.anchors import Check
from benchmarks.phone_tables.checks import Theirs, Whole
from benchmarks.phone_tables.gpu import Fitted
from benchmarks.phone_tables.networks import CONTROLNET, EFFICIENT, lowering
from benchmarks.phone_tables.texts import DATE, percent

SHOWN = [
    *("sd15", "sd21-base", "sdxl", "snapfusion", "mobilediffusion", "mobilediffusion-lite"),
    *("bk-sdm-base", "bk-sdm-small", "bk-sdm-tiny", "snapgen"),
    *("sd-decoder", "snapfusion-decoder", "mobilediffusion-decoder"),
]


class Gpu(NamedTuple):
    """All about one GPU."""

    found: Fitted
    whole: Whole
    theirs: dict[str, Theirs]
    forests: dict[str, float | None]
    table: LatencyTable


class NpuResult(NamedTuple):
    """All about one device that only whole networks calibrate."""

    npu: npu.Npu
    rates: npu.Rates
    fitted: list[Check]
    checked: list[Check]
    table: LatencyTable


def markdown(gpus: Sequence[Gpu], npus: Sequence[NpuResult], data: Path, ops: int) -> str:
    """The whole file."""
    return "\n".join(
        [
            f"# Modelled phone tables, {DATE}",
            "",
            "Written by `python -m benchmarks.phone_tables`. No figure of a table here is a measurement. Sources: "
            "qed-usc/mobile-ml-benchmark (MIT; Li, Paolieri, Golubchik, EdgeSys 2024), qualcomm/ai-hub-models (BSD-3), "
            "apple/ml-stable-diffusion (MIT), SnapFusion (arXiv 2306.00980), Clockwork (arXiv 2312.08128). Each table "
            f"holds {ops} operators: all of the shipped spaces and presets.",
            "",
            "## GPUs: fits on operators, and errors on operators they have not seen",
            "",
            *_fits(gpus),
            "",
            "Five folds over distinct operators; *largest fifth*: trained on the 80 % with fewest FLOPs, tested on the "
            "rest, *ratio* is predicted over measured. *Forest*: the same ratio of a random forest (200 trees, shape, "
            "FLOPs and parameters). *Theirs*: the fit that came with the data, its own error, and its time over ours "
            "for this class's operators in SD 1.5 (depthwise: MobileDiffusion). They had a fifth more networks and "
            "counted SE convolutions and small joins in; joins differ most.",
            "",
            "## GPUs: whole networks",
            "",
            *_table(
                ("phone", "CNNs", "plain sum / whole", "scale", "ms a run", "error of scale, median / p90",
                 "rank of the sum", "predicted without own operators: median / p90", "rank"),
                ((NAMES[g.found.phone.device][0], str(g.whole.networks), f"{g.found.scale.plain:.2f}",
                  f"{g.found.scale.scale:.3f}", f"{g.found.scale.per_run_ms:.2f}",
                  f"{_p(g.found.scale.error_median)} / {_p(g.found.scale.error_p90)}", f"{g.found.scale.rank:.3f}",
                  f"{_p(g.whole.error_median)} / {_p(g.whole.error_p90)}", f"{g.whole.rank:.3f}") for g in gpus),
            ),
            "",
            "Most of what a plain sum lacks is a fixed time a run, which small CNNs feel and a UNet does not: a factor "
            "of 1.2 to 1.8 from the median ratio would have been wrong for large networks. Rows carry the scale; the "
            "fixed time is left out.",
            "",
            "Merged into a convolution's kernel (same convolutions with and without): "
            + "; ".join(
                f"{NAMES[g.found.phone.device][0]} relu x{g.found.merged.relu:.3f} "
                f"({g.found.merged.relu_pairs} pairs), addition "
                f"{g.found.merged.overhead_us:.2g} us + {g.found.merged.us_per_mb:.3g} us/MB "
                f"({g.found.merged.pairs} pairs)"
                for g in gpus
            )
            + ".",
            "",
            "Part of the modelled time that rests on classes fitted to the phone's own operator timings (the rest: "
            "norms, attention, SiLU, GELU, products, upsampling): "
            + "; ".join(
                f"{g.table.name} " + ", ".join(f"{name} {100 * anchors.fitted_share(g.table, name):.0f} %"
                                               for name in ("sd15", "snapfusion", "mobilediffusion"))
                for g in gpus
            )
            + ".",
            "",
            "## S24 and iPhone 14 Pro: anchors",
            "",
            *_anchors(npus),
            "",
            "BK-SDM over SD 1.5: the tables say "
            + "; ".join(
                f"{n.table.name} " + ", ".join(f"{name} {anchors.ratio_to_sd15(n.table, name):.2f}"
                                               for name in anchors.BK_SDM)
                for n in npus
            )
            + "; an RTX 3080 measures "
            + ", ".join(f"{name} {value:.2f}" for name, value in anchors.RTX_3080.items())
            + f" ({anchors.CLOCKWORK.split(',')[0]}, same table; not a phone).",
            "",
            "## Clockwork's ratio",
            "",
            f"Without the transformers at 64x64, SD 1.5 loses {_p(anchors.drop_of_flops())} of its FLOPs (12 % as "
            "Clockwork counts, without the attention products) and took 51 % less time on a Galaxy S23 in 2023.",
            "",
            *_table(("table", "latency"), [
                (t.name, percent(anchors.ratio_to_sd15(t, EFFICIENT) - 1))
                for t in [*(g.table for g in gpus), *(n.table for n in npus)]
            ]),
            "",
            "## The same recipe on AI Hub's other devices",
            "",
            "Three rates fitted on SD 1.5's three networks, predicted over published for what was not fitted:",
            "",
            *_table(("device", "SD 1.5 UNet ms", "SD 2.1 UNet", "SD 2.1 text encoder", "ControlNet"), _others(data)),
            "",
            "ControlNet takes up to twice what the tables say. On the S24 its graph has 663 layers and the UNet's "
            "3,527; we think that the UNet's attention was rewritten head by head for the NPU, ControlNet's was not. "
            "A table fitted on the UNet knows the rewritten kind only.",
            "",
            "## What the tables say (ms a pass, modelled)",
            "",
            *_table(("network", *(t.name for t in [*(g.table for g in gpus), *(n.table for n in npus)])), [
                (name, *(_ms(t, name) for t in [*(g.table for g in gpus), *(n.table for n in npus)])) for name in SHOWN
            ]),
            "",
        ]
    )  # fmt: skip


def _fits(gpus: Sequence[Gpu]) -> list[str]:
    lines = []
    for g in gpus:
        for name, q in g.found.quality.items():
            their = g.theirs.get(name)
            forest = g.forests.get(name)
            lines.append((
                NAMES[g.found.phone.device][0], name, str(q.rows), f"{_p(q.cross_median)} / {_p(q.cross_p90)}",
                f"{_p(q.top_median)}, {q.top_bias:.2f} ({q.top_rows})" if q.top_median and q.top_bias else "",
                f"{forest:.2f}" if forest else "", f"x{q.band:.2f}",
                f"{_p(their.cross_median)} / {_p(their.cross_p90)}" if their else "",
                f"{their.ratio:.2f}" if their else "",
            ))  # fmt: skip
    return _table(("phone", "class", "operators", "five folds, median / p90", "largest fifth: median, ratio (rows)",
                   "forest's ratio", "80 % band", "theirs: median / p90", "theirs / ours"), lines)  # fmt: skip


def _anchors(npus: Sequence[NpuResult]) -> list[str]:
    lines = []
    for n in npus:
        for use, found in (("fitted", n.fitted), ("checked", n.checked)):
            lines += [(n.table.name, use, one.anchor.network, f"{one.anchor.latency_ms:.4g}", f"{one.predicted_ms:.4g}",
                       percent(one.error), one.anchor.source) for one in found]  # fmt: skip
    rates = "; ".join(
        f"{n.table.name}: {1 / n.rates.per_gflop:.3g} TFLOP/s, {1 / n.rates.per_mb:.3g} GB/s, large scores "
        f"{1 / n.rates.per_score_mb:.3g} GB/s"
        for n in npus
    )
    return [
        *_table(("table", "use", "network", "published ms", "table ms", "error", "source"), lines),
        "",
        f"Rates: {rates}.",
    ]


def _others(data: Path) -> Iterable[tuple[str, ...]]:
    for device in sorted({row.device for row in read_components(data / "ai-hub" / "sd_perf.csv")}):
        found = npu.ai_hub_anchors(data, device)
        if not all(name in found for name in npu.FITTED):
            continue
        rates = npu.fit_rates([found[name] for name in npu.FITTED], 2, 1)
        fitted = npu.predicted(rates, "sd15", 2, 1) / found["sd15"].latency_ms
        note = "" if abs(fitted - 1) < 0.01 else f" (fit {percent(fitted - 1)})"
        yield (device, f"{found['sd15'].latency_ms:.1f}{note}", *(
            percent(npu.predicted(rates, name, 2, 1) / found[name].latency_ms - 1) if name in found else ""
            for name in ("sd21-base", npu.SD21_TEXT, CONTROLNET)
        ))  # fmt: skip


def _ms(table: LatencyTable, name: str) -> str:
    found = predict(lowering(name), table)
    return f"{found.total_ms:,.0f} ({found.low_ms:,.0f} to {found.high_ms:,.0f})"


def _p(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header),
            *("| " + " | ".join(cells) + " |" for cells in rows)]  # fmt: skip
