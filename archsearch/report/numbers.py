"""Numbers for people.  What is printed in one column adds up to its printed total."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from archsearch.search.objectives import binary, scaled

__all__ = ["apportioned", "binary", "change", "percent", "scaled", "shortened", "when"]


def apportioned(values: Sequence[float], digits: int) -> list[str]:
    """Round so that the printed values add up to the rounded total (largest remainders are rounded up)."""
    scale = 10**digits
    exact = [value * scale for value in values]
    low = [floor(value) for value in exact]
    missing = round(sum(exact)) - sum(low)
    for i in sorted(range(len(exact)), key=lambda i: exact[i] - low[i], reverse=True)[:missing]:
        low[i] += 1
    return [f"{value / scale:,.{digits}f}" for value in low]


def percent(share: float) -> str:
    """``0.1234`` -> ``12%``; small shares keep a digit, and nothing but zero is printed as zero."""
    if 0 < share < 0.001:
        return "< 0.1%"
    return f"{share * 100:.0f}%" if share >= 0.0995 or share == 0 else f"{share * 100:.1f}%"


def change(value: float, base: float) -> str:
    """``-41.2%`` against a base; ``same`` where equal."""
    if value == base:
        return "same"
    if not base:
        return ""
    return f"{(value - base) / base * 100:+.1f}%".replace("-", "−")


def shortened(text: str, limit: int = 160) -> str:
    """One line of at most ``limit`` characters."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def when(moment: str) -> str:
    """``2026-11-21T03:48:07+00:00`` -> ``2026-11-21 03:48 UTC``; anything else stays as it is."""
    from datetime import UTC, datetime

    try:
        return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return moment
