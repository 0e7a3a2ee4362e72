"""One resolver for ARCH: preset, file, diffusers folder, or STUDY#TRIAL."""

from __future__ import annotations

from archsearch.arch import Preset, resolve


def resolve_arch(ref: str) -> Preset:
    """The architecture behind a name, path or trial.

    Raises:
        ArchsearchError: unknown name (with near misses), malformed file, or a trial that does not exist.
    """
    study, mark, number = ref.rpartition("#")
    if mark and number.isascii() and number.isdigit():
        from archsearch.search.study import resolve_trial

        return resolve_trial(study, int(number))
    return resolve(ref)
