"""The page of one network's profile: ``archsearch profile --format html``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.report.candidate import candidate_info, conditions_text
from archsearch.report.figures_stages import stage_bars_figure
from archsearch.report.numbers import when
from archsearch.report.provenance import Origin
from archsearch.report.render import render, write_page

if TYPE_CHECKING:
    from archsearch.latency.profile import Profile


def profile_page(profile: Profile, output: Path) -> Path:
    """Write the page of a profile.

    Raises:
        ReportError: the page cannot be written.
    """
    return write_page(profile_html(profile), output)


def profile_html(profile: Profile) -> str:
    """The page as text."""
    from archsearch.arch import arch_id

    candidate = candidate_info(profile.name, profile.name, arch_id(profile.arch), profile)
    data = {"chosen": None, "bars": {"self": [stage_bars_figure(bar) for bar in candidate.bars]}}
    return render(
        "profile.html.j2", data, title=f"Profile of {profile.name}", candidate=candidate,
        origins=profile_origins(profile),
    )  # fmt: skip


def profile_origins(profile: Profile) -> tuple[Origin, ...]:
    """Where a profile's numbers come from."""
    from importlib import metadata

    version = metadata.version("archsearch")
    kinds = {"measured": "every row measured on the device", "modelled": "rows modelled, not measured",
             "mixed": "some rows measured on the device, the others modelled"}  # fmt: skip
    origins = [
        Origin("Parameters, MACs, model size, peak activation memory", f"counted exactly by archsearch {version}"),
        Origin("Conditions", conditions_text(profile)),
    ]
    for table, found in zip(profile.tables, profile.predictions, strict=True):
        missing = f"; {len(found.missing)} operators are not in the table and were modelled" if found.missing else ""
        origins.append(
            Origin(
                f"Latency on {table.name}",
                f"predicted as a sum over operators from latency table {table.name} ({table.configuration}; "
                f"{table.date}; {kinds[table.provenance]}){missing}",
            )
        )
    origins.append(Origin("Written", when(datetime.now(UTC).isoformat())))
    return tuple(origins)
