"""What every command shares: results on stdout, messages on stderr, one-line errors, JSON with a schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def emit(text: str, output: Path | None = None) -> None:
    """Write a result to stdout, or to a file whose path is then told on stderr.

    Raises:
        ArchsearchError: the file cannot be written.
    """
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    from archsearch.errors import ArchsearchError

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    except OSError as error:
        raise ArchsearchError(f"cannot write ({error.strerror})", where=str(output)) from error
    note(f"wrote {output}")


def emit_json(value: dict[str, Any], output: Path | None = None) -> None:
    """Write one JSON object; every one carries ``schema``."""
    assert "schema" in value
    emit(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), output)


def note(message: str) -> None:
    """A message for people, on stderr."""
    sys.stderr.write(message + "\n")
