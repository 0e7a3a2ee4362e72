"""Fit the phone models on public measurements, write the modelled tables, and report how far off they are.

    python -m benchmarks.phone_tables [DATA] [--tables latency_tables] [-o benchmarks/phone_tables/2026-11-21.md]

DATA is the folder of the public measurements, by default ../shared/reference/phone_data.  Takes about a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from archsearch.cost.op import Op
from archsearch.latency.table import load_table
from benchmarks.phone_tables import anchors, gpu, npu, report, texts
from benchmarks.phone_tables.checks import forest_ratio, theirs, whole_networks
from benchmarks.phone_tables.networks import EFFICIENT
from benchmarks.phone_tables.write import all_ops, model_text, write

A12 = "iphonexs"


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/reference/phone_data"))
    parser.add_argument("--tables", type=Path, default=Path("latency_tables"))
    parser.add_argument("-o", "--output", type=Path, default=Path(f"benchmarks/phone_tables/{texts.DATE}.md"))
    args = parser.parse_args()
    ops = list(all_ops().values())
    gpus, npus = [], []
    depthwise = 1.0
    for phone in gpu.PHONES:
        found = gpu.fit_phone(args.data, phone)
        whole = whole_networks(args.data, found)
        text = model_text(
            phone.table, found.scale.scale, 2, 2, phone.winograd, 0, gpu.classes_of(found), texts.gpu_more(found, whole)
        )
        write(args.tables / phone.table, text, texts.gpu_head(found, whole), ops)
        forests = {name: forest_ratio(found, name) for name in ("conv1x1", "conv_direct", "depthwise")}
        gpus.append(report.Gpu(found, whole, theirs(args.data, found), forests, load_table(args.tables / phone.table)))
        if phone.device == A12:
            depthwise = found.coefficients["depthwise"][1] / found.coefficients["conv1x1"][1]
    for device in (npu.galaxy_s24(args.data), npu.IPHONE_14_PRO):
        npus.append(calibrate(device, args.tables / device.table, depthwise, ops))
    args.output.write_text(report.markdown(gpus, npus, args.data, len(ops)))
    print(args.output)


def calibrate(device: npu.Npu, folder: Path, depthwise: float, ops: Sequence[Op]) -> report.NpuResult:
    """Fit, write, check the written table, and write it once more with the result of the checks."""
    rates = npu.fit_rates(device.fitted, device.act_bytes, device.weight_bytes)
    classes = npu.classes_of(rates, depthwise)
    fitted: list[anchors.Check] = []
    checked: list[anchors.Check] = []
    clockwork = 1.0
    for _ in range(2):
        text = model_text(device.table, 1.0, device.act_bytes, device.weight_bytes, None, npu.ON_CHIP, classes,
                          texts.npu_more(device, rates, fitted, checked))  # fmt: skip
        write(folder, text, texts.npu_head(device, checked, clockwork), ops)
        table = load_table(folder)
        fitted, checked = anchors.check(table, device.fitted), anchors.check(table, device.checked)
        clockwork = anchors.ratio_to_sd15(table, EFFICIENT)
    return report.NpuResult(device, rates, fitted, checked, table)


if __name__ == "__main__":
    main()
