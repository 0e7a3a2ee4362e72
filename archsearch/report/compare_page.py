"""The page of a comparison: ``archsearch compare --format html``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.report.candidate import Candidate, Fact, candidate_info
from archsearch.report.figures_stages import StageBars, network_bars_info, stage_bars_figure
from archsearch.report.profile_page import profile_origins
from archsearch.report.provenance import Origin
from archsearch.report.render import render, write_page

if TYPE_CHECKING:
    from archsearch.latency.profile import Profile


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks under the same conditions; everything is put against the first of them.

    ``figures`` holds one row a figure, with one cell a network.
    """

    names: tuple[str, ...]
    conditions: str
    figures: tuple[tuple[Fact, ...], ...]
    bars: tuple[StageBars, ...]
    candidates: tuple[Candidate, ...]
    origins: tuple[Origin, ...]


def comparison_info(profiles: Sequence[Profile]) -> Comparison:
    """Collect a comparison of two or more networks, profiled under the same conditions and tables."""
    from archsearch.arch import arch_id

    first = profiles[0]
    candidates = tuple(
        candidate_info(p.name, p.name, arch_id(p.arch), p, first if p is not first else None) for p in profiles
    )
    bars = network_bars_info(profiles)
    return Comparison(
        names=bars[0].stages,
        conditions=candidates[0].conditions,
        figures=tuple(zip(*(candidate.facts for candidate in candidates), strict=True)),
        bars=bars,
        candidates=candidates,
        origins=profile_origins(first),
    )


def compare_page(profiles: Sequence[Profile], output: Path) -> Path:
    """Write the page of a comparison.

    Raises:
        ReportError: the page cannot be written.
    """
    return write_page(compare_html(comparison_info(profiles)), output)


def compare_html(info: Comparison) -> str:
    """The page as text."""
    bars = {"all": [stage_bars_figure(bar) for bar in info.bars]}
    bars |= {str(i): [stage_bars_figure(bar) for bar in c.bars] for i, c in enumerate(info.candidates)}
    return render("compare.html.j2", {"chosen": None, "bars": bars}, title="Comparison", info=info)
