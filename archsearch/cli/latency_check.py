"""``archsearch latency check``: whether a table can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from archsearch.latency.check import Finding
    from archsearch.latency.table import LatencyTable

EPILOG = """Examples:

  archsearch latency check tables/my-pc

  archsearch latency check tables/my-phone --peak-gmacs 250 --json

Exit code 1: the files are damaged, or a row is wrong: no operator, a layout that no whole model has, faster than a peak
that you state. Suspicious rows (slower with less work, far faster than the table's other rows, timed under load) are
told and do not fail the check.
"""


def check(
    ref: Annotated[str, typer.Argument(metavar="T", help="Latency table: name or folder.")],
    peak_gmacs: Annotated[
        float | None, typer.Option("--peak-gmacs", help="The device's peak, in 10^9 multiply-accumulates a second.")
    ] = None,
    peak_gbytes: Annotated[
        float | None, typer.Option("--peak-gbytes", help="Its fastest memory or cache, in 10^9 bytes a second.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.latency_check/1).")] = False,
) -> None:
    """Check a table: schema, checksum, every row, keys, layout, plausibility."""
    from archsearch.cli.common import emit, emit_json
    from archsearch.errors import LatencyError
    from archsearch.latency.check import Finding, check_table
    from archsearch.latency.models_csv import read_models
    from archsearch.latency.plausible import Peak
    from archsearch.latency.table import load_table, table_folder

    for name, value in (("--peak-gmacs", peak_gmacs), ("--peak-gbytes", peak_gbytes)):
        if value is not None and not 0 < value < float("inf"):
            raise LatencyError("must be a positive number", where=name, got=value)
    folder = table_folder(ref)
    table = None
    try:
        table = load_table(ref)
        findings = check_table(table, Peak(peak_gmacs, peak_gbytes))
        read_models(folder)
    except LatencyError as error:
        findings, table = [Finding("error", "", str(error))], None
    bad = sum(finding.level == "error" for finding in findings)
    if json_:
        emit_json(
            {
                "schema": "archsearch.latency_check/1",
                "table": table.name if table else ref,
                "ok": not bad,
                "rows": len(table.rows) if table else None,
                "findings": [finding._asdict() for finding in findings],
            }
        )
    else:
        for line in lines(findings, table, ref):
            emit(line)
    if bad:
        raise typer.Exit(1)


def lines(findings: Sequence[Finding], table: LatencyTable | None, ref: str) -> Iterator[str]:
    """The findings for people: one line each, but a single one for all rows that were timed under load."""
    loaded = [finding for finding in findings if finding.rule == "load"]
    for finding in findings:
        if finding.rule != "load":
            yield f"{finding.level}: {finding.key}{': ' if finding.key else ''}{finding.message}"
    bad = sum(finding.level == "error" for finding in findings)
    if table is None:
        yield f"{ref}: {_count(bad, 'error')}"
        return
    if loaded:
        kinds = Counter(table.rows[finding.key].timing or "unknown" for finding in loaded)
        how = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        yield (
            f"warning: {len(loaded)} of {_count(len(table.rows), 'row')} timed under load ({how}); "
            "`archsearch latency measure ... --again` returns to them"
        )
    warnings = len(findings) - bad - len(loaded) + bool(loaded)
    rows = f"{_count(len(table.rows), 'row')} ({table.provenance})"
    yield f"{table.name}: {rows}, {_count(bad, 'error')}, {_count(warnings, 'warning')}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
