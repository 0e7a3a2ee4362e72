import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import LatencyError
from archsearch.latency import write
from archsearch.latency.journal import JOURNAL, JournalWriter, read_journal
from archsearch.latency.rows import OpRow
from archsearch.latency.table import load_table
from archsearch.latency.write import write_table
from tests.latency.tables import HEAD, OPS, formula_ms, row, write_toy

ROWS = [row(op, formula_ms(op)) for op in OPS]


def test_rows_of_a_journal_count(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy", OPS[:4])
    writer = JournalWriter(folder / JOURNAL)
    for each in ROWS[3:8]:
        writer.row(each)
    writer.failed("relu[1x4]()@row", "no such model")
    writer.close()
    table = load_table(folder)
    assert set(table.rows) == {op.key for op in OPS[:8]}
    assert read_journal(folder / JOURNAL).failed == (("relu[1x4]()@row", "no such model"),)


def test_a_later_row_of_the_same_operator_wins(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy", OPS[:2])
    writer = JournalWriter(folder / JOURNAL)
    writer.row(row(OPS[0], 7.0))
    writer.row(row(OPS[0], 5.0))
    writer.close()
    assert load_table(folder).rows[OPS[0].key].latency_ms == 5.0


@settings(deadline=None)
@given(st.data())
def test_a_journal_cut_anywhere_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / JOURNAL
    writer = JournalWriter(path)
    ends = [0]
    for each in ROWS[:5]:
        writer.row(each)
        ends.append(path.stat().st_size)
    writer.close()
    cut = data.draw(st.integers(0, ends[-1]))
    path.write_bytes(path.read_bytes()[:cut])
    whole = sum(end <= cut for end in ends[1:])
    assert [r.key for r in read_journal(path).rows] == [r.key for r in ROWS[:whole]]
    again = JournalWriter(path)  # a new run drops the cut line and goes on
    again.row(ROWS[7])
    again.close()
    assert [r.key for r in read_journal(path).rows] == [r.key for r in [*ROWS[:whole], ROWS[7]]]


def test_damage_in_the_middle_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    writer = JournalWriter(path)
    for each in ROWS[:3]:
        writer.row(each)
    writer.close()
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"measured", b"imported")
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(LatencyError, match=rf"{JOURNAL}:2: a damaged line"):
        read_journal(path)


def test_two_writers_cannot_share_a_table(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / JOURNAL)
    with pytest.raises(LatencyError, match="another process is measuring into this table"):
        JournalWriter(tmp_path / JOURNAL)
    writer.close()
    JournalWriter(tmp_path / JOURNAL).close()


class KilledError(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("steps", range(4))
def test_compaction_killed_at_any_step_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    folder = write_toy(tmp_path / "toy", OPS[:4])
    writer = JournalWriter(folder / JOURNAL)
    for each in ROWS[4:9]:
        writer.row(each)
    wanted = dict(load_table(folder).rows)
    done = 0

    def limited(path: Path, data: bytes) -> None:
        nonlocal done
        if done == steps:
            raise KilledError
        done += 1
        replace(path, data)

    replace = write.replace
    monkeypatch.setattr(write, "replace", limited)
    if steps < 2:
        with pytest.raises(KilledError):
            write_table(folder, HEAD, wanted.values(), writer)
    else:
        if steps == 2:  # both files are in place, the journal is not gone yet
            monkeypatch.setattr(Path, "unlink", _killed)
            with pytest.raises(KilledError):
                write_table(folder, HEAD, wanted.values(), writer)
            monkeypatch.undo()
        else:
            write_table(folder, HEAD, wanted.values(), writer)
    writer.close()
    assert {key: as_written(r) for key, r in load_table(folder).rows.items()} == {
        key: as_written(r) for key, r in wanted.items()
    }
    assert (folder / JOURNAL).exists() == (steps < 3)


def _killed(*_: object, **__: object) -> None:
    raise KilledError


def as_written(r: OpRow) -> list[str]:
    from archsearch.latency.rows import format_row

    return format_row(r)


def test_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    writer = JournalWriter(tmp_path / JOURNAL)
    writer.row(ROWS[0])
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
    with pytest.raises(LatencyError, match=r"cannot write the journal \(No space left"):
        writer.row(ROWS[1])
    monkeypatch.undo()
    writer.row(ROWS[2])
    writer.close()
    assert [r.key for r in read_journal(tmp_path / JOURNAL).rows] == [ROWS[0].key, ROWS[2].key]


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_hostile_journals(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("hostile") / JOURNAL
    path.write_bytes(data + b"\n")
    with pytest.raises(LatencyError, match="a damaged line"):
        read_journal(path)


def test_unknown_records_are_skipped(tmp_path: Path) -> None:
    """A newer release may note more; rows stay readable."""
    writer = JournalWriter(tmp_path / JOURNAL)
    writer._append(json.loads('{"battery": 80}'))
    writer.row(ROWS[0])
    writer.close()
    assert len(read_journal(tmp_path / JOURNAL).rows) == 1
