"""Where the data that ships with the package lies: inside the wheel, else in the repository."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from archsearch.errors import ArchsearchError

_PACKAGE = Path(__file__).resolve().parent


@cache
def data_folder(name: Literal["search_spaces", "latency_tables"]) -> Path:
    """The folder of shipped search spaces and presets, or of shipped latency tables.

    Raises:
        ArchsearchError: neither the installed package nor the repository around it holds the folder.
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise ArchsearchError(
        f"the shipped folder {name!r} is missing",
        where=str(_PACKAGE),
        next_step="reinstall archsearch, or run it from a full checkout",
    )
