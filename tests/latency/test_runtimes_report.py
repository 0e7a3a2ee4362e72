"""The report of ``benchmarks/runtimes``: a model that a runtime cannot load is a row that says so."""

from pathlib import Path
from typing import Any

from archsearch.latency.targets import OpFailedError, Timings
from benchmarks.runtimes.run import chosen, compare, rows, scatter, summary
from tests.latency.tables import OPS


class Runner:
    """Answers with one time after the other, or refuses."""

    def __init__(self, *times_ms: float) -> None:
        self.times_ms = list(times_ms)

    def time(self, path: Path, **_: object) -> Timings:
        if not self.times_ms:
            raise OpFailedError("Didn't find op for builtin opcode 'GELU' version '2'")
        ns = round(self.times_ms.pop(0) * 1e6)
        return Timings((ns,), (ns,), 0, "steady", (1,), None, 1)


def test_a_model_that_the_old_runtime_cannot_load(tmp_path: Path) -> None:
    new: Any = Runner(1.0, 1.1, 2.0, 3.0)
    old: Any = Runner()
    pair = compare(OPS[0], tmp_path / "x.tflite", False, new, old)
    assert (pair.new_ms, pair.old_ms, pair.ratio) == (1.0, None, None)
    assert pair.failure.startswith("tflite-runtime: Didn't find op")
    (row,) = [line for line in rows([pair]) if OPS[0].key in line]
    assert "| 1 | - | - | tflite-runtime: Didn't find op" in row
    assert "| demo: all | 1 | 1 | - |" in "\n".join(summary([pair]))


def test_the_quietest_turn_of_each_counts(tmp_path: Path) -> None:
    new: Any = Runner(4.0, 2.0)
    old: Any = Runner(3.0, 9.0)
    pair = compare(OPS[0], tmp_path / "x.tflite", True, new, old)
    assert (pair.new_ms, pair.old_ms, pair.ratio, pair.failure) == (2.0, 3.0, 1.5, "")
    picture = scatter([pair], ("1", "2"))
    assert OPS[0].key in picture
    assert picture.count("<circle") == 2  # the operator, and its kind in the legend


def test_what_is_compared() -> None:
    demo, large = chosen()
    assert len(large) == 60
    assert not {op.key for op in demo} & {op.key for op in large}
    assert len({op.kind for op in large}) >= 8
