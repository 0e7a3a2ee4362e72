"""Measuring from end to end with LiteRT on this machine, and what survives kill -9."""

import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.check import check_table
from archsearch.latency.conversion import BATCH_OPS, batches, cache_folder, cached, convert_ops, model_path
from archsearch.latency.journal import JOURNAL
from archsearch.latency.measure import REFERENCE, head_of
from archsearch.latency.measure import measure as measure_fully
from archsearch.latency.table import load_table
from archsearch.latency.write import write_table
from tests.conftest import require
from tests.latency.tables import conv, linear

require("litert", "litert_torch", "ai_edge_litert")

SILU = Op("silu", ((1, 8, 4, 4),))
OPS = [
    conv(8, 8, 8),
    conv(8, 8, 8, g=8),
    linear(4, 8, 16),
    SILU,
    Op("add", ((1, 4, 8), (1, 4, 8))),
    conv(8, 16, 4, k=1),
]


SLOW = OPS[0]
measure = functools.partial(measure_fully, max_seconds=0.5)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    models, failures = convert_ops([REFERENCE, *OPS], folder, workers=1)
    assert failures == {}
    assert set(models) == {op.key for op in [REFERENCE, *OPS]}
    return folder


def test_measured_rows(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    done = measure(OPS[:3], folder, cache=cache, show_progress=False)
    assert (done.rows, done.failed, done.left) == (3, {}, 0)
    table = load_table(folder)
    assert set(table.rows) == {op.key for op in OPS[:3]}
    assert table.name == "mine"
    assert table.provenance == "measured"
    assert table.runtime == "ai-edge-litert"
    assert not (folder / JOURNAL).exists()
    for row in table.rows.values():
        assert row.runs >= 5
        assert 0 < row.p10_ms <= row.latency_ms <= row.p90_ms < 50
        assert row.ratio is not None
        assert row.timing in ("steady", "unsteady", "cpu")
    assert table.rows[OPS[1].key].graph == "DEPTHWISE_CONV_2D"
    assert [finding for finding in check_table(table) if finding.level == "error"] == []

    before = dict(table.rows)
    done = measure(OPS[:5], folder, cache=cache, show_progress=False)
    assert (done.rows, done.left) == (2, 0)
    after = load_table(folder).rows
    assert len(after) == 5
    assert {key: after[key] for key in before} == before  # what the table held was not measured again
    assert str(tmp_path) not in (folder / "table.yaml").read_text() + (folder / "ops.csv").read_text()


def test_rows_timed_under_load_are_measured_again_when_asked(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    measure(OPS[:2], folder, cache=cache, show_progress=False)
    table = load_table(folder)
    loaded = table.rows[SLOW.key]._replace(timing="cpu", latency_ms=40.0, p10_ms=30.0, p90_ms=50.0, reference_ms=99.0)
    write_table(folder, head_of(table), [loaded, table.rows[OPS[1].key]])
    assert measure(OPS[:2], folder, cache=cache, show_progress=False).rows == 0
    assert measure(OPS[:2], folder, again=True, cache=cache, show_progress=False).rows == 1
    rows = load_table(folder).rows
    assert rows[SLOW.key].latency_ms < 40.0
    assert rows[SLOW.key].reference_ms != 99.0
    assert rows[OPS[1].key] == table.rows[OPS[1].key]


def test_an_exhausted_budget_leaves_a_valid_partial_table(cache: Path, tmp_path: Path) -> None:
    done = measure(OPS, tmp_path / "t", budget_seconds=0, cache=cache, show_progress=False)
    assert (done.rows, done.left) == (0, len(OPS))
    assert load_table(tmp_path / "t").rows == {}


def test_devices_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match="unknown device; got usb:1234; allowed: host, adb:SERIAL"):
        measure(OPS, tmp_path / "t", device="usb:1234")
    assert not (tmp_path / "t").exists()


def test_another_configuration_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    measure([], folder, cache=cache, show_progress=False)
    before = (folder / "table.yaml").read_bytes()
    with pytest.raises(LatencyError, match="measured with another threads; got 2; allowed: 1"):
        measure(OPS, folder, threads=2, cache=cache, show_progress=False)
    (folder / "table.yaml").write_bytes(before.replace(b"soc: ", b'soc: "Another" #'))
    with pytest.raises(LatencyError, match="measured with another soc"):
        measure(OPS, folder, cache=cache, show_progress=False)


def test_rows_without_their_table_are_not_overwritten(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    measure(OPS[:1], folder, cache=cache, show_progress=False)
    rows = (folder / "ops.csv").read_bytes()
    (folder / "table.yaml").unlink()
    with pytest.raises(LatencyError, match=r"rows without their table\.yaml"):
        measure(OPS, folder, cache=cache, show_progress=False)
    assert (folder / "ops.csv").read_bytes() == rows


def test_damaged_tables_are_not_measured_into(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    measure(OPS[:1], folder, cache=cache, show_progress=False)
    damaged = (folder / "ops.csv").read_bytes().replace(b"measured,", b"imported,")
    (folder / "ops.csv").write_bytes(damaged)
    with pytest.raises(LatencyError, match="checksum"):
        measure(OPS, folder, cache=cache, show_progress=False)
    assert (folder / "ops.csv").read_bytes() == damaged


def test_operators_that_fail_are_told_and_tried_again(cache: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "cache"
    shutil.copytree(cache, spoilt)
    path = model_path(SILU, spoilt)
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))
    done = measure([SILU, OPS[0]], tmp_path / "t", cache=spoilt, show_progress=False)
    assert done.rows == 1
    assert set(done.failed) == {SILU.key}
    assert "ValueError" in done.failed[SILU.key]
    path.write_bytes(good)
    done = measure([SILU, OPS[0]], tmp_path / "t", cache=spoilt, show_progress=False)
    assert (done.rows, done.failed) == (1, {})


SCRIPT = """
import sys
from pathlib import Path
from archsearch.cost.op import Op
from archsearch.latency.measure import measure
measure([Op.parse(key) for key in sys.argv[3:]], Path(sys.argv[1]), cache=Path(sys.argv[2]), show_progress=False,
        max_seconds=0.3)
"""


def survive(cache: Path, folder: Path, seed: int, wanted_kills: int) -> None:
    """Kill measuring at random moments of its whole run, again and again; another table begins when one is full."""
    rng = random.Random(seed)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def command(table: Path) -> list[str]:
        return [sys.executable, "-c", SCRIPT, str(table), str(cache), *(op.key for op in OPS)]

    start = time.monotonic()
    subprocess.run(command(folder / "whole"), check=True, capture_output=True, env=environment)
    span = time.monotonic() - start
    kills, number = 0, 0
    known: dict[str, object] = {}
    while kills < wanted_kills:
        table = folder / f"t{number}"
        process = subprocess.Popen(command(table), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True, env=environment)  # fmt: skip
        try:
            process.wait(timeout=rng.uniform(0, span))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        if not (table / "table.yaml").exists():
            continue
        rows = dict(load_table(table).rows)
        assert known.items() <= rows.items()  # each as it was
        known = dict(rows)
        if process.returncode == 0:
            assert set(rows) == {op.key for op in OPS}
            assert not (table / JOURNAL).exists()
            number, known = number + 1, {}
    subprocess.run(command(folder / f"t{number}"), check=True, capture_output=True, env=environment)
    rows = dict(load_table(folder / f"t{number}").rows)
    assert set(rows) == {op.key for op in OPS}
    assert known.items() <= rows.items()


def test_kill_9_at_any_moment_loses_no_finished_row(cache: Path, tmp_path: Path) -> None:
    survive(cache, tmp_path, seed=5, wanted_kills=6)


@pytest.mark.slow
def test_kill_9_fifty_times(cache: Path, tmp_path: Path) -> None:
    survive(cache, tmp_path, seed=6, wanted_kills=50)


def test_batches_respect_their_limits() -> None:
    big = [linear(1, 4096, 4096 + i) for i in range(9)]
    small = [linear(1, 4, 4 + i) for i in range(60)]
    found = list(batches([*big, *small]))
    assert [op for batch in found for op in batch] == [*big, *small]
    assert all(len(batch) <= BATCH_OPS for batch in found)
    assert all(len(batch) == 1 or sum(4 * op.params for op in batch) <= 256_000_000 for batch in found)
    assert list(batches([])) == []


def test_cache_entries_are_whole_or_absent(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cached(SILU, cache)
    assert found is not None
    assert found.graph == "LOGISTIC + MUL"
    assert cached(SILU, tmp_path) is None
    path = model_path(SILU, tmp_path)
    path.write_bytes(found.path.read_bytes()[:-1])
    path.with_suffix(".json").write_bytes(found.path.with_suffix(".json").read_bytes())
    assert cached(SILU, tmp_path) is None
    path.with_suffix(".json").write_text("[]")
    assert cached(SILU, tmp_path) is None
    monkeypatch.setenv("ARCHSEARCH_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("ARCHSEARCH_CACHE")
    assert cache_folder().parts[-2:] == ("archsearch", "litert")


def test_unconvertible_operators_fail_alone(tmp_path: Path) -> None:
    """One operator of a batch that has no module does not take the others with it."""
    odd = Op("fft", ((1, 4),))  # type: ignore[arg-type]
    from archsearch.latency.conversion import Failure, convert_batch

    results = list(convert_batch([odd], tmp_path))
    assert results == [Failure(odd.key, results[0].why)]  # type: ignore[union-attr]
