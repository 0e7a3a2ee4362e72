"""Long runs are watched: what another load takes from the core is divided out."""

import threading
import time

from archsearch.latency import runner


class Slow:
    """A model that keeps the core busy for a while; the interpreter hands it over to other threads now and then."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.runs = 0

    def invoke(self) -> None:
        self.runs += 1
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass


JOB = {"id": "x", "path": "", "warmup": 2, "min_runs": 3, "max_seconds": 0.5, "precision": 0.5}


def test_long_runs_are_scaled_by_what_the_reference_took_beside_them() -> None:
    model, spare = Slow(0.3), Slow(0.004)
    reference = runner.Reference(Slow(0.002), quiet_ns=2_000_000, spare=spare)
    reference.block()
    answer = runner.measure(model, reference, JOB, threads=1)
    assert answer["clock"] == "scaled"
    assert answer["steady"]
    assert len(answer["wall_ns"]) == len(answer["cpu_ns"]) == len(answer["levels_ns"]) >= 3
    assert spare.runs >= 6
    for wall, level in zip(answer["wall_ns"], answer["levels_ns"], strict=True):
        # The spare takes 4 ms where the quiet level is 2: what is left of a run is halved (0.3 s -> 0.15 s).
        assert level > 3_900_000
        assert wall * level / answer["reference_ns"][0] > 0.29e9
    assert not [thread for thread in threading.enumerate() if isinstance(thread, runner.Watch)]


def test_short_runs_and_several_threads_are_not_watched() -> None:
    for seconds, threads in ((0.01, 1), (0.25, 2)):
        reference = runner.Reference(Slow(0.001), spare=Slow(0.001))
        answer = runner.measure(Slow(seconds), reference, JOB, threads)
        assert answer["clock"] != "scaled"


def test_a_watch_knows_only_its_interval() -> None:
    watch = runner.Watch(Slow(0.001))
    watch.samples = [(10, 2, 7), (20, 3, 9), (30, 4, 100)]
    assert watch.beside(10, 30) == (5, 8.0)
    assert watch.beside(11, 12) == (0, 0.0)
