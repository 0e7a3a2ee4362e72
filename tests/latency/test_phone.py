"""Measuring on a phone through a fake adb: whole tables, and every way in which phones fail."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.conversion import OpModel
from archsearch.latency.failures import FAILED, read_failures
from archsearch.latency.journal import JOURNAL
from archsearch.latency.measure import measure
from archsearch.latency.phone import AdbDevice
from archsearch.latency.table import load_table
from archsearch.latency.targets import DeviceLostError, Setup
from tests.conftest import ROOT, assert_one_line_error, require, run_cli
from tests.latency.fake_phone import AARCH64, FakePhone
from tests.latency.tables import SMALL, conv, linear

OPS = [conv(8, 8, 8), linear(4, 8, 16), Op("silu", ((1, 8, 4, 4),))]


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
    assert (done.rows, done.failed, done.left) == (3, {}, 0)  # type: ignore[attr-defined]
    table = load_table(folder)
    assert table.device == "Google Pixel 0"
    assert table.soc == "Google Tensor 0"
    assert table.os == "Android 15, AP3A.000000.001"
    assert table.runtime == "LiteRT benchmark_model"
    assert table.governor == "sched_pixel"
    assert table.battery == "87 %, charging, 31.2 C"
    assert table.thermal == "status 0 (none)"
    assert table.delegated == "every node of 3 operators of the last session"
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


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("unauthorized", "has not authorised this computer; got unauthorized; unlock it"),
        ("offline", "the phone is offline; got offline; replug it"),
        ("recovery", "in recovery mode"),
        ("no permissions (verify udev rules); see [http://developer.android.com]", "may not use the phone's USB"),
    ],
)
def test_phones_that_are_not_ready(phone: FakePhone, tmp_path: Path, state: str, message: str) -> None:
    phone.attach(PIXEL0=state)
    with pytest.raises(LatencyError, match=message):
        run(phone.setup(), tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_which_phone(phone: FakePhone, tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match=r"no phone of this serial.*got OTHER; allowed: PIXEL0 \(device\)"):
        run(phone.setup("OTHER"), tmp_path / "t")
    phone.attach(PIXEL0="device", GALAXY="offline")
    with pytest.raises(LatencyError, match=r"several phones.*GALAXY \(offline\), PIXEL0 \(device\); give adb:SERIAL"):
        run(phone.setup(""), tmp_path / "t")
    phone.attach()
    with pytest.raises(LatencyError, match="no phone is attached; got adb; allowed: none"):
        run(phone.setup(""), tmp_path / "t")
    phone.attach(PIXEL0="device")
    assert run(phone.setup(""), tmp_path / "t", OPS[:1]).rows == 1  # type: ignore[attr-defined]


def test_programs_that_are_missing(phone: FakePhone, tmp_path: Path) -> None:
    setup = phone.setup()
    without = replace(setup, tools=replace(setup.tools, adb="/nowhere/adb"))
    with pytest.raises(LatencyError, match=r"adb cannot be run .No such file.*install it"):
        run(without, tmp_path / "t")
    for path, message in (("", "needs LiteRT's benchmark_model"), ("/nowhere/tool", "no such file")):
        with pytest.raises(LatencyError, match=message):
            run(replace(setup, tools=replace(setup.tools, benchmark_model=path)), tmp_path / "t")
    phone.binary.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00")
    with pytest.raises(LatencyError, match="another processor; got x86_64; allowed: arm64-v8a,armeabi-v7a"):
        run(setup, tmp_path / "t")
    phone.binary.write_text("#!/bin/sh\n")
    with pytest.raises(LatencyError, match="another processor; got no ELF program"):
        run(setup, tmp_path / "t")
    phone.binary.write_bytes(AARCH64)
    phone.faults(("--help", 0, 1, "unlinkable"))
    with pytest.raises(LatencyError, match="does not run on the phone; got CANNOT LINK EXECUTABLE"):
        run(setup, tmp_path / "t")
    assert phone.left == []


def test_what_a_phone_does_not_have(phone: FakePhone, tmp_path: Path) -> None:
    def refused(message: str, **wish: object) -> None:
        with pytest.raises(LatencyError, match=message):
            run(phone.setup(**wish), tmp_path / "t")
        assert phone.left == []

    refused("does not have this delegate; got nnapi; allowed: xnnpack, none, gpu", delegate="nnapi")
    refused("does not have this delegate; got hexagon", delegate="hexagon")
    refused("with --delegate gpu, does not have this precision; got int8; allowed: fp32, fp16", delegate="gpu",
            precision="int8")  # fmt: skip
    refused("got fp64; allowed: fp32, fp16, fp16-weights, int8", precision="fp64")
    refused("that of its benchmark_model; got tflite-runtime", runtime="tflite-runtime")
    refused("does not have these cores; got 8; allowed: 0,1,2,3,4,5,6,7", cpus=(8,))
    phone.file("/proc/cpuinfo", "processor : 0\nFeatures : fp asimd\n")
    refused("got fp16; allowed: fp32, fp16-weights, int8", precision="fp16")
    phone.faults(("shell&--use_gpu", 0, 9, "no gpu"))
    refused("does not run the reference operator with gpu; got WARN: GPU acceleration is unsupported", delegate="gpu")


def test_flags_and_cores(phone: FakePhone, tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))  # the fake runs here
    run(phone.setup(precision="fp16", cpus=(core,)), tmp_path / "half", OPS[:1])
    assert load_table(tmp_path / "half").affinity == f"cores {core}"
    assert all("--xnnpack_force_fp16=true" in line and f"affinity=[{core}]" in line for line in phone.runs)
    (phone.root / "runs").unlink()
    run(phone.setup(delegate="gpu", precision="fp32"), tmp_path / "gpu", OPS[:1])
    assert all("--use_gpu=true --gpu_precision_loss_allowed=false" in line for line in phone.runs)
    with pytest.raises(LatencyError, match=r"--cpus: the table was measured on other cores; got all; allowed: cores"):
        run(phone.setup(precision="fp16"), tmp_path / "half")


@pytest.mark.parametrize(
    ("event", "skip", "state"),
    [
        ("push:model.tflite", 1, "gone"),
        ("push:model.tflite", 0, "unauthorized"),
        ("shell&--graph=&/model.tflite", 4, "gone"),
        ("shell&--graph=&reference.tflite", 9, "offline"),
        ("pull:result", 9, "gone"),
    ],
)
def test_a_phone_that_goes_away_is_resumed(phone: FakePhone, tmp_path: Path, event: str, skip: int, state: str) -> None:
    folder = tmp_path / "t"
    phone.faults((event, skip, 1, state))
    with pytest.raises(DeviceLostError, match=r"finished rows are kept; connect it again and repeat the command"):
        run(phone.setup(), folder)
    kept = dict(load_table(folder).rows)
    assert len(kept) < len(OPS)
    assert not (folder / JOURNAL).exists()
    assert phone.left == ["archsearch"]  # which nobody could remove
    phone.attach(PIXEL0="device")
    phone.faults()
    assert run(phone.setup(), folder).rows == len(OPS) - len(kept)  # type: ignore[attr-defined]
    after = load_table(folder).rows
    assert kept.items() <= after.items()
    assert set(after) == {op.key for op in OPS}
    assert phone.left == []


def test_a_command_that_is_cut_off(phone: FakePhone, tmp_path: Path) -> None:
    """The connection breaks and is there again before anybody asks."""
    phone.faults(("shell&--graph=&/model.tflite", 0, 1, "cut"))
    with pytest.raises(DeviceLostError, match="the connection broke while a command ran"):
        run(phone.setup(), tmp_path / "t")


def test_a_full_phone(phone: FakePhone, tmp_path: Path) -> None:
    for event, skip in (("push:model.tflite", 1), ("shell&--graph=&/model.tflite", 2)):
        phone.faults((event, skip, 1, "full"))
        with pytest.raises(LatencyError, match=r"the phone's storage is full; .*free.*finished rows are kept"):
            run(phone.setup(), tmp_path / "t")
    assert 1 <= len(load_table(tmp_path / "t").rows) < len(OPS)
    assert phone.left == []


@pytest.mark.parametrize(
    ("event", "what", "why"),
    [
        ("shell&--graph=&/model.tflite", "garbage", "not the output of benchmark_model"),
        ("shell&--graph=&/model.tflite", "crash", "benchmark_model ended with code 139: Segmentation fault"),
        ("pull:result", "corrupt", "the result file"),
        ("shell&--graph=&/model.tflite", "hang", "no answer within"),
    ],
)
def test_what_goes_wrong_with_one_model_costs_that_row(
    phone: FakePhone, tmp_path: Path, event: str, what: str, why: str
) -> None:
    """It is told, kept with its reason, and tried again by the next run."""
    folder = tmp_path / "t"
    run(phone.setup(), folder, [])
    phone.faults((event, 4 if "pull" in event else 0, 2, what))
    done = run(phone.setup(patience_seconds=1.5 if what == "hang" else 20.0), folder, OPS[:2])
    failures = read_failures(folder)
    assert done.failed == failures  # type: ignore[attr-defined]
    assert len(failures) >= 1
    assert all(why in reason for reason in failures.values())
    assert done.rows == 2 - len(failures)  # type: ignore[attr-defined]
    if what == "hang":
        assert (phone.root / "killed").read_text().strip().endswith("/data/local/tmp/archsearch/benchmark_model")
    phone.faults()
    assert run(phone.setup(), folder, OPS[:2]).failed == {}  # type: ignore[attr-defined]
    assert read_failures(folder) == {}
    assert not (folder / FAILED).exists()


def test_an_adb_that_hangs(phone: FakePhone, tmp_path: Path) -> None:
    phone.faults(("devices", 0, 1, "hang"))
    with pytest.raises(DeviceLostError, match=r"adb does not answer; got 1\.5 s; `adb kill-server`"):
        run(phone.setup(patience_seconds=1.5), tmp_path / "t")


def test_drifted_stretches_are_measured_again(phone: FakePhone, tmp_path: Path) -> None:
    """The phone is three times slower for a while: blocks beside a slow reference do not count."""
    folder = tmp_path / "t"
    phone.faults(("shell&--graph=", 9, 3, "slow"))
    done = measure(OPS, folder, device=phone.setup(), cache=tmp_path / "cache", show_progress=False, max_seconds=3.0)
    assert done.failed == {}
    for op in OPS:
        row = load_table(folder).rows[op.key]
        assert row.timing == "steady"
        assert row.latency_ms == pytest.approx((50 + (108 + op.params) // 10) / 1e3, rel=1e-5)
    assert any(row.dropped for row in load_table(folder).rows.values())


def test_rows_under_load_say_so_and_are_replaced(phone: FakePhone, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    run(phone.setup(), folder, OPS[:1])
    phone.faults(("shell&--graph=", 0, 999, "slow"))
    run(phone.setup(), folder, OPS)
    slow = load_table(folder).rows
    assert [slow[op.key].timing for op in OPS] == ["steady", *["unsteady"] * 2]
    phone.faults()
    assert run(phone.setup(), folder, OPS, again=True).rows == 2  # type: ignore[attr-defined]
    assert {row.timing for row in load_table(folder).rows.values()} == {"steady"}


def test_operators_that_the_delegate_leaves_alone_are_marked(phone: FakePhone, tmp_path: Path) -> None:
    phone.faults(("shell&enable_op_profiling&/model.tflite", 1, 1,
                  "undelegated"))  # fmt: skip
    run(phone.setup(delegate="gpu", precision="fp16"), tmp_path / "t", OPS[:3])
    table = load_table(tmp_path / "t")
    assert [table.rows[op.key].graph for op in OPS[:3]] == ["CONV_2D", "CONV_2D; 1 undelegated", "CONV_2D"]
    assert table.delegated == (
        "every node of 2 of 3 operators of the last session; `undelegated` in graph marks the others"
    )


def test_an_old_tool_without_result_files(phone: FakePhone, tmp_path: Path) -> None:
    """Its output is read instead, which is whole microseconds."""
    (phone.root / "hidden_flags").write_text("result_file_path op_profiling_output_mode")
    run(phone.setup(), tmp_path / "t", OPS[:1])
    table = load_table(tmp_path / "t")
    assert table.rows[OPS[0].key].latency_ms == pytest.approx((50 + (108 + OPS[0].params) // 10) / 1e3)
    assert table.delegated == ""
    assert not any("result_file_path" in line for line in phone.runs)


def test_the_state_at_the_end_is_noted(phone: FakePhone, tmp_path: Path) -> None:
    phone.program("dumpsys", 'cat "$ROOT/$1"; cp "$ROOT/$1.later" "$ROOT/$1" 2>/dev/null || true')
    (phone.root / "thermalservice.later").write_text("Thermal Status: 2\n")
    run(phone.setup(), tmp_path / "t", OPS[:1])
    assert "at the start of the last session, status 2 (moderate) at its end" in load_table(tmp_path / "t").thermal


def test_hostile_words_reach_no_shell(phone: FakePhone, tmp_path: Path) -> None:
    """Paths with blanks, quotes and commands: as adb's arguments, and as names of models."""
    hostile = tmp_path / "a b; touch owned; $(touch owned) 'x"
    hostile.mkdir()
    binary = hostile / "benchmark model; touch owned"
    binary.write_bytes(AARCH64)
    setup = phone.setup()
    measure(OPS[:1], hostile / "t", device=replace(setup, tools=replace(setup.tools, benchmark_model=str(binary))),
            cache=hostile / "cache", show_progress=False, max_seconds=0.5)  # fmt: skip
    assert len(load_table(hostile / "t").rows) == 1
    assert not list(tmp_path.rglob("owned"))
    assert "touch" not in (phone.root / "events").read_text()


def test_two_runs_do_not_share_a_phone(phone: FakePhone, tmp_path: Path) -> None:
    device = AdbDevice(phone.setup())
    with pytest.raises(LatencyError, match="another run is measuring on this phone"):
        run(phone.setup(), tmp_path / "t")
    device.close()
    assert run(phone.setup(), tmp_path / "t", OPS[:1]).rows == 1  # type: ignore[attr-defined]


SCRIPT = """
import sys
from pathlib import Path
from archsearch.latency.measure import measure
from archsearch.latency.targets import Setup, Target, Tools
from tests.latency.tables import SMALL
setup = Setup(target=Target("adb", "PIXEL0"), tools=Tools(adb=sys.argv[3], benchmark_model=sys.argv[4]))
measure(SMALL, Path(sys.argv[1]), device=setup, cache=Path(sys.argv[2]), show_progress=False, max_seconds=0.3)
"""


def test_kill_9_while_a_phone_measures(cache: Path, tmp_path: Path) -> None:
    """Killed at random moments, continued each time; what a killed run left on the phone goes with the next."""
    require("litert", "litert_torch", "ai_edge_litert")
    phone = FakePhone(tmp_path / "phone")
    folder = tmp_path / "t"
    command = [sys.executable, "-c", SCRIPT, str(folder), str(cache), str(phone.adb), str(phone.binary)]
    environment = {**os.environ, "HOME": str(tmp_path)}
    rng = random.Random(3)
    known: dict[str, object] = {}
    kills = 0
    for i in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True, env=environment, cwd=ROOT)  # fmt: skip
        journal = folder / JOURNAL
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:  # until it is at work, then a while
            if journal.exists() and phone.left == ["archsearch"]:
                break
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.4) * (i % 3))
        kills += process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        rows = dict(load_table(folder).rows)
        assert known.items() <= rows.items()
        known = dict(rows)
    assert kills >= 2
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=ROOT)
    rows = dict(load_table(folder).rows)
    assert known.items() <= rows.items()
    assert set(rows) == {op.key for op in SMALL}
    assert phone.left == []


def test_the_command_line(phone: FakePhone, tmp_path: Path) -> None:
    """One line and exit code 2 for a phone that is not there; nothing is left behind."""
    require("litert", "litert_torch", "ai_edge_litert")
    phone.attach(PIXEL0="unauthorized")
    args = ("--table", str(tmp_path / "t"), "--adb", str(phone.adb), "--benchmark-model", str(phone.binary))
    line = assert_one_line_error(run_cli("latency", "measure", "demo", "--device", "adb:PIXEL0", *args))
    assert line.startswith("error: adb:PIXEL0: the phone has not authorised this computer; got unauthorized; unlock it")
    line = assert_one_line_error(run_cli("latency", "measure", "demo", "--device", "adb:OTHER", *args))
    assert "allowed: PIXEL0 (unauthorized)" in line
    assert not (tmp_path / "t").exists()
