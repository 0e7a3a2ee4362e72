"""Exceptions that users meet.  Each says what, where, what was got, what is allowed and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ArchsearchError(ValueError):
    """Base of every error caused by input; the command line prints it in one line and exits with 2.

    Args:
        what: the rule that was broken, in words.
        where: file, key path or argument at fault.
        got: the offending value.
        allowed: what would have been accepted.
        next_step: what to do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: object = None,
        allowed: object = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.got = got
        self.allowed = allowed
        self.next_step = next_step
        parts = [f"{where}: {what}" if where else what]
        if got is not None:
            parts.append(f"got {_short(got)}")
        if allowed is not None:
            parts.append(f"allowed: {_short(allowed, 400)}")
        if next_step is not None:
            parts.append(next_step)
        super().__init__("; ".join(parts))


def _short(value: object, limit: int = 120) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


class ArchError(ArchsearchError):
    """An architecture, preset or diffusers config that is malformed or outside the vocabulary."""


class CostError(ArchsearchError):
    """Conditions or operators that cannot be counted, or counters that disagree."""


class SpaceError(ArchsearchError):
    """A search space that is malformed, or a constraint that it cannot meet."""


class ModelError(ArchsearchError):
    """Weights or modules that do not fit the architecture."""


class LatencyError(ArchsearchError):
    """Latency tables, devices and measurements."""


class QualityError(ArchsearchError):
    """Data, training and scores."""


class SearchError(ArchsearchError):
    """Objectives, constraints, strategies and studies."""


class ReportError(ArchsearchError):
    """Reports and their output."""


class MissingExtraError(ArchsearchError):
    """An optional dependency that the requested work needs is not installed."""


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str | None = None) -> str:
    """One sentence for an unknown name: near misses first, then all that is known."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {_short(name)!r}.{hint} Available: {', '.join(options)}"
