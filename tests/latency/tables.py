"""Small tables for tests, with rows computed from a formula."""

from collections.abc import Iterable
from pathlib import Path

from archsearch.cost.op import Op
from archsearch.latency.rows import OpRow, RowProvenance
from archsearch.latency.write import write_table

HEAD: dict[str, object] = {
    "name": "toy",
    "description": "made of a formula, for tests",
    "device": "none",
    "soc": "none",
    "os": "none",
    "runtime": "none",
    "runtime_version": "0",
    "delegate": "none",
    "precision": "fp32",
    "threads": 1,
    "protocol": "computed",
    "date": "2026-11-21",
    "licence": "Apache-2.0",
    "notes": "",
    "reference": "",
}


def row(op: Op, latency_ms: float, provenance: RowProvenance = "measured", spread: float = 0.1) -> OpRow:
    low, high = latency_ms * (1 - spread), latency_ms * (1 + spread)
    return OpRow(op.key, op.kind, latency_ms, low, high, provenance, runs=5, timing="steady")


def formula_ms(op: Op) -> float:
    """Overhead, 20 GMAC/s, 8 GB/s: what the fits' model can express exactly."""
    moved = op.moved + op.params + 6 * op.workspace
    return 0.005 + op.macs / 20e6 + 4 * moved / 8e6


def write_toy(folder: Path, ops: Iterable[Op], **head: object) -> Path:
    """A table of ``ops`` under the formula; returns its folder."""
    write_table(folder, {**HEAD, **head}, [row(op, formula_ms(op)) for op in ops])
    return folder


def conv(channels: int, out: int, side: int, k: int = 3, g: int = 1, s: int = 1) -> Op:
    return Op("conv2d", ((1, channels, side, side),), (("bias", 1), ("g", g), ("k", k), ("out", out), ("s", s)))


def linear(tokens: int, width: int, out: int) -> Op:
    return Op("linear", ((1, tokens, width),), (("bias", 1), ("out", out)))


OPS = [conv(c, o, side) for c in (8, 16, 64) for o in (8, 32) for side in (8, 16)] + [
    linear(t, w, o) for t in (16, 64) for w in (32, 64) for o in (32, 64, 128)
]

SMALL = [conv(8, 8, 8), linear(4, 64, 64), Op("silu", ((1, 8, 4, 4),)), conv(8, 16, 4, k=1)]  # what tests convert
