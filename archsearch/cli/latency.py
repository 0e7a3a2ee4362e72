"""``archsearch latency``: plan, measure, predict, list, show, check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli import latency_bundle, latency_import, latency_measure, latency_runtime
from archsearch.cli.latency_calibrate import EPILOG as CALIBRATE_EPILOG
from archsearch.cli.latency_calibrate import calibrate
from archsearch.cli.latency_check import EPILOG as CHECK_EPILOG
from archsearch.cli.latency_check import check
from archsearch.cli.latency_plan import EPILOG as PLAN_EPILOG
from archsearch.cli.latency_plan import plan
from archsearch.cli.options import Batch, Latent, Passes, Text

if TYPE_CHECKING:
    from archsearch.latency.predict import Prediction
    from archsearch.latency.rows import OpRow
    from archsearch.latency.table import LatencyTable

app = typer.Typer(
    help="Latency tables: measure operators on a device, predict whole models from them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PREDICT_EPILOG = """Examples:

  archsearch latency predict sd15 --table host-xnnpack-fp32

  archsearch latency predict mobilediffusion --table tables/my-pc --passes 2 --json
"""
SHOW_EPILOG = """Examples:

  archsearch latency show host-xnnpack-fp32

  archsearch latency show host-xnnpack-fp32 --rows --kind attention
"""
LIST_EPILOG = """Example:

  archsearch latency list --json
"""

app.command(name="calibrate", epilog=CALIBRATE_EPILOG)(calibrate)
app.command(name="bundle", epilog=latency_bundle.EPILOG)(latency_bundle.bundle)
app.command(name="import", epilog=latency_import.EPILOG)(latency_import.import_)
Refs = Annotated[list[str], typer.Argument(metavar="SPACE|ARCH...", help="Spaces and architectures.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ref = Annotated[str, typer.Argument(metavar="T", help="Latency table: name or folder.")]


app.command(name="plan", epilog=PLAN_EPILOG)(plan)


app.command(name="measure", epilog=latency_measure.EPILOG)(latency_measure.measure)
app.command(name="runtime", epilog=latency_runtime.EPILOG)(latency_runtime.runtime)


@app.command(epilog=PREDICT_EPILOG)
def predict(
    arch: Annotated[str, typer.Argument(metavar="ARCH", help="Preset, file, diffusers folder, STUDY#TRIAL.")],
    table: Annotated[str, typer.Option("--table", "-t", metavar="T", help="Latency table: name or folder.")],
    latent: Latent = None,
    text: Text = None,
    batch: Batch = 1,
    passes: Passes = 1,
    json_: Json = False,
) -> None:
    """Predict the latency of a whole model as the sum of its operators."""
    from archsearch.arch import arch_id
    from archsearch.cli.common import emit, emit_json
    from archsearch.cli.profile import make_profile

    profile = make_profile(arch, (table,), latent, text, batch, passes)
    found, loaded, conditions = profile.predictions[0], profile.tables[0], profile.conditions
    if json_:
        emit_json(
            {
                "schema": "archsearch.latency/1",
                **found.to_dict(),
                "table": loaded.name,
                "name": profile.name,
                "arch_id": arch_id(profile.arch),
                "conditions": {
                    "latent": list(conditions.latent),
                    "text": conditions.text,
                    "batch": conditions.batch,
                    "passes": conditions.passes,
                },
                "missing": len(found.missing),
            }
        )
        return
    size = "x".join(map(str, conditions.latent))
    emit(
        f"{profile.name}: {_ms(found.total_ms)} ms ({_ms(found.low_ms)} to {_ms(found.high_ms)}), latent {size}, "
        f"text {conditions.text}, batch {conditions.batch}, guidance passes {conditions.passes}\n"
        f"{basis(loaded, found.provenance, found.measured_share)}; {len(found.missing)} operators not in the table\n"
        f"{_between(found)}{_interval(found, loaded)}"
    )


@app.command(name="list", epilog=LIST_EPILOG)
def list_(json_: Json = False) -> None:
    """List the shipped latency tables."""
    from archsearch.cli.columns import TableText
    from archsearch.cli.common import emit, emit_json
    from archsearch.latency.table import load_table, table_names

    tables = [load_table(name) for name in table_names()]
    if json_:
        emit_json({"schema": "archsearch.latency_tables/1", "tables": [_summary(table) for table in tables]})
        return
    rows = tuple((t.name, t.configuration, str(len(t.rows)), t.provenance, t.date) for t in tables)
    emit(TableText(("table", "configuration", "rows", "provenance", "date"), rows, None, frozenset({2})).text())


@app.command(epilog=SHOW_EPILOG)
def show(
    ref: Ref,
    rows: Annotated[bool, typer.Option("--rows", help="Every row instead of a line a kind.")] = False,
    kind: Annotated[str | None, typer.Option("--kind", help="Rows of this kind only.")] = None,
    json_: Json = False,
) -> None:
    """Show what a table was measured on and how, and what it holds."""
    from archsearch.cli.columns import TableText
    from archsearch.cli.common import emit, emit_json
    from archsearch.cli.latency_calibrate import line_of
    from archsearch.errors import LatencyError
    from archsearch.latency.failures import read_failures
    from archsearch.latency.table import STATE_FIELDS, load_table

    table = load_table(ref)
    kinds = sorted({row.kind for row in table.rows.values()})
    if kind is not None and kind not in kinds:
        raise LatencyError("the table has no rows of this kind", where="--kind", got=kind, allowed=", ".join(kinds))
    chosen = [row for row in table.rows.values() if kind in (None, row.kind)]
    failures = read_failures(table.folder) if table.folder else {}
    if json_:
        emit_json(
            {
                **_summary(table),
                "schema": "archsearch.latency_table_rows/1",
                "rows": [r._asdict() for r in chosen],
                "failed": failures,
            }
        )
        return
    fields = ("description", "device", "soc", "os", "runtime", "runtime_version", "delegate", "precision", "threads",
              *STATE_FIELDS, "protocol", "reference", "date", "licence", "notes")  # fmt: skip
    word = {"modelled": "modelled, not measured", "mixed": "measured in part, the rest modelled"}
    title = f"{table.name}: {word.get(table.provenance, table.provenance)}"
    head = [title, *(f"  {name}: {getattr(table, name)}" for name in fields if getattr(table, name))]
    head.append(f"  calibration: {line_of(table)}")
    emit("\n".join([*head, *(f"  not measured: {key}: {why}" for key, why in sorted(failures.items()))]))
    if rows:
        header = ("operator", "ms", "p10", "p90", "x reference", "runs", "provenance", "timing")
        cells = tuple(
            (r.key, f"{r.latency_ms:.4g}", f"{r.p10_ms:.4g}", f"{r.p90_ms:.4g}", f"{r.ratio:.4g}" if r.ratio else "",
             str(r.runs), r.provenance, r.timing)
            for r in sorted(chosen, key=lambda row: (row.kind, row.latency_ms))
        )  # fmt: skip
        emit("\n" + TableText(header, cells, None, frozenset({1, 2, 3, 4, 5})).text())
        return
    columns = (
        "kind",
        "rows",
        "fastest ms",
        "slowest ms",
        "(p90 - p10) / median, or error band",
        "steady",
        "provenance",
    )
    lines = tuple(
        _kind_line(name, [row for row in chosen if row.kind == name]) for name in kinds if kind in (None, name)
    )
    emit("\n" + TableText(columns, lines, None, frozenset({1, 2, 3, 4, 5})).text())


app.command(name="check", epilog=CHECK_EPILOG)(check)


def basis(table: LatencyTable, provenance: str, measured_share: float) -> str:
    """What a figure rests on, in words."""
    if provenance == "modelled":
        return f"modelled, not measured, for {table.configuration}"
    share = "" if measured_share == 1 else f" ({100 * measured_share:.1f} % of the time, the rest modelled)"
    return f"measured on {table.configuration}{share}"


def _summary(table: LatencyTable) -> dict[str, object]:
    fields = ("name", "description", "device", "soc", "os", "runtime", "runtime_version", "delegate", "precision",
              "threads", "protocol", "date", "licence", "notes", "reference", "provenance")  # fmt: skip
    return {**{name: getattr(table, name) for name in fields}, "num_rows": len(table.rows)}


def _kind_line(kind: str, rows: list[OpRow]) -> tuple[str, ...]:
    from archsearch.latency.rows import SOUND

    times = sorted(row.latency_ms for row in rows)
    spreads = sorted((row.p90_ms - row.p10_ms) / row.latency_ms for row in rows)
    steady = sum(row.timing in SOUND for row in rows)
    spread, steadiness = f"{spreads[len(spreads) // 2]:.1%}", f"{steady} of {len(rows)}"
    if all(row.provenance == "modelled" for row in rows):
        bands = sorted(row.p90_ms / row.latency_ms for row in rows)
        spread = " to ".join(dict.fromkeys(f"x{band:.2g}" for band in (bands[0], bands[-1])))
        steadiness = "not timed"
    return (kind, str(len(rows)), f"{times[0]:.4g}", f"{times[-1]:.4g}", spread, steadiness,
            ", ".join(sorted({row.provenance for row in rows})))  # fmt: skip


def _between(found: Prediction) -> str:
    if not any(found.between_ms):
        return "sum of operators: what a runtime adds between them is not in it (the table has no rows of blocks); "
    share = found.overhead_ms / found.total_ms
    return f"{_ms(found.overhead_ms)} ms of it ({share:.1%}) are what blocks take beyond their operators; "


def _interval(found: Prediction, table: LatencyTable) -> str:
    from archsearch.cli.latency_calibrate import line_of

    if found.interval_95 is None:
        return f"{line_of(table)}; the interval sums p10 to p90 and error bands"
    low, high = found.interval_95
    return f"80 % interval, {_ms(low)} to {_ms(high)} ms with 95 %; {line_of(table)}"


def _ms(value: float) -> str:
    """Four digits that count: ``14,490``, ``7.444``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
