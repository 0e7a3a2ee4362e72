"""``archsearch report STUDY``: the page of a study."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Examples:

  archsearch report studies/demo

  archsearch report studies/demo -o reports/demo --open

  archsearch report studies/demo --format markdown
"""


class ReportFormat(StrEnum):
    """What to write."""

    html = "html"
    markdown = "markdown"


def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder of the page. [default: reports/NAME]")
    ] = None,
    format_: Annotated[
        ReportFormat, typer.Option("--format", "-f", help="html: one self-contained page; markdown: to stdout.")
    ] = ReportFormat.html,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write the page of a study: its front, its candidates, and where the numbers come from; prints the page's path."""
    from archsearch.cli.common import emit
    from archsearch.search.study import open_study

    opened = open_study(study)
    if format_ is ReportFormat.markdown:
        from archsearch.report.markdown import study_markdown

        emit(study_markdown(opened), output / "study.md" if output else None)
        return
    from archsearch.report.study_page import PAGE, study_page

    page = study_page(opened, (output or Path("reports") / opened.name) / PAGE)
    emit(str(page))
    if open_:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
