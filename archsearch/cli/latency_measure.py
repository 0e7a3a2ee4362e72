"""``archsearch latency measure``: the operators and blocks that a table lacks, on this machine, a phone or a board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.workloads import Grain

if TYPE_CHECKING:
    from archsearch.latency.measure import Measured
    from archsearch.latency.table import LatencyTable

EPILOG = """Examples:

  archsearch latency measure demo --table tables/my-pc

  archsearch latency measure sd15 --table tables/my-pc --grain op --budget 1800

  archsearch latency measure demo --table tables/old --runtime tflite-runtime

  archsearch latency measure demo --table tables/pixel --device adb:8A1X0C3 --cpus 4-7
  --benchmark-model ~/android_aarch64_benchmark_model

  archsearch latency measure demo --table tables/pixel-gpu --device adb:8A1X0C3 --delegate gpu --precision fp16

  archsearch latency measure demo --table tables/pi --device ssh:pi@raspberrypi.local --remote-python venv/bin/python

Rows that the table holds are not measured again. Stopped, killed or unplugged, the same command continues. Leave the
device alone meanwhile: runs count only while the reference operator is at its quiet level. What a device could not run
is kept with its reason in failed.csv and tried again next time; the exit code is then 1. docs/latency.md says what
each device needs.
"""


def measure(
    refs: Annotated[list[str], typer.Argument(metavar="SPACE|ARCH...", help="Spaces and architectures.")],
    table: Annotated[str, typer.Option("--table", "-t", metavar="T", help="Folder of the table; made if need be.")],
    device: Annotated[
        str, typer.Option("--device", metavar="D", help="host, adb:SERIAL or ssh:USER@HOST[:PORT].")
    ] = "host",
    runtime: Annotated[
        str, typer.Option("--runtime", help="litert or tflite-runtime (host and ssh); a phone's is benchmark_model.")
    ] = "litert",
    delegate: Annotated[
        str, typer.Option("--delegate", help="xnnpack or none; on a phone also gpu and nnapi, if its tool has them.")
    ] = "xnnpack",
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16, fp16-weights or int8.")] = "fp32",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime.")] = 1,
    cpus: Annotated[str, typer.Option("--cpus", metavar="CORES", help="Stay on these cores, as 4-7.")] = "",
    grain: Annotated[Grain, typer.Option("--grain", help="Operators, blocks, or both.")] = Grain.all,
    budget: Annotated[
        float | None, typer.Option("--budget", min=0, help="Start no operator after so many seconds.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure once more the rows that were timed under load.")
    ] = False,
    description: Annotated[str, typer.Option("--description", help="One sentence for a new table.")] = "",
    adb: Annotated[str | None, typer.Option("--adb", help="The adb program. [default: $ARCHSEARCH_ADB or adb]")] = None,
    benchmark_model: Annotated[
        str | None,
        typer.Option("--benchmark-model", help="LiteRT's tool, built for the phone. [$ARCHSEARCH_BENCHMARK_MODEL]"),
    ] = None,
    ssh: Annotated[str | None, typer.Option("--ssh", help="The ssh program. [default: $ARCHSEARCH_SSH or ssh]")] = None,
    remote_python: Annotated[
        str, typer.Option("--remote-python", help="Python over ssh that has numpy and the runtime.")
    ] = "python3",
    patience: Annotated[
        float, typer.Option("--patience", min=1, help="Seconds to wait for a device that does not answer.")
    ] = 120.0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.latency_measure/1).")] = False,
) -> None:
    """Measure the operators and blocks that a table lacks, one by one, and add them to it."""
    from archsearch.cli.common import note
    from archsearch.cli.workloads import workloads_of_all
    from archsearch.latency.measure import measure as measure_all
    from archsearch.latency.table import load_table, writable_folder
    from archsearch.latency.targets import Setup, Tools, parse_cpus, parse_target

    target = parse_target(device)
    chosen = {"adb": adb, "benchmark_model": benchmark_model, "ssh": ssh}
    setup = Setup(
        target=target,
        runtime=runtime,
        delegate=delegate,
        precision=precision,
        threads=threads,
        cpus=parse_cpus(cpus),
        tools=Tools(
            python=remote_python if target.kind == "ssh" else "",
            patience_seconds=patience,
            **{name: value for name, value in chosen.items() if value is not None},
        ),
    )
    folder = writable_folder(table)
    wanted = workloads_of_all(refs, grain)
    try:
        done = measure_all(
            list(wanted.values()),
            folder,
            device=setup,
            budget_seconds=budget,
            again=again,
            description=description,
        )
    except KeyboardInterrupt:
        note("stopped; finished rows are kept, the same command continues")
        raise typer.Exit(130) from None
    _tell(done, load_table(folder), set(wanted), json_)
    if done.failed:
        raise typer.Exit(1)


def _tell(done: Measured, table: LatencyTable, wanted: set[str], json_: bool) -> None:
    from archsearch.cli.common import emit, emit_json

    held = len(wanted & set(table.rows))
    if json_:
        emit_json(
            {
                "schema": "archsearch.latency_measure/1",
                "table": table.name,
                "measured": done.rows,
                "failed": done.failed,
                "left": done.left,
                "held": held,
                "wanted": len(wanted),
                "convert_seconds": round(done.convert_seconds, 1),
                "measure_seconds": round(done.measure_seconds, 1),
            }
        )
        return
    emit(
        f"{done.rows} rows measured on {table.configuration} ({_duration(done.convert_seconds)} converting, "
        f"{_duration(done.measure_seconds)} measuring); {table.name} holds {held} of the {len(wanted)} wanted, "
        f"{len(table.rows)} in all."
    )
    for key, why in done.failed.items():
        emit(f"failed: {key}: {why}")
    if done.left:
        emit(f"{done.left} left: the same command continues.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
