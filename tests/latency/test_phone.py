"""Measuring on a phone through a fake adb: whole tables, and every way in which phones fail."""

from pathlib import Path

import pytest

from archsearch.cost.op import Op
from archsearch.latency.conversion import OpModel
from archsearch.latency.journal import JOURNAL
from archsearch.latency.measure import measure
from archsearch.latency.table import load_table
from archsearch.latency.targets import Setup
from tests.latency.fake_phone import FakePhone
from tests.latency.tables import conv, linear

OPS = [conv(8, 8, 8), linear(4, 8, 16), Op("silu", ((1, 8, 4, 4),)), conv(8, 16, 4, k=1)]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    """A phone; models are a few bytes each, because its ``benchmark_model`` runs none."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def convert(ops: list[Op], cache: Path, **_: object) -> tuple[dict[str, OpModel], dict[str, str]]:
        cache.mkdir(exist_ok=True)
        models = {}
        for op in ops:
            path = cache / f"{op.kind}{len(op.key)}{op.params}.tflite"
            path.write_bytes(b"\0\0\0\0TFL3" + bytes(op.params + 100))
            models[op.key] = OpModel(op.key, path, "CONV_2D", 0)
        return models, {}

    monkeypatch.setattr("archsearch.latency.measure.convert_ops", convert)
    monkeypatch.setattr("archsearch.latency.measure.converter_version", lambda: "0")
    return FakePhone(tmp_path / "phone")


def run(setup: Setup, folder: Path, ops: list[Op] = OPS, **more: object) -> object:
    return measure(ops, folder, device=setup, cache=folder.parent / "cache", show_progress=False, max_seconds=0.5,
                   **more)  # type: ignore[arg-type]  # fmt: skip


def test_a_table_of_a_phone(phone: FakePhone, tmp_path: Path) -> None:
    folder = tmp_path / "pixel"
    done = run(phone.setup(threads=2), folder)
    assert (done.rows, done.failed, done.left) == (4, {}, 0)  # type: ignore[attr-defined]
    table = load_table(folder)
    assert table.device == "Google Pixel 0"
    assert table.soc == "Google Tensor 0"
    assert table.os == "Android 15, AP3A.000000.001"
    assert table.runtime == "LiteRT benchmark_model"
    assert table.governor == "sched_pixel"
    assert table.battery == "87 %, charging, 31.2 C"
    assert table.thermal == "status 0 (none)"
    assert table.delegated == "every node of 4 operators of the last session"
    assert "5th and 95th percentile" in table.protocol
    for op in OPS:
        row = table.rows[op.key]
        size = 8 + op.params + 100
        assert row.latency_ms == pytest.approx((50 + size // 10) / 1e3, rel=1e-5)
        assert row.p10_ms < row.latency_ms < row.p90_ms
        assert (row.reference_ms, row.timing, row.cpu_ms) == (0.2, "steady", None)
        assert row.ratio == pytest.approx(row.latency_ms / 0.2, rel=1e-5)
        assert row.runs >= 40
    assert phone.left == []
    assert not (folder / JOURNAL).exists()
    assert all("--num_threads=2" in line and "--use_xnnpack=true" in line for line in phone.runs)
