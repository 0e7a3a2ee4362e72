"""Where the parts of a space stand in its file, for error messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from archsearch.errors import SpaceError, unknown_name
from archsearch.files import Document, KeyPath, type_name

Where: TypeAlias = Callable[[], str]


@dataclass(frozen=True)
class Source:
    """A space file."""

    document: Document

    def where(self, path: KeyPath) -> Where:
        """``file.yaml:12: key.path``, made only when an error needs it."""
        return lambda: self.document.where(path)

    def error(self, what: str, path: KeyPath, got: object = None, allowed: object = None) -> SpaceError:
        """An error at a key path."""
        return SpaceError(what, where=self.document.where(path), got=got, allowed=allowed)

    def mapping(self, value: Any, path: KeyPath, keys: Iterable[str] | None = None) -> Mapping[str, Any]:
        """``value`` as a mapping, of the given keys if any are given.

        Raises:
            SpaceError: not a mapping, or an unknown key.
        """
        if not isinstance(value, dict):
            raise self.error("must be a mapping", path, type_name(value))
        if keys is not None:
            known = list(keys)
            for key in value:
                if key not in known:
                    raise self.error(unknown_name("key", key, known), (*path, key))
        return value

    def sequence(self, value: Any, path: KeyPath, most: int = 256) -> list[Any]:
        """``value`` as a list.

        Raises:
            SpaceError: not a list, or a very long one.
        """
        if not isinstance(value, list):
            raise self.error("must be a list", path, type_name(value))
        if len(value) > most:
            raise self.error("too many items", path, len(value), f"<= {most}")
        return value

    def text(self, value: Any, path: KeyPath) -> str:
        """``value`` as a string.

        Raises:
            SpaceError: not a string.
        """
        if not isinstance(value, str):
            raise self.error("must be a string", path, type_name(value))
        return value
