"""Bundles: written, killed, filled, imported."""

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archsearch.cost.block import parse_workload
from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency import bundle as bundle_module
from archsearch.latency.bundle import missing, write_bundle
from archsearch.latency.bundle_manifest import MANIFEST
from archsearch.latency.bundle_models import estimate_bytes, file_of
from archsearch.latency.bundle_read import read_manifest
from archsearch.latency.check import check_table
from archsearch.latency.conversion import convert_ops
from archsearch.latency.imports import Options, import_rows, read
from archsearch.latency.measure import REFERENCE
from archsearch.latency.table import load_table
from tests.conftest import require
from tests.latency.tables import conv, linear

require("litert", "litert_torch", "ai_edge_litert")

BLOCK = parse_workload("block.downsample[1x8x8x8](out=8,sep=0)@nhwc")
UNITS = {unit.key: unit for unit in [conv(8, 8, 8), linear(4, 8, 16), BLOCK, conv(8, 8, 8, g=8)]}
MORE = Op("add", ((1, 4, 8), (1, 4, 8)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    assert convert_ops([REFERENCE, MORE, *UNITS.values()], folder, workers=1)[1] == {}
    return folder


@pytest.fixture
def folder(cache: Path, tmp_path: Path) -> Path:
    write_bundle(UNITS, tmp_path / "b", target="litert", sources=["toy"], cache=cache, show_progress=False)
    return tmp_path / "b"


def describe(folder: Path) -> None:
    path = folder / "device.yaml"
    text = path.read_text()
    for name, value in {"device": "toy phone", "runtime": "toy", "delegate": "none", "date": "2026-11-21"}.items():
        text = text.replace(f'{name}: ""', f'{name}: "{value}"', 1)
    path.write_text(text)


def fill(folder: Path, **cells: str) -> None:
    """The same cells in every row."""
    with (folder / "results.csv").open(newline="") as stream:
        reader = csv.DictReader(stream)
        rows = [{**row, **cells} for row in reader]
    with (folder / "results.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(rows)


def test_a_bundle_says_what_it_holds(folder: Path, cache: Path) -> None:
    manifest = read_manifest(folder)
    assert set(manifest.models) == {REFERENCE.key, *UNITS}
    assert (manifest.complete, manifest.sources, manifest.failed) == (True, ("toy",), {})
    assert set(manifest.converter) == {"litert-torch", "torch", "recipe"}
    model = manifest.models[conv(8, 8, 8).key]
    assert [(entry.shape, entry.dtype) for entry in model.inputs] == [((1, 8, 8, 8), "float32")]
    assert (model.graph, model.params, model.macs) == ("CONV_2D", 584, 36864)
    assert all((folder / one.file).stat().st_size == one.bytes for one in manifest.models.values())
    assert len({one.file.rsplit("/", 1)[0] for one in manifest.models.values()}) >= 4  # spread over folders
    for name in ("README.txt", "device.yaml", "results.csv", "fill_results.py", "runner.py"):
        assert (folder / name).exists()
    assert manifest.models[REFERENCE.key].file in (folder / "README.txt").read_text()
    assert str(folder) not in (folder / MANIFEST).read_text()
    size = sum(one.bytes for one in manifest.models.values())
    assert 0.5 < estimate_bytes([REFERENCE, *UNITS.values()], "litert") / size < 2


def test_the_same_call_does_nothing_and_more_adds(folder: Path, cache: Path) -> None:
    describe(folder)
    fill(folder, median_ms="1.5")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert write_bundle(UNITS, folder, target="litert", sources=["toy"], cache=cache, show_progress=False).new == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert missing({MORE.key: MORE}, folder) == [MORE]
    done = write_bundle({MORE.key: MORE}, folder, target="litert", sources=["more"], cache=cache, show_progress=False)
    assert (done.models, done.new) == (6, 1)
    assert read_manifest(folder).sources == ("toy", "more")
    assert (folder / "device.yaml").read_bytes() == before[folder / "device.yaml"]
    text = (folder / "results.csv").read_bytes()
    assert text.startswith(before[folder / "results.csv"])  # what was filled in stays
    assert text.count(b"\n") == 7


def test_a_damaged_or_lost_model_is_made_again(folder: Path, cache: Path) -> None:
    manifest = read_manifest(folder)
    first, second = (folder / model.file for model in list(manifest.models.values())[:2])
    good = first.read_bytes()
    first.write_bytes(good[:-1] + b"x")
    second.unlink()
    assert write_bundle(UNITS, folder, target="litert", cache=cache, show_progress=False).new == 2
    assert first.read_bytes() == good
    assert second.exists()


def test_other_folders_and_bundles_are_left_alone(folder: Path, cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_text("x")
    with pytest.raises(LatencyError, match=r"holds something else than a bundle; got cat\.jpg"):
        write_bundle(UNITS, other, target="litert", cache=cache, show_progress=False)
    assert list(other.iterdir()) == [other / "cat.jpg"]
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"litert-torch": "', '"litert-torch": "0'))
    with pytest.raises(LatencyError, match="a bundle with another converter"):
        write_bundle(UNITS, folder, target="litert", cache=cache, show_progress=False)


def test_a_full_disk_is_told_before_anything_is_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(bundle_module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(LatencyError, match="do not fit on the disk"):
        write_bundle(UNITS, tmp_path / "b", target="litert", cache=cache, show_progress=False)
    assert list((tmp_path / "b").iterdir()) == []


def test_two_writers_do_not_meet(folder: Path, cache: Path) -> None:
    with bundle_module._locked(folder), pytest.raises(LatencyError, match="another process"):
        write_bundle(UNITS, folder, target="litert", cache=cache, show_progress=False)


SCRIPT = """
import sys, time
from pathlib import Path
from archsearch.cost.block import parse_workload
from archsearch.cost.block import parse_workload
from archsearch.latency import bundle, bundle_models
bundle_models.CHUNK = 2
place = bundle._Writer._place
def slowly(self, unit, fill):
    time.sleep(0.05)
    place(self, unit, lambda draft: (fill(draft), time.sleep(0.05)))
bundle._Writer._place = slowly
ops = [parse_workload(key) for key in sys.argv[3:]]
bundle.write_bundle({op.key: op for op in ops}, Path(sys.argv[1]), target="litert", cache=Path(sys.argv[2]),
                    show_progress=False)
"""


def test_kill_9_at_any_moment_leaves_a_bundle_that_continues(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    command = [sys.executable, "-c", SCRIPT, str(folder), str(cache), *UNITS]
    rng = random.Random(3)
    kills = 0
    known: set[str] = set()
    for i in range(10):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 0.2 + 0.1 * i + rng.uniform(0, 0.1)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        assert b"Error" not in process.communicate()[1]
        if (folder / MANIFEST).exists():
            models = read_manifest(folder).models
            assert known <= set(models)
            known = set(models)
            for model in models.values():  # whatever a manifest lists is whole
                assert (folder / model.file).stat().st_size == model.bytes
    assert kills >= 2
    subprocess.run(command, check=True, capture_output=True)
    manifest = read_manifest(folder)
    assert manifest.complete
    assert set(manifest.models) == {REFERENCE.key, *UNITS}
    assert (folder / "results.csv").read_text().count("\n") == len(manifest.models) + 1
    left = [path.name for path in folder.rglob(".*")]
    assert left == []


def test_the_script_in_the_bundle_fills_it_and_the_table_is_sound(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    command = [sys.executable, "-I", str(moved / "fill_results.py"), "host", "--max-seconds", "0.2"]
    subprocess.run([*command, "--limit", "2"], check=True, capture_output=True, cwd=tmp_path)
    describe(moved)
    first = read(moved, Options())
    assert len(first.rows) == 2
    assert import_rows(first, tmp_path / "t", Options()).new == 2  # a part is worth having
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    found = read(moved, Options())
    assert set(found.rows) == {REFERENCE.key, *UNITS}
    done = import_rows(found, tmp_path / "t", Options())
    assert (done.new, done.replaced, done.kept) == (3, 0, 2)
    table = load_table(tmp_path / "t")
    assert table.rows.keys() == found.rows.keys()
    for row in table.rows.values():
        assert (row.provenance, row.measured_at) == ("imported", "2026-11-21")
        assert row.runs >= 5
        assert row.ratio is not None
        assert 0 < row.p10_ms <= row.latency_ms <= row.p90_ms < 50
    assert table.rows[conv(8, 8, 8).key].graph == "CONV_2D"
    assert (table.device, table.reference) == ("toy phone", REFERENCE.key)
    assert [finding for finding in check_table(table) if finding.level == "error"] == []


FAKE_ADB = """#!{python}
import shutil, sys
from pathlib import Path
device = Path({device!r})
words = sys.argv[1:]
assert words[:2] == ["-s", "serial; reboot"], words
with (device / "log").open("a") as log:
    log.write(repr(words[2:]) + chr(10))
if words[2] == "push":
    target = device / words[4].lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(words[3], target)
elif "--graph=" in words[3]:
    assert "taskset f0 " in words[3]
    if (device / "unplugged").exists():
        print("adb: device 'serial; reboot' not found")
        sys.exit(1)
    print("INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602")
    print("INFO: count=50 first=124 curr=124 min=120 max=1.25e+06 avg=1.2e+06 std=25 p5=123 median=125.5 p95=130")
    print("INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1, Inference (avg): 2")
"""


def test_the_script_in_the_bundle_drives_adb(folder: Path, tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.mkdir()
    adb = tmp_path / "adb"
    adb.write_text(FAKE_ADB.format(python=sys.executable, device=str(device)))
    adb.chmod(0o755)
    binary = tmp_path / "benchmark_model"
    binary.write_text("x")
    command = [sys.executable, "-I", str(folder / "fill_results.py"), "adb", "--adb", str(adb), "--serial",
               "serial; reboot", "--benchmark-model", str(binary), "--affinity", "f0", "--gpu"]  # fmt: skip
    (device / "unplugged").touch()
    gone = subprocess.run(command, check=False, capture_output=True, text=True)
    assert gone.returncode == 2
    assert gone.stderr.count("not found") == 1  # and not once a model
    assert "the same command continues" in gone.stderr
    assert "Traceback" not in gone.stderr
    (device / "unplugged").unlink()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = (device / "log").read_text()
    assert "--use_gpu=true --require_full_delegation=true" in log
    assert "rm -r /data/local/tmp/archsearch-bundle" in log.splitlines()[-1]
    describe(folder)
    found = read(folder, Options())
    assert len(found.rows) == 5
    row = found.rows[REFERENCE.key]
    assert (row.latency_ms, row.p10_ms, row.p90_ms, row.runs, row.ratio) == (0.1255, 0.123, 0.13, 50, 1.0)
    assert "came with p5 and p95" in " ".join(found.remarks)


def test_file_names_are_plain() -> None:
    assert file_of(conv(8, 8, 8), "litert").startswith("models/conv2d/")
    assert json.dumps(file_of(conv(8, 8, 8), "coreml")).endswith('.mlpackage"')
