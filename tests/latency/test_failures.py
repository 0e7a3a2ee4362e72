"""The file of what a device could not run."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import LatencyError
from archsearch.latency.failures import FAILED, read_failures, write_failures


@settings(deadline=None)
@given(st.dictionaries(st.text("abc[]()=,@\"' ", min_size=1), st.text('abc \n",;', max_size=40), max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, failures: dict[str, str]) -> None:
    folder = tmp_path_factory.mktemp("t")
    write_failures(folder, failures)
    assert read_failures(folder) == {key: " ".join(why.split()) for key, why in failures.items()}
    assert (folder / FAILED).exists() == bool(failures)
    write_failures(folder, {})
    assert read_failures(folder) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ""),
        ("a,b\n", r"failed\.csv:1: other columns; got a,b; allowed: key,reason"),
        ("key,reason\nk,w\nk,w\n", r"failed\.csv:3: must be an operator, once, and a reason"),
        ("key,reason\nk\n", r"failed\.csv:2: must be"),
        ("key,reason\n,w\n", r"failed\.csv:2: must be"),
        ('key,reason\nk,"w\n', r"failed\.csv:\d: not CSV"),
        ("key,reason\nk,\udcff\n", "cannot be read"),
    ],
)
def test_damaged_files_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / FAILED).write_bytes(text.encode("utf-8", "surrogateescape"))
    if not message:
        assert read_failures(tmp_path) == {}
        return
    with pytest.raises(LatencyError, match=message):
        read_failures(tmp_path)
