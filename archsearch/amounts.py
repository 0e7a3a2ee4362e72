"""Amounts for people: units, and columns whose printed numbers add up to the printed totals."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))
BINARY_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def scaled(value: float) -> str:
    """``859520964`` -> ``859.521 M``."""
    for size, unit in UNITS:
        if abs(value) >= size:
            return f"{value / size:.3f} {unit}"
    return f"{value:.0f}"


def binary(value: float) -> str:
    """``3438083856`` -> ``3.202 GiB``."""
    for size, unit in BINARY_UNITS:
        if abs(value) >= size:
            return f"{value / size:.3f} {unit}"
    return f"{value:.0f} B"


def apportioned(values: Sequence[float], digits: int, target: int | None = None, grouped: bool = False) -> list[str]:
    """Round so that the printed values add up to the rounded total (largest remainders are rounded up).

    ``target`` replaces that total, in units of the last digit; ``grouped`` writes commas between thousands.
    """
    scale = 10**digits
    exact = [value * scale for value in values]
    low = [floor(value) for value in exact]
    missing = (round(sum(exact)) if target is None else target) - sum(low)
    by_remainder = sorted(range(len(exact)), key=lambda i: exact[i] - low[i], reverse=True)
    for i in by_remainder[: max(missing, 0)]:
        low[i] += 1
    for i in [i for i in reversed(by_remainder) if low[i] > 0][: max(-missing, 0)]:
        low[i] -= 1
    comma = "," if grouped else ""
    return [f"{value / scale:{comma}.{digits}f}" for value in low]


def apportioned_macs(macs: Sequence[float], plain: Sequence[float], digits: int = 3) -> tuple[list[str], list[str]]:
    """Both MAC columns: each adds up to its rounded total, and rows without attention show the same in both."""
    scale = 10**digits
    printed = apportioned(plain, digits)
    units = [round(float(value) * scale) for value in printed]
    products = [total - rest for total, rest in zip(macs, plain, strict=True)]
    shares = apportioned(products, digits, round(sum(macs) * scale) - sum(units))
    both = [
        f"{(unit + round(float(share) * scale)) / scale:.{digits}f}" for unit, share in zip(units, shares, strict=True)
    ]
    return both, printed
