import sys

import pytest

from archsearch.latency.progress import Progress


def test_one_line_a_phase_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress, progress.task("measuring", 3) as task:
        task.show("conv2d[1x4x4x4]()@nhwc")
        task.advance(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("measuring 3 operators took ")
    assert err.count("\n") == 1


def test_bars_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress() as progress, progress.task("measuring", 3) as task:
        task.show("conv2d[1x4x4x4]()@nhwc")
        task.advance(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "conv2d[1x4x4x4]" in err


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(wanted=False) as progress, progress.task("measuring", 3) as task:
        task.advance(3)
    assert capsys.readouterr() == ("", "")
