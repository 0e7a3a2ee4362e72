"""Shares, changes, moments and shortened texts for people."""

from __future__ import annotations


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
