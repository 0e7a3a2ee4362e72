"""Rows of a latency table from files of public phone measurements, for ``archsearch latency import``."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from archsearch.errors import LatencyError
from archsearch.latency.phones.ai_hub import is_ai_hub, read_components
from archsearch.latency.phones.qed import PhoneOp, e2e_columns, is_torch, ops_devices, read_ops
from archsearch.latency.rows import OpRow

SOURCE = "github.com/qed-usc/mobile-ml-benchmark (Li, Paolieri, Golubchik, EdgeSys 2024)"
PHONES = {
    "pixel4": ("Google Pixel 4", "Snapdragon 855, Adreno 640"),
    "s10": ("Samsung Galaxy S10", "Exynos 9820, Mali-G76"),
    "mi8se": ("Xiaomi Mi 8 SE", "Snapdragon 710, Adreno 616"),
    "onefusion": ("One Fusion (as the source names it)", "Snapdragon 710, Adreno 616"),
    "a03s": ("Samsung Galaxy A03s", "Helio P35, PowerVR GE8320"),
    "iphonexs": ("Apple iPhone XS", "A12 Bionic"),
    "iphone7": ("Apple iPhone 7", "A10 Fusion"),
}


def recognise(path: Path) -> bool:
    """Whether a file is of a format known here, by its first line."""
    return bool(ops_devices(path) or e2e_columns(path) or is_ai_hub(path))


def devices(path: Path) -> tuple[str, ...]:
    """The devices whose operators a file holds; empty for files of whole models.

    Raises:
        LatencyError: an operator file with malformed columns.
    """
    return ops_devices(path)


def import_rows(path: Path, device: str) -> list[OpRow]:
    """Rows of provenance ``imported``, one an operator, sorted as a table's.

    A row is the median over the networks in which the operator was timed, ``p10_ms`` and ``p90_ms`` are quantiles over
    them and ``runs`` is how many there were; ``graph`` says which kernel ran it, with what was merged into it.

    Raises:
        LatencyError: a file of whole models, an unknown device, a malformed row; names file and line.
    """
    if is_ai_hub(path):
        names = sorted({f"{row.model}/{row.component}" for row in read_components(path)})
        raise LatencyError("the file times whole networks, which are no rows of a table", where=str(path),
                           got=", ".join(names), next_step="docs/phone-tables.md says what for")  # fmt: skip
    if e2e_columns(path):
        raise LatencyError("the file times whole networks, which are no rows of a table", where=str(path),
                           next_step="import the file of the same networks' operators")  # fmt: skip
    groups: dict[str, list[PhoneOp]] = defaultdict(list)
    for row in read_ops(path, device):
        groups[row.op.key].append(row)
    return [_row(groups[key]) for key in sorted(groups, key=lambda key: (groups[key][0].op.kind, key))]


def head(path: Path, device: str) -> dict[str, str]:
    """What a table of these rows says about itself: fields of ``table.yaml`` as far as the source states them."""
    torch = is_torch(path)
    name, soc = PHONES.get(device, (device, ""))
    metal = device.startswith("iphone")
    return {
        "device": name,
        "soc": soc,
        "runtime": "PyTorch Mobile" if torch else "TFLite",
        "runtime_version": "2.0" if torch else "2.10",
        "delegate": ("Metal" if metal else "Vulkan") if torch else "GPU",
        "precision": "fp16",
        "licence": "MIT (figures of qed-usc/mobile-ml-benchmark)",
        "protocol": f"Imported from {SOURCE}: operator timings of whole networks on the phone's GPU. The source says "
        "fp16 in its README and float32 in its scripts; the rates on A12 point to fp16.",
    }


def _row(found: Sequence[PhoneOp]) -> OpRow:
    times = sorted(row.latency_ms for row in found)
    low, high = times[0], times[-1]
    if len(times) > 1:
        cuts = statistics.quantiles(times, n=10, method="inclusive")
        low, high = cuts[0], cuts[8]
    middle = statistics.median(times)
    op = found[0].op
    kernels = Counter(row.kernel for row in found)
    kernel = min(kernels, key=lambda name: (-kernels[name], name))
    return OpRow(op.key, op.kind, middle, min(low, middle), max(high, middle), "imported", len(times), graph=kernel)
