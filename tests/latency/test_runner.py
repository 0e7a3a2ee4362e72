"""The runner's statistics, its protocol over real models, and the host that restarts it."""

import stat
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import LatencyError, MissingExtraError
from archsearch.latency import runner
from archsearch.latency.conversion import OpModel
from archsearch.latency.host import RUNNER, HostRunner, OpFailedError, Timings
from archsearch.latency.pipe import timings_of
from archsearch.latency.timed import quantile, row_of


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_the_standard_ones(values: list[int], q: float) -> None:
    import numpy as np

    assert quantile(sorted(values), q) == pytest.approx(float(np.quantile(values, q)), rel=1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200))
def test_half_interval(values: list[int]) -> None:
    found = runner.half_interval(values)
    middle = sorted(values)[len(values) // 2]
    assert 0 <= found <= (max(values) - min(values)) / 2 / middle
    assert runner.half_interval([middle] * len(values)) == 0


@pytest.mark.parametrize("runs", [9, 20, 50])
def test_interval_covers_the_median(runs: int) -> None:
    """The interval holds the true median in about 95 % of draws from a skewed distribution."""
    import random

    rng = random.Random(7)
    covered = 0
    for _ in range(1000):
        low, _, high = runner.median_interval([rng.lognormvariate(0, 0.5) for _ in range(runs)])
        covered += low <= 1.0 <= high
    assert 0.93 <= covered / 1000 <= 0.995


class Clocked:
    """A model on a clock of its own: ``levels`` are the durations of successive runs in ns."""

    def __init__(self, clock: "Clock", levels: Iterator[tuple[int, int]]) -> None:
        self.clock = clock
        self.levels = levels

    def invoke(self) -> None:
        wall, cpu = next(self.levels)
        self.clock.wall += wall
        self.clock.cpu += cpu


class Clock:
    wall = 0
    cpu = 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runner.time, "perf_counter_ns", lambda: clock.wall)
    monkeypatch.setattr(runner.time, "perf_counter", lambda: clock.wall / 1e9)
    monkeypatch.setattr(runner.time, "thread_time_ns", lambda: clock.cpu)
    return clock


JOB = {"warmup": 3, "min_runs": 5, "max_seconds": 10.0, "precision": 0.02}
MS = 1_000_000


def repeat(*pattern: tuple[int, int]) -> Iterator[tuple[int, int]]:
    while True:
        yield from pattern


def quiet_reference(clock: Clock) -> runner.Reference:
    reference = runner.Reference(Clocked(clock, repeat((MS, MS))))
    for _ in range(20):
        reference.block()
    return reference


def test_steady_runs_count(clock: Clock) -> None:
    answer = runner.measure(Clocked(clock, repeat((2 * MS, 2 * MS))), quiet_reference(clock), JOB, 1)
    assert answer["steady"]
    assert answer["clock"] == "wall"
    assert answer["dropped"] == 0
    assert set(answer["wall_ns"]) == {2 * MS}
    assert len(answer["wall_ns"]) >= 5


def test_runs_that_lost_the_core_do_not_count(clock: Clock) -> None:
    model = Clocked(clock, repeat((2 * MS, 2 * MS), (9 * MS, 2 * MS)))
    answer = runner.measure(model, quiet_reference(clock), JOB, 1)
    assert answer["steady"]
    assert set(answer["wall_ns"]) == {2 * MS}
    assert answer["dropped"] > 0


def test_without_a_clean_run_processor_time_is_reported(clock: Clock) -> None:
    answer = runner.measure(Clocked(clock, repeat((9 * MS, 2 * MS))), quiet_reference(clock), JOB, 1)
    assert not answer["steady"]
    assert answer["clock"] == "cpu"
    assert set(answer["cpu_ns"]) == {2 * MS}
    assert clock.wall < 11 * 10**9


def test_loaded_stretches_do_not_count(clock: Clock) -> None:
    reference = quiet_reference(clock)
    # blocks of the reference: six runs; quiet, then loaded for a while, then quiet again
    reference.model = Clocked(clock, iter([(MS, MS)] * 6 + [(2 * MS, 2 * MS)] * 30 + [(MS, MS)] * 5000))

    def durations() -> Iterator[tuple[int, int]]:
        for _ in range(80):
            yield 6 * MS, 6 * MS  # under load
        while True:
            yield 3 * MS, 3 * MS

    answer = runner.measure(Clocked(clock, durations()), reference, JOB, 1)
    assert answer["steady"]
    assert statistics.median(answer["wall_ns"]) == 3 * MS
    assert answer["dropped"] > 0


def test_never_quiet_is_told(clock: Clock) -> None:
    reference = quiet_reference(clock)
    reference.model = Clocked(clock, repeat((2 * MS, 2 * MS)))
    reference.quiet = lambda: MS  # type: ignore[method-assign]
    answer = runner.measure(Clocked(clock, repeat((6 * MS, 6 * MS))), reference, JOB, 1)
    assert not answer["steady"]
    assert answer["clock"] == "wall"
    assert len(answer["wall_ns"]) >= 5


def test_noise_is_measured_longer(clock: Clock) -> None:
    import random

    def noisy(spread: float) -> Iterator[tuple[int, int]]:
        rng = random.Random(1)
        while True:
            ns = round(20 * MS * rng.lognormvariate(0, spread))
            yield ns, ns

    runs = [
        len(runner.measure(Clocked(clock, noisy(s)), quiet_reference(clock), JOB, 1)["wall_ns"]) for s in (0.01, 0.1)
    ]
    assert runs[0] < runs[1]


def test_slow_models_end_in_time(clock: Clock) -> None:
    answer = runner.measure(Clocked(clock, repeat((4000 * MS, 4000 * MS))), quiet_reference(clock), JOB, 1)
    assert len(answer["wall_ns"]) == 5


FAKE = """#!{python}
import json, os, sys
for line in sys.stdin:
    job = json.loads(line)
    if "reference" in job:
        answer = {{"runtime": "fake", "version": "1", "reference_ns": 1000}}
    elif "crash" in job["path"]:
        sys.stderr.write("last words\\n"); sys.stderr.flush(); os.abort()
    elif "refuse" in job["path"]:
        answer = {{"id": job["id"], "error": "ValueError: bad model"}}
    elif "garbage" in job["path"]:
        sys.stdout.write("cut"); sys.stdout.flush(); os._exit(3)
    else:
        answer = {{"id": job["id"], "wall_ns": [5] * 6, "cpu_ns": [5] * 6, "clock": "wall", "steady": True,
                  "dropped": 0, "reference_ns": [10, 10, 12]}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "fake-python"
    path.write_text(FAKE.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_crash_costs_one_operator(fake: Path) -> None:
    with HostRunner(Path("ref"), python=str(fake)) as host:
        assert (host.runtime, host.version, host.quiet_ms) == ("fake", "1", 0.001)
        good = host.time(Path("one"))
        for name, words in (("crash", "code -6: last words"), ("refuse", "bad model"), ("garbage", "code 3")):
            with pytest.raises(OpFailedError, match=words):
                host.time(Path(name))
            assert host.time(Path("two")) == good


def test_a_runner_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match="the runner does not start"):
        HostRunner(Path("ref"), python="/bin/false")


def test_a_python_without_runtime(tmp_path: Path) -> None:
    path = tmp_path / "bare-python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$2"\n')
    path.chmod(0o755)
    with pytest.raises(MissingExtraError, match=r"archsearch\[litert\]"):
        HostRunner(Path("ref"), python=str(path))


def test_rows_say_what_the_runs_were() -> None:
    model = OpModel("silu[1x4]()@row", Path("m"), "LOGISTIC + MUL", 0)
    steady = row_of(model, Timings((4000, 1000, 2000), (3000, 900, 1900), 7, "steady", (500, 500, 800)))
    assert (steady.latency_ms, steady.runs, steady.dropped, steady.timing) == (0.002, 3, 7, "steady")
    assert steady.reference_ms == 0.0005
    assert steady.ratio == 4
    assert steady.p10_ms == pytest.approx(0.0012)
    loaded = row_of(model, Timings((4000, 1000, 2000), (3000, 900, 1900), 0, "cpu", (500,)))
    assert loaded.latency_ms == loaded.cpu_ms == 0.0019


def test_the_runner_stands_alone() -> None:
    """Copied elsewhere it imports nothing of this package."""
    script = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); print(any(m.startswith('archsearch') for m in sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(RUNNER)], capture_output=True, text=True, check=True, cwd="/"
    )
    assert found.stdout.strip() == "False"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["wall_ns", "cpu_ns", "clock", "steady", "dropped", "reference_ns", "delegated", "ratios"]),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["wall", "cpu", "x"])),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        ),
    )
)
def test_damaged_answers_are_refused_or_make_a_row(answer: dict[str, object]) -> None:
    """Whatever a runner at the far end of a connection says."""
    good = {"wall_ns": [5], "cpu_ns": [5], "clock": "wall", "steady": True, "dropped": 0, "reference_ns": [9]}
    try:
        timings = timings_of({**good, **answer})
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError):
        return
    if not timings.reference_ns:  # in turns with others, which `paired_row` reads
        assert "ratios" in answer
        return
    row = row_of(OpModel("silu[1x4]()@row", Path("m"), "", 0), timings)
    assert 0 < row.p10_ms <= row.latency_ms <= row.p90_ms
