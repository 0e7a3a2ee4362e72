"""Both runtimes on real models, a model that the old one cannot load, and other precisions and delegates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from archsearch.errors import LatencyError, MissingExtraError
from archsearch.latency import runtimes
from archsearch.latency.conversion import OpModel, convert_ops, model_path
from archsearch.latency.failures import FAILED, read_failures
from archsearch.latency.host import HostDevice, HostRunner
from archsearch.latency.measure import REFERENCE, measure
from archsearch.latency.quantise import quantise_all
from archsearch.latency.table import load_table
from archsearch.latency.targets import Setup
from tests.conftest import require, run_cli
from tests.latency.tables import SMALL

require("litert", "litert_torch", "ai_edge_litert")

OPS = SMALL[:2]
LINEAR = OPS[1]


def run(folder: Path, cache: Path, setup: Setup, ops: list = OPS):  # type: ignore[no-untyped-def,type-arg]
    return measure(ops, folder, device=setup, cache=cache, show_progress=False, max_seconds=0.3)


def test_tflite_runtime_measures(cache: Path, tmp_path: Path, tflite_runtime: str) -> None:
    assert run(tmp_path / "t", cache, Setup(runtime="tflite-runtime")).rows == 2
    table = load_table(tmp_path / "t")
    assert (table.runtime, table.runtime_version) == ("tflite-runtime", "2.14.0")
    assert set(table.rows) == {op.key for op in OPS}
    with pytest.raises(LatencyError, match="another runtime; got ai-edge-litert; allowed: tflite-runtime"):
        run(tmp_path / "t", cache, Setup())


def test_a_model_that_the_old_runtime_cannot_load_is_recorded(cache: Path, tmp_path: Path, tflite_runtime: str) -> None:
    """A fully connected layer with int2 weights: today's runtime runs it, that of 2023 does not."""
    from ai_edge_quantizer import quantizer, recipe

    spoilt = tmp_path / "cache"
    spoilt.mkdir()
    for path in cache.iterdir():
        (spoilt / path.name).write_bytes(path.read_bytes())
    path = model_path(LINEAR, spoilt)
    work = quantizer.Quantizer(str(path))
    work.load_quantization_recipe(recipe.dynamic_wi2c_afp32())
    data = bytes(work.quantize().quantized_model)
    path.write_bytes(data)
    note = path.with_suffix(".json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "bytes": len(data)}))

    done = run(tmp_path / "old", spoilt, Setup(runtime="tflite-runtime"))
    assert (done.rows, set(done.failed)) == (1, {LINEAR.key})
    assert read_failures(tmp_path / "old") == done.failed
    shown = run_cli("latency", "show", str(tmp_path / "old"))
    assert f"not measured: {LINEAR.key}: " in shown.stdout
    assert run(tmp_path / "new", spoilt, Setup()).failed == {}
    assert not (tmp_path / "new" / FAILED).exists()


def test_what_the_delegate_took(cache: Path, tmp_path: Path) -> None:
    run(tmp_path / "t", cache, Setup(), OPS[:1])
    assert load_table(tmp_path / "t").delegated == "every node of 1 operators of the last session"
    with HostDevice(Setup(delegate="none")).start(model_path(REFERENCE, cache), None) as runner:
        timings = runner.time(model_path(OPS[0], cache), max_seconds=0.2)
    assert timings.undelegated == 1
    with HostDevice(Setup()).start(model_path(REFERENCE, cache), None) as runner:
        assert runner.time(model_path(OPS[0], cache), max_seconds=0.2).undelegated == 0


def test_cores_are_kept_to(cache: Path, tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    run(tmp_path / "t", cache, Setup(cpus=(core,)), OPS[:1])
    assert load_table(tmp_path / "t").affinity == f"cores {core}"
    with pytest.raises(LatencyError, match=r"cannot stay on cores \[1023\]: this process may use \["):
        run(tmp_path / "u", cache, Setup(cpus=(1023,)), OPS[:1])


@pytest.mark.parametrize(
    ("precision", "graph", "words"),
    [
        ("fp16-weights", "CONV_2D + DEQUANTIZE; fp16 weights", "stored in fp16 and dequantised to fp32"),
        ("int8", "CONV_2D; int8 weights", "one scale an output channel, activations quantised to int8 while it runs"),
    ],
)
def test_quantised_rows_say_what_was_quantised(
    cache: Path, tmp_path: Path, precision: str, graph: str, words: str
) -> None:
    run(tmp_path / "t", cache, Setup(precision=precision), OPS[:1])
    table = load_table(tmp_path / "t")
    assert table.precision == precision
    assert words in table.quantisation
    assert table.rows[OPS[0].key].graph == graph
    with pytest.raises(LatencyError, match=f"another precision; got fp32; allowed: {precision}"):
        run(tmp_path / "t", cache, Setup())


def test_a_model_without_weights_stays_fp32(cache: Path, tmp_path: Path) -> None:
    op = SMALL[2]
    models, _ = convert_ops([op], cache)
    made, failures = quantise_all(models.values(), "int8")
    assert failures == {}
    assert made[op.key].graph == "LOGISTIC + MUL; fp32"
    again, _ = quantise_all(models.values(), "int8")
    assert again == made
    broken = OpModel("silu[1x4]()@row", tmp_path / "broken.tflite", "", 0)
    broken.path.write_bytes(b"no model")
    assert "ai-edge-quantizer: " in quantise_all([broken], "int8")[1][broken.key]


def test_an_environment_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "environment_folder", lambda: tmp_path / "none")
    monkeypatch.delenv(runtimes.PYTHON_VARIABLE, raising=False)
    with pytest.raises(MissingExtraError, match="latency runtime --install; or set ARCHSEARCH_TFLITE_PYTHON"):
        runtimes.python_of("tflite-runtime")
    monkeypatch.setenv(runtimes.PYTHON_VARIABLE, "/some/python")
    assert runtimes.python_of("tflite-runtime") == "/some/python"
    assert runtimes.python_of("tflite-runtime", "/chosen") == "/chosen"
    assert runtimes.python_of("litert") == sys.executable
    with pytest.raises(LatencyError, match=r"the runner does not start; got .*No such file"):
        HostRunner(Path("ref"), python="/some/python")


def test_an_installation_that_fails_leaves_nothing_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 'No matching distribution' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(runtimes, "_base_python", lambda: str(python))
    with pytest.raises(LatencyError, match="tflite-runtime cannot be installed; got No matching distribution"):
        runtimes.install(tmp_path / "env")
    assert not runtimes.is_ready(tmp_path / "env")


def test_newer_pythons_look_for_an_old_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtimes, "NEWEST", (3, 8))
    monkeypatch.setattr(runtimes.shutil, "which", lambda name: None)
    with pytest.raises(LatencyError, match=r"needs CPython 3\.11 or older; got 3\."):
        runtimes.install(tmp_path / "env")


def test_the_command_says_what_is_here(tflite_runtime: str) -> None:
    shown = run_cli("latency", "runtime")
    assert shown.returncode == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["litert", "tflite-runtime"]
    assert "2.14.0" in shown.stdout


def test_the_runner_needs_numpy_and_one_runtime_only(tflite_runtime: str) -> None:
    """Under the old runtime's Python, which has nothing else."""
    done = subprocess.run([tflite_runtime, str(Path(runtimes.__file__).with_name("runner.py"))], input="",
                          capture_output=True, text=True, check=True, cwd="/")  # fmt: skip
    assert done.stdout == ""
