"""``archsearch latency calibrate``: measure whole networks and fit a table's predictions to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from archsearch.latency.calibration import Calibration
    from archsearch.latency.table import LatencyTable
    from archsearch.latency.whole import Whole

EPILOG = """Examples:

  archsearch latency calibrate demo --table tables/my-pc

  archsearch latency calibrate mobilediffusion snapfusion --models 5 --table tables/my-pc --repeats 2

  archsearch latency calibrate --table tables/my-pc     (fits again, on what models.csv holds)

Five to twelve networks do. Each is converted whole (one to three minutes and up to twelve bytes of memory a parameter),
measured and removed; a run that is stopped continues with the same command. Keep the device to itself meanwhile.
"""


def calibrate(
    table: Annotated[str, typer.Option("--table", "-t", metavar="T", help="Folder of the table.")],
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[SPACE|ARCH...]", help="Presets, and spaces to draw from.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="The table's device: host, adb:SERIAL or ssh:USER@HOST.")
    ] = "host",
    models: Annotated[int, typer.Option("--models", min=1, help="Candidates to draw from each space.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Measurements of each network.")] = 1,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Of runs of each network.")] = 60.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the converted networks in the cache.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure whole networks on a table's device, and calibrate the table's predictions on them."""
    from archsearch.cli.common import emit, emit_json, note
    from archsearch.latency.calibrate import calibrate as fit
    from archsearch.latency.calibrate import measure_for
    from archsearch.latency.table import load_table, writable_folder

    folder = writable_folder(table)
    loaded = load_table(folder)
    wholes = _wholes(refs or [], models, seed)
    if wholes:
        try:
            measure_for(loaded, folder, wholes, device=device, repeats=repeats, seconds=seconds, keep=keep, told=note)
        except KeyboardInterrupt:
            note("stopped; finished rows are kept, the same command continues")
            raise typer.Exit(130) from None
    found, predicted_ms, measured_ms = fit(loaded, folder)
    if json_:
        emit_json({"schema": "archsearch.latency_calibrate/1", "table": loaded.name, **as_json(found)})
        return
    from archsearch.cli.columns import TableText

    rows = tuple(
        (_short(name), f"{measured_ms[name]:,.1f}", f"{predicted_ms[name]:,.1f}", f"{100 * error:+.1f} %")
        for name, error in zip(found.models, found.errors, strict=True)
    )
    header = ("whole network", "measured ms", "sum of the table ms", "error, left out of the fit")
    emit(TableText(header, rows, None, frozenset({1, 2, 3})).text())
    emit(f"{summary(found)}\nwritten to {folder / 'calibration.yaml'}")


def _short(name: str) -> str:
    """``mobilediffusion 3381545ff7c5`` instead of three dozen digits."""
    from archsearch.latency.candidates import whole_of

    return f"{name.partition(':')[0]} {whole_of(name).id}" if ":" in name else name


def summary(found: Calibration) -> str:
    """A calibration in words."""
    worst = max(map(abs, found.errors), default=0.0)
    mean = sum(map(abs, found.errors)) / max(len(found.errors), 1)
    repeats = "" if found.repeatability is None else f"; a measurement repeats within {100 * found.repeatability:.1f} %"
    return (
        f"calibrated on {len(found.models)} whole networks: factor {found.factor:.3f}, mean error {100 * mean:.1f} % "
        f"(worst {100 * worst:.1f} %) when left out{repeats}; 80 % interval x/: {found.factor_80:.3f}, "
        f"95 % x/: {found.factor_95:.3f}"
    )


def as_json(found: Calibration) -> dict[str, object]:
    """A calibration as plain data."""
    return {
        "factor": found.factor,
        "factor_80": found.factor_80,
        "factor_95": found.factor_95,
        "repeatability": found.repeatability,
        "models": dict(zip(found.models, found.errors, strict=True)),
        "fitted_at": found.fitted_at,
    }


def _wholes(refs: list[str], models: int, seed: int) -> list[Whole]:
    from archsearch.arch import preset_names
    from archsearch.latency.candidates import draw, whole_of
    from archsearch.space import load_space, space_names

    found: list[Whole] = []
    for ref in refs:
        prefix, _, rest = ref.partition(":")
        name = rest if prefix in ("arch", "space") and rest else ref
        if prefix != "arch" and name in space_names():
            found += draw(load_space(name), models, seed)
        else:
            found.append(whole_of(name if name in preset_names() else ref))
    return found


def line_of(table: LatencyTable) -> str:
    """What is known of a table's calibration, for ``latency show``."""
    return summary(table.calibration) if table.calibration else "not calibrated on whole networks"
