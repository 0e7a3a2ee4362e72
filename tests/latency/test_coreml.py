"""Core ML packages, made on any system; only Apple's run them."""

import json
import os
from pathlib import Path

import pytest

from archsearch.cost.block import parse_workload
from archsearch.errors import LatencyError
from archsearch.latency.bundle import write_bundle
from archsearch.latency.bundle_manifest import digest
from archsearch.latency.bundle_read import read_manifest
from archsearch.latency.coreml import CoremlModel, convert_coreml, coreml_module
from archsearch.latency.measure import REFERENCE
from tests.conftest import require

require("coreml", "coremltools")

GRAPHS = {
    "conv2d[1x16x8x8](bias=1,g=1,k=3,out=8,s=1)@nhwc": "conv",
    "attention[1x16x2x8|1x7x1x8](scores=relu)@row": "relu",
    "group_norm[1x32x8x8](g=8)@nhwc": "reduce_mean",
    "cat[1x16x8x8|1x8x8x8]()@nhwc": "concat",
    "scale_shift[1x16x8x8|1x16x1x1]()@nhwc": "mul",
    "embedding[1x7](rows=20,width=8)@row": "gather",
    "block.downsample[1x16x8x8](out=16,sep=0)@nhwc": "conv",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coreml") / "b"
    units = {key: parse_workload(key) for key in GRAPHS}
    done = write_bundle(units, folder, target="coreml", sources=["toy"], show_progress=False)
    assert (done.models, done.new, done.failed) == (len(GRAPHS) + 1, len(GRAPHS) + 1, {})
    return folder


@pytest.mark.parametrize("key", GRAPHS)
def test_every_kind_converts_without_casts_in_float16(folder: Path, key: str) -> None:
    model = read_manifest(folder).models[key]
    operations = model.graph.split(" + ")
    assert any(operation.split()[-1] == GRAPHS[key] for operation in operations), model.graph
    assert "cast" not in model.graph  # inputs and outputs are float16 as the computation is
    assert {entry.dtype for entry in model.inputs} <= {"float16", "int32"}
    assert json.loads((folder / model.file / "Manifest.json").read_text())["itemInfoEntries"]
    assert digest(folder / model.file) == (model.bytes, model.sha256)


def test_images_are_nchw(folder: Path) -> None:
    model = read_manifest(folder).models["cat[1x16x8x8|1x8x8x8]()@nhwc"]
    assert [entry.shape for entry in model.inputs] == [(1, 16, 8, 8), (1, 8, 8, 8)]


def test_the_module_computes_the_operator() -> None:
    import torch

    for key in ("cat[1x4x8x8|1x2x8x8]()@nhwc", "add[1x4x8x8|1x4x1x1]()@nhwc", "scale_shift[1x4x8x8|1x4x1x1]()@nhwc"):
        module, inputs = coreml_module(parse_workload(key))
        expected = {
            "cat": lambda *xs: torch.cat(xs, 1),
            "add": torch.add,
            "scale_shift": lambda x, scale, shift: x * (1 + scale) + shift,
        }[key.split("[")[0]](*inputs)
        assert torch.equal(module(*inputs), expected)


def test_one_that_cannot_be_converted_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archsearch.latency import coreml

    monkeypatch.setattr(coreml, "_package", lambda *_: 1 / 0)
    with pytest.raises(LatencyError, match=r"coremltools cannot convert it.*exported.*traced"):
        coreml.convert(parse_workload("silu[1x8x4x4]()@nhwc"), tmp_path / "x.mlpackage")


def test_a_converter_that_dies_takes_one_operator_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coremltools that ends the process on the second operator."""
    fake = tmp_path / "site"
    fake.mkdir()
    (fake / "sitecustomize.py").write_text(
        "import archsearch.latency.coreml as c, sys, os\n"
        "def convert(unit, path):\n"
        "    if unit.kind == 'gelu':\n"
        "        print('out of luck', file=sys.stderr, flush=True)\n"
        "        os._exit(7)\n"
        "    return c.CoremlModel(path, (), unit.kind)\n"
        "import runpy\n"
        "if 'archsearch.latency.coreml' in sys.orig_argv:\n"
        "    c.convert = convert\n"
        "    n = sys.orig_argv.index('archsearch.latency.coreml')\n"
        "    with os.fdopen(int(sys.orig_argv[n + 1]), 'w') as stream:\n"
        "        from pathlib import Path\n"
        "        c._work(stream, Path(sys.orig_argv[n + 2]))\n"
        "    os._exit(0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{fake}{os.pathsep}{Path(__file__).parents[2]}")
    units = [parse_workload(f"{kind}[1x8x4]()@row") for kind in ("silu", "gelu", "relu")]
    results = [result for _, result in convert_coreml(units, tmp_path)]
    assert [isinstance(result, CoremlModel) for result in results] == [True, False, True]
    assert results[1] == "the converter ended with code 7: out of luck"


def test_a_bundle_of_packages(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert set(manifest.models) == {*GRAPHS, REFERENCE.key}
    assert manifest.precision == "fp16"
    assert "NCHW" in manifest.layout
    assert "coremltools" in manifest.converter
    assert 'runtime: "Core ML"' in (folder / "device.yaml").read_text()
    assert not (folder / "runner.py").exists()
    assert "Xcode" in (folder / "README.txt").read_text()
    units = {key: parse_workload(key) for key in GRAPHS}
    assert write_bundle(units, folder, target="coreml", show_progress=False).new == 0
    assert list(folder.rglob(".*")) == []
