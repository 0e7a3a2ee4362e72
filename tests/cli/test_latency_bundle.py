"""``latency bundle`` and ``latency import`` as commands."""

import json
from pathlib import Path

import pytest

from archsearch.latency import bundle
from archsearch.latency.bundle_manifest import Input
from archsearch.latency.conversion import OpModel
from archsearch.latency.table import load_table
from tests.cli.test_archs import Run
from tests.conftest import assert_one_line_error, require, run_cli
from tests.latency.test_bundle_results import KEYS, make, results


def test_import_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = make(tmp_path / "b"), tmp_path / "t"
    results(folder, {"median_ms": "2"}, {"median_ms": "3", "p10_ms": "2", "p90_ms": "4"})
    run = Run(monkeypatch, capsys)
    code, out, err = run("latency", "import", str(folder), "--table", str(table))
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == ("t: 2 rows imported, 0 replaced, 0 held already; 2 rows in all on toy phone, toy 1, "
                                   "gpu, fp16, 1 thread")  # fmt: skip
    assert "1 rows came without quantiles" in out
    code, out, err = run("latency", "import", str(folder), "--table", str(table), "--json")
    told = json.loads(out)
    assert (told["schema"], told["new"], told["kept"], told["rows"]) == ("archsearch.latency_import/1", 0, 2, 2)
    code, out, _ = run("latency", "check", str(table))
    assert (code, "0 errors" in out) == (0, True)
    assert load_table(table).rows[KEYS[0]].provenance == "imported"


def test_errors_take_one_line_and_leave_nothing(tmp_path: Path) -> None:
    folder, table = make(tmp_path / "b"), tmp_path / "t"
    results(folder, {"median_ms": "NaN"})
    line = assert_one_line_error(run_cli("latency", "import", str(folder), "--table", str(table)))
    assert f"{folder}/results.csv:2: median_ms must be a positive number of milliseconds; got NaN" in line
    assert not table.exists()
    line = assert_one_line_error(run_cli("latency", "import", str(tmp_path), "--table", str(table)))
    assert "not a format that is known" in line


def test_wishes_that_cannot_be_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(monkeypatch, capsys)
    code, _, err = run("latency", "bundle", "demo", "--to", "litert", "-o", str(tmp_path / "b"), "--kind", "fft")
    assert code == 2
    assert err.startswith("error: --kind: nothing of this kind is wanted; got fft; allowed: add, ")
    assert not (tmp_path / "b").exists()
    code, _, err = run("latency", "bundle", "demo", "--to", "tensorrt", "-o", str(tmp_path / "b"))
    assert code == 2
    assert "tensorrt" in err


def test_a_bundle_leaves_out_what_a_table_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require("litert", "litert_torch")

    def convert(units, cache, workers, done):  # type: ignore[no-untyped-def]
        made = {}
        for unit in units:
            path = tmp_path / "model"
            path.write_text(unit.key)
            made[unit.key] = OpModel(unit.key, tmp_path / f"{len(made)}", unit.kind.upper(), 0)
            path.rename(made[unit.key].path)
        return made, {}

    monkeypatch.setattr(bundle, "convert_ops", convert)
    monkeypatch.setattr(bundle, "tflite_inputs", lambda path: (Input("x", (1, 2), "float32"),))
    run = Run(monkeypatch, capsys)
    command = ("latency", "bundle", "demo", "--to", "litert", "--kind", "add", "-o")
    first, second, table = str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "t")
    code, out, err = run(*command, first, "--limit", "2")
    assert code == 0, err
    assert "2 wanted; 3 models to write, the reference among them, about 0." in err
    assert "3 models (3 new)" in out
    path = tmp_path / "one" / "results.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.replace(".tflite,,", ".tflite,20,1.5") for row in rows)]) + "\n")
    yaml = tmp_path / "one" / "device.yaml"
    yaml.write_text(yaml.read_text().replace('runtime: ""', "runtime: toy").replace('date: ""', 'date: "2026-11-21"'))
    code, out, err = run("latency", "import", first, "--table", table, "--device", "my phone")
    assert code == 0, err
    code, out, err = run(*command, second, "--limit", "1", "--table", table, "--json")
    told = json.loads(out)
    assert (told["schema"], told["models"], told["failed"]) == ("archsearch.latency_bundle_written/1", 2, {})
    added = [model["key"] for model in json.loads((tmp_path / "two" / "manifest.json").read_text())["models"]]
    assert set(added) & set(load_table(table).rows) == {"conv2d[1x64x32x32](bias=1,g=1,k=3,out=64,s=1)@nhwc"}
