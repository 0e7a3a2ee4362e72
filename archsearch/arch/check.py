"""Checking an architecture: every field by itself, then everything that has to fit together."""

from __future__ import annotations

from archsearch.arch.codec import FieldError, decode, encode
from archsearch.arch.values import Architecture, Decoder, TextEncoder, UNet
from archsearch.arch.walk import walk
from archsearch.errors import ArchError
from archsearch.files import KeyPath, Locate, parse_key_path


def check(arch: Architecture, where: str | Locate = "") -> None:
    """Raise unless ``arch`` is a network that can be built and counted.

    Args:
        arch: any architecture.
        where: the file or argument to name in errors, or a function from key path to that.

    Raises:
        ArchError: a field of the wrong type or range, widths or counts that do not fit; names the key path.
    """
    if not isinstance(arch, (UNet, Decoder, TextEncoder)):
        raise ArchError("not an architecture", where=None if callable(where) else where or None,
                        got=type(arch).__name__, allowed="UNet, Decoder, TextEncoder")  # fmt: skip
    decode(type(arch), encode(arch), where)
    try:
        _check_whole(arch)
        for _ in walk(arch):
            pass
    except FieldError as problem:
        raise problem.located(where) from None
    except ArchError as problem:  # the walk names the key path, but not the file
        if not where:
            raise
        path = parse_key_path(problem.where or "")
        remark = (problem.where or "").partition(" ")[2]
        what = f"{problem.what} {remark}" if remark else problem.what
        raise FieldError(what, path, problem.got, problem.allowed).located(where) from None


def _check_whole(arch: Architecture) -> None:
    if isinstance(arch, TextEncoder):
        if arch.width % arch.heads:
            raise FieldError("heads must divide the width", ("heads",), arch.heads, f"a divisor of {arch.width}")
        return
    if isinstance(arch, Decoder):
        if not arch.stages:
            raise FieldError("a decoder needs at least one stage", ("stages",), 0)
        if arch.stages[-1].upsample is not None:
            path: KeyPath = ("stages", len(arch.stages) - 1, "upsample")
            raise FieldError("the last stage has no upsample", path, "an upsample", "null")
        return
    if arch.text_projection is not None and arch.text_width is None:
        raise FieldError("a text projection needs a text width", ("text_width",), "null", "a positive integer")
    for name, width in (("time", arch.time.input_width), ("added", arch.added.time_width if arch.added else None)):
        if width is not None and width // 2 <= arch.time.freq_shift:
            raise FieldError("too few sinusoids for the frequency shift", (name,), width,
                             f"more than {2 * arch.time.freq_shift:g}")  # fmt: skip
