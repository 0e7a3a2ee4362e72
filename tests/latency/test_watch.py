"""Whole networks are watched and blocks are paired: what another load takes from the core is divided out."""

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


class Uneven(Slow):
    """Two runs at its quiet level, then two that take twice as long."""

    def invoke(self) -> None:
        quiet = self.seconds
        self.seconds = quiet * (1 + self.runs // 2 % 2)
        super().invoke()
        self.seconds = quiet


def test_whole_networks_are_scaled_by_what_the_watched_model_took_amid_their_runs() -> None:
    model, watched = Slow(0.4), Uneven(0.004)
    answer = runner.measure_watched(model, watched, {**JOB, "watch_ns": 4_000_000, "watch_every": 0.02})
    assert answer["clock"] == "scaled"
    assert len(answer["wall_ns"]) == len(answer["cpu_ns"]) == len(answer["levels_ns"]) >= 3
    assert watched.runs > 12
    (quiet,) = answer["reference_ns"]
    assert quiet >= 4_000_000
    for wall, level in zip(answer["wall_ns"], answer["levels_ns"], strict=True):
        assert level > 1.2 * quiet  # between once and twice, half of the time each
        assert wall * level / quiet > 0.39e9


def test_a_load_that_never_ceases_is_not_taken_for_a_quiet_machine() -> None:
    answer = runner.measure_watched(Slow(0.2), Slow(0.004), {**JOB, "watch_ns": 2_000_000, "watch_every": 0.02})
    assert (answer["clock"], answer["steady"]) == ("wall", False)


def test_blocks_are_paired_with_their_operators() -> None:
    block, ops = Slow(0.012), [(Slow(0.002), 2), (Slow(0.004), 1)]
    answer = runner.measure_paired(block, ops, JOB)
    assert answer["clock"] == "paired"
    assert len(answer["ratios"]) >= 3
    ratio = sorted(answer["ratios"])[len(answer["ratios"]) // 2]
    assert 1.3 < ratio < 1.7  # 12 / (2 * 2 + 4) where nothing interferes
    assert all(one.runs > 3 for one, _ in ops)


def test_a_watch_knows_only_its_interval() -> None:
    watch = runner.Watch(Slow(0.001), 1.0)
    watch.samples = [(10, 2, 7), (20, 3, 9), (30, 4, 100)]
    assert watch.beside(10, 30) == (5, 8.0)
    assert watch.beside(11, 12) == (0, 0.0)
