"""The ``archsearch`` command.  One file a subcommand; heavy imports live inside the functions that need them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from archsearch.cli import archs, compare, demo, doctor, latency, profile, quality, report, search, spaces
from archsearch.errors import ArchsearchError

app = typer.Typer(
    name="archsearch",
    help="Find and explain efficient text-to-image UNets for phones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

app.command(name="demo", epilog=demo.EPILOG)(demo.demo)
app.command(name="profile", epilog=profile.EPILOG)(profile.profile)
app.command(name="compare", epilog=compare.EPILOG)(compare.compare)
app.command(name="doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(archs.app, name="archs")
app.add_typer(spaces.app, name="spaces")
app.add_typer(latency.app, name="latency")
app.add_typer(quality.app, name="quality")
app.add_typer(search.app, name="search")
app.command(name="report", epilog=report.EPILOG)(report.report)


def _version(wanted: bool) -> None:
    if wanted:
        from archsearch import __version__

        typer.echo(f"archsearch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find and explain efficient text-to-image UNets for phones."""


def main() -> None:
    """Entry point: runs a command, turns input errors into one line and exit code 2."""
    try:
        app()
    except ArchsearchError as error:
        message = " ".join(str(error).split())
        sys.stderr.write(f"error: {message}\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
