"""From the words of the command line to a study: resolves spaces, tables and quality runs, and checks what is asked."""

from __future__ import annotations

from importlib import metadata


def versions() -> dict[str, str]:
    """Versions of what decides over trials, and of Python."""
    import platform

    found = {"python": platform.python_version()}
    for name in ("archsearch", "optuna", "numpy", "moocore", "torch", "diffusers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
