"""A study as Markdown, for a pull request or an issue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.report.numbers import shortened
from archsearch.report.study_info import StudyInfo, study_info

if TYPE_CHECKING:
    from archsearch.search.study import Study

MAX_MEMBERS = 50
SPECIAL = "\\`*_[]<>|~&"


def study_markdown(study: Path | Study) -> str:
    """The summary of a study: words, warnings, front, chosen candidate and provenance.

    Raises:
        SearchError: not a study.
    """
    from archsearch.search.study import open_study

    opened = open_study(study) if isinstance(study, Path) else study
    return markdown(study_info(opened))


def markdown(info: StudyInfo) -> str:
    """The summary as text."""
    parts = [f"# Study {plain(info.name)}", ""]
    parts += [f"> **Note:** {plain(warning)}\n" for warning in info.warnings]
    parts += [f"- {plain(sentence)}" for sentence in info.words]
    if info.members:
        parts += ["", "## Pareto front", "", *_front(info)]
    if info.chosen in info.candidates:
        candidate = info.candidates[info.chosen]
        parts += ["", f"## {plain(candidate.title)}", ""]
        facts = [(f.label, f.text, f.exact, f.versus, f"{f.badge}; {f.note}") for f in candidate.facts]
        parts += table(("figure", "value", "exactly", "against the baseline", "from"), facts)
        parts += ["", *(f"- {plain(sentence)}" for sentence in candidate.words)]
        if candidate.changes:
            parts += ["", "### Changed from the baseline", ""]
            parts += table(
                ("decision", "baseline", "here"), [(c.decision, c.before, c.after) for c in candidate.changes]
            )
        parts += ["", "### Stage by stage", "", *_stages(info)]
    parts += ["", "## Where the numbers come from", ""]
    parts += [f"- **{plain(origin.what)}**: {plain(origin.how)}" for origin in info.origins]
    return "\n".join(parts) + "\n"


def _front(info: StudyInfo) -> list[str]:
    header = ("trial", *(column.label for column in info.columns), "architecture")
    rows = []
    for member in info.members[:MAX_MEMBERS]:
        number = f"{member.number} (knee)" if member.number == info.chosen else str(member.number)
        cells = [" · ".join(part for part in (c.text, c.error, c.versus) if part) for c in member.cells]
        rows.append((number, *cells, member.arch_id))
    lines = table(header, rows)
    if len(info.members) > MAX_MEMBERS:
        lines.append(f"\n{len(info.members) - MAX_MEMBERS} further members: `archsearch search front`.")
    return lines


def _stages(info: StudyInfo) -> list[str]:
    assert info.chosen is not None
    candidate = info.candidates[info.chosen]
    header = ("stage", "parameters", "MACs", *(f"ms on {name}" for name in candidate.tables))
    rows = [(r.stage, f"{r.params:,}", f"{r.macs:,}", *r.latency) for r in (*candidate.stages, candidate.totals)]
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A GitHub table; every cell is text."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell if cell == "---" else plain(cell) for cell in line) + " |" for line in lines]


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return "".join(f"\\{c}" if c in SPECIAL else c for c in shortened(text, 1200))
