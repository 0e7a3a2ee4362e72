import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import SearchError
from archsearch.search.trial import Trial, TrialLog, parse_trial, read_trials, trial_json

numbers = st.one_of(st.integers(0, 10**15), st.floats(allow_nan=False, allow_infinity=False))
names = st.text(min_size=1, max_size=20)
trials = st.builds(
    Trial,
    number=st.just(0),
    encoding=st.lists(st.integers(0, 9), max_size=8).map(tuple),
    arch_id=names,
    values=st.dictionaries(names, st.one_of(st.none(), numbers), max_size=4),
    intervals=st.dictionaries(names, st.tuples(numbers, numbers), max_size=2),
    errors=st.dictionaries(names, numbers, max_size=2),
    violations=st.dictionaries(names, st.one_of(numbers, st.just(math.inf)), max_size=2),
    duplicate_of=st.one_of(st.none(), st.integers(0, 9)),
    seconds=st.floats(0, 1e6).map(lambda x: round(x, 6)),
    finished=names,
)


def make(number: int) -> Trial:
    return Trial(number=number, encoding=(number,), arch_id=f"{number:012x}", values={"params": number})


def write(path: Path, count: int) -> bytes:
    with TrialLog(path) as log:
        log.open()
        for number in range(count):
            log.append(make(number))
    return path.read_bytes()


@given(trials)
def test_json_and_back(trial):
    text = json.dumps(trial_json(trial), allow_nan=False)
    assert parse_trial(json.loads(text), "here") == trial


def test_what_is_not_finite_is_written_as_null():
    trial = Trial(number=0, encoding=(), arch_id="", values={"quality": math.nan}, violations={"c": math.inf})
    plain = trial_json(trial)
    assert plain["values"]["quality"] is None
    back = parse_trial(plain, "here")
    assert back.values["quality"] is None
    assert not back.feasible
    assert back.vector(["quality"]) is None


def test_a_log_cut_anywhere_keeps_every_whole_line(tmp_path):
    path = tmp_path / "trials.jsonl"
    data = write(path, 3)
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert [t.number for t in read_trials(path)[0]] == list(range(whole))
    path.write_bytes(data[:-5])
    with TrialLog(path) as log:
        assert len(log.open()) == 2
        log.append(make(2))
    assert path.read_bytes() == data


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "trials.jsonl"
    lines = write(path, 3).splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{]\n" + lines[2])
    with pytest.raises(SearchError, match=r"trials\.jsonl:2: a damaged line"):
        read_trials(path)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(SearchError, match="out of order"):
        read_trials(path)
    path.write_bytes(b'{"number": 0}\n')
    with pytest.raises(SearchError, match=r"trials\.jsonl:1: not a trial"):
        read_trials(path)


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "trials.jsonl"
    path.write_bytes(data)
    whole = data[: data.rfind(b"\n") + 1]
    if whole:
        with pytest.raises(SearchError, match=str(path)):
            read_trials(path)
    else:
        assert read_trials(path) == ([], 0)


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "trials.jsonl"
    with TrialLog(path) as first:
        first.open()
        with pytest.raises(SearchError, match="another process"):
            TrialLog(path).open()
    with TrialLog(path) as second:
        second.open()


def test_a_folder_in_the_way_is_an_error(tmp_path):
    (tmp_path / "trials.jsonl").mkdir()
    with pytest.raises(SearchError, match="cannot be written"):
        TrialLog(tmp_path / "trials.jsonl").open()


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path, monkeypatch):
    path = tmp_path / "trials.jsonl"
    write(path, 2)
    before = path.read_bytes()
    real = os.write
    with TrialLog(path) as log:
        log.open()
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
        with pytest.raises(SearchError, match="No space left"):
            log.append(make(2))
        monkeypatch.undo()
        assert path.read_bytes() == before
        log.append(make(2))
    assert len(read_trials(path)[0]) == 3
