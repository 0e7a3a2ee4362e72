"""Fit the phone models on public measurements and write the modelled tables.

    python -m benchmarks.phone_tables.run [DATA] [--tables latency_tables]

DATA is the folder of the public measurements, by default ../shared/reference/phone_data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.phone_tables.gpu import PHONES, Fitted, classes_of, fit_phone
from benchmarks.phone_tables.write import all_ops, model_text, write

DATE = "2026-11-21"


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/reference/phone_data"))
    parser.add_argument("--tables", type=Path, default=Path("latency_tables"))
    args = parser.parse_args()
    ops = list(all_ops().values())
    for phone in PHONES:
        found = fit_phone(args.data, phone)
        write(args.tables / phone.table, gpu_text(found), gpu_head(found), ops)
        print(phone.table, found.scale)


def gpu_text(found: Fitted) -> str:
    """``model.yaml`` of a GPU."""
    return model_text(found.phone.table, found.scale.scale, 2, 2, found.phone.winograd, classes_of(found), {})


def gpu_head(found: Fitted) -> dict[str, object]:
    """``table.yaml`` of a GPU."""
    from archsearch.latency.phones.imports import PHONES as NAMES

    name, soc = NAMES[found.phone.device]
    return {
        "name": found.phone.table,
        "description": f"MODELLED, not measured: {name}'s GPU under TFLite, from public operator timings of CNNs.",
        "device": f"{name} (modelled)",
        "soc": soc,
        "os": "as in the source, which does not state it",
        "runtime": "TFLite",
        "runtime_version": "2.10",
        "delegate": "GPU",
        "precision": "fp16",
        "threads": 1,
        "protocol": "No row is a measurement. Every row is computed from the numbers in model.yaml beside it, which "
        "are fitted on operator timings of github.com/qed-usc/mobile-ml-benchmark (MIT).",
        "date": DATE,
        "licence": "Apache-2.0; fitted on figures of qed-usc/mobile-ml-benchmark (MIT, Li, Paolieri, Golubchik 2024)",
        "notes": "",
        "reference": "",
    }


if __name__ == "__main__":
    main()
