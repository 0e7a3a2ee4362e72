"""``archsearch doctor``: what is installed, what works with it, and what to do about the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

EPILOG = """Examples:

  archsearch doctor

  archsearch doctor --json
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One part: its version where present, what it is for, and how to get it where it is missing."""

    part: str
    state: Literal["ok", "missing", "optional"]
    version: str
    purpose: str
    remedy: str = ""


DISTRIBUTIONS = (
    ("torch", "modules, training, --verify", "pip install torch", False),
    ("diffusers", "reading and writing diffusers UNets", "pip install diffusers", False),
    ("fvcore", "the second counter of --verify", "pip install fvcore", False),
    ("pytorch-lightning", "robust training", "pip install 'pytorch-lightning>=2.6.6'", False),
    ("optuna", "search", "pip install optuna", False),
    ("moocore", "Pareto fronts and hypervolume", "pip install moocore", False),
    ("plotly", "reports", "pip install plotly", False),
    ("litert-torch", "converting operators for measurement", "pip install 'archsearch[litert]'", True),
    ("ai-edge-litert", "measuring on this host", "pip install 'archsearch[litert]'", True),
    ("coremltools", "bundles of Core ML models", "pip install 'archsearch[coreml]'", True),
    ("transformers", "pipelines with a CLIP text encoder", "pip install transformers", True),
)


def findings() -> tuple[Finding, ...]:
    """Look at the installed distributions, the data and the accelerators, importing none of them."""
    from importlib import metadata

    found = []
    for name, purpose, remedy, optional in DISTRIBUTIONS:
        try:
            found.append(Finding(name, "ok", metadata.version(name), purpose))
        except metadata.PackageNotFoundError:
            found.append(Finding(name, "optional" if optional else "missing", "", purpose, remedy))
    found.append(_data("search_spaces", "presets and spaces"))
    found.append(_data("latency_tables", "latency tables"))
    return tuple(found)


def _data(name: Literal["search_spaces", "latency_tables"], purpose: str) -> Finding:
    from archsearch.errors import ArchsearchError
    from archsearch.resources import data_folder

    try:
        folder = data_folder(name)
    except ArchsearchError:
        return Finding(name, "missing", "", purpose, "reinstall archsearch: its data files are missing")
    count = len(list(folder.rglob("*.yaml")))
    return Finding(name, "ok", f"{count} {'file' if count == 1 else 'files'}", purpose)


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (archsearch.doctor/1).")] = False,
) -> None:
    """Say what is installed, what works, and what to do about the rest.  Exit code 1 if a required part is missing."""
    import platform

    from archsearch import __version__
    from archsearch.cli.columns import TableText
    from archsearch.cli.common import emit, emit_json

    parts = findings()
    if json_:
        emit_json(
            {
                "schema": "archsearch.doctor/1",
                "archsearch": __version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "parts": [
                    {"part": p.part, "state": p.state, "version": p.version, "purpose": p.purpose, "remedy": p.remedy}
                    for p in parts
                ],
            }
        )
    else:
        rows = tuple((p.part, p.state, p.version, p.purpose, p.remedy) for p in parts)
        title = f"archsearch {__version__}, Python {platform.python_version()}, {platform.platform()}"
        emit(TableText(("part", "state", "version", "for", "to get it"), rows, title=title).text())
    if any(p.state == "missing" for p in parts):
        raise typer.Exit(1)
