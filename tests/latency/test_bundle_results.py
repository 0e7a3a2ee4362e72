"""Filled bundles as a stranger might send them: what is wrong is refused with file and line, and touches nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import LatencyError
from archsearch.latency.bundle_manifest import (
    MANIFEST,
    BundleModel,
    Input,
    Manifest,
    digest,
    to_text,
)
from archsearch.latency.bundle_read import read_manifest, safe_file
from archsearch.latency.bundle_results import quantiles, read_filled
from archsearch.latency.bundle_texts import RESULT_COLUMNS
from archsearch.latency.imports import Options, import_rows, read, read_device
from archsearch.latency.table import load_table
from tests.latency.tables import conv, linear

OPS = [conv(8, 8, 8), conv(8, 16, 8), linear(4, 8, 16)]
KEYS = [op.key for op in OPS]
DEVICE = """device: "toy phone"
soc: toy
runtime: toy
runtime_version: "1"
delegate: gpu
precision: fp16
date: "2026-11-20"
"""


def make(folder: Path, target: str = "litert") -> Path:
    """A bundle of three models that are no models, unfilled."""
    models = {}
    for number, op in enumerate(OPS):
        name = f"models/{op.kind}/m{number}" + (".tflite" if target == "litert" else ".mlpackage")
        path = folder / name
        if target == "litert":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"model %d" % number)
        else:
            (path / "Data").mkdir(parents=True)
            (path / "Manifest.json").write_text("{}")
            (path / "Data" / "weights").write_bytes(b"weights %d" % number)
        size, sha256 = digest(path)
        inputs = (Input("x", op.shapes[0], "float32"),)
        models[op.key] = BundleModel(op.key, op.kind, name, size, sha256, inputs, "CONV_2D", op.params, op.macs)
    manifest = Manifest(
        target=target,
        created="2026-11-20T00:00:00Z",
        sources=("toy",),
        converter={"toy": "1"},
        precision="fp32",
        layout="flat",
        protocol="look at a clock.",
        reference=KEYS[0],
        complete=True,
        models=models,
        failed={},
    )
    (folder / MANIFEST).write_text(to_text(manifest))
    (folder / "device.yaml").write_text(DEVICE)
    results(folder, *({} for _ in OPS))
    return folder


def results(folder: Path, *rows: dict[str, str], columns: tuple[str, ...] = RESULT_COLUMNS) -> None:
    lines = [",".join(columns)]
    for key, row in zip(KEYS, rows, strict=False):
        cells = {"key": key, **row}
        lines.append(",".join(f'"{cells.get(name, "")}"' for name in columns))
    (folder / "results.csv").write_text("\n".join(lines) + "\n")


def import_into(folder: Path, table: Path, **options: object) -> object:
    chosen = Options(**options)  # type: ignore[arg-type]
    return import_rows(read(folder, chosen), table, chosen)


@pytest.mark.parametrize("target", ["litert", "coreml"])
def test_partial_results_make_rows(tmp_path: Path, target: str) -> None:
    folder = make(tmp_path / "b", target)
    results(
        folder,
        {"runs": "20", "median_ms": "2", "p10_ms": "1.5", "p90_ms": "3", "min_ms": "1", "reference_ms": "4"},
        {"samples_ms": "3 1 2;4 5"},
        {},
    )
    done = import_into(folder, tmp_path / "t")
    assert done == ("bundle", 2, 0, 0, ())
    table = load_table(tmp_path / "t")
    first, second = table.rows[KEYS[0]], table.rows[KEYS[1]]
    assert (first.latency_ms, first.p10_ms, first.p90_ms, first.runs, first.ratio) == (2, 1.5, 3, 20, 0.5)
    assert (second.latency_ms, second.p10_ms, second.p90_ms, second.runs, second.ratio) == (3, 1.4, 4.6, 5, None)
    assert {row.provenance for row in table.rows.values()} == {"imported"}
    assert (table.device, table.delegate, table.precision, table.threads) == ("toy phone", "gpu", "fp16", 1)
    assert table.reference == KEYS[0]
    assert "look at a clock" in table.protocol


def test_models_need_not_come_back_and_rows_without_quantiles_say_so(tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    for path in folder.rglob("*.tflite"):
        path.unlink()
    results(folder, {"median_ms": "2"}, {"median_ms": "2", "p5_ms": "1", "p95_ms": "3"})
    done = import_into(folder, tmp_path / "t")
    notes = load_table(tmp_path / "t").notes
    for remark in ("1 rows came without quantiles", "1 rows came with p5 and p95", "3 of 3 models were not beside"):
        assert remark in notes
        assert remark in str(done)
    assert load_table(tmp_path / "t").rows[KEYS[1]].p90_ms == 3


def test_the_columns_of_the_iphone_guide_are_enough(tmp_path: Path) -> None:
    folder = make(tmp_path / "b", "coreml")
    row = {"reference_ms": "0.50000", "samples_ms": "1.00000 1.25000 1.50000"}
    results(folder, row, row, columns=("key", "reference_ms", "samples_ms"))
    import_into(folder, tmp_path / "t")
    found = load_table(tmp_path / "t").rows[KEYS[1]]
    assert (found.latency_ms, found.ratio, found.runs) == (1.25, 2.5, 3)


def test_a_table_is_continued_and_never_silently_changed(tmp_path: Path) -> None:
    folder, table = make(tmp_path / "b"), tmp_path / "t"
    results(folder, {"median_ms": "2"})
    import_into(folder, table)
    results(folder, {"median_ms": "2"}, {"median_ms": "3"})
    assert import_into(folder, table)[1:4] == (1, 0, 1)  # type: ignore[index]
    before = {path: path.read_bytes() for path in table.iterdir()}
    results(folder, {"median_ms": "2.5"}, {"median_ms": "3"}, {"median_ms": "4"})
    with pytest.raises(
        LatencyError, match=r"results\.csv:2: the table holds another figure for 1 of the rows.*--replace"
    ):
        import_into(folder, table)
    assert {path: path.read_bytes() for path in table.iterdir()} == before
    assert import_into(folder, table, replace=True)[1:4] == (1, 1, 1)  # type: ignore[index]
    assert load_table(table).rows[KEYS[0]].latency_ms == 2.5
    (folder / "device.yaml").write_text(DEVICE.replace("delegate: gpu", "delegate: cpu"))
    with pytest.raises(LatencyError, match="measured with another delegate; got cpu; allowed: gpu"):
        import_into(folder, table)


ROWS: list[tuple[dict[str, str], str]] = [
    ({"median_ms": "nan"}, "median_ms must be a positive number"),
    ({"median_ms": "-1"}, "median_ms must be a positive number"),
    ({"median_ms": "0"}, "median_ms must be a positive number"),
    ({"median_ms": "inf"}, "median_ms must be a positive number"),
    ({"median_ms": "1,5"}, "median_ms must be a positive number"),
    ({"median_ms": "1e9"}, "median_ms must be a positive number"),
    ({"median_ms": "2", "p10_ms": "nan", "p90_ms": "3"}, "p10_ms must be a positive number"),
    ({"median_ms": "2", "p10_ms": "1"}, "p10_ms and p90_ms come together"),
    ({"median_ms": "2", "p10_ms": "3", "p90_ms": "4"}, "p10_ms <= median_ms <= p90_ms"),
    ({"median_ms": "2", "p5_ms": "1", "p95_ms": "1.5"}, "p5_ms <= median_ms <= p95_ms"),
    ({"median_ms": "2", "min_ms": "3"}, "min_ms <= median_ms"),
    ({"median_ms": "2", "reference_ms": "-4"}, "reference_ms must be a positive number"),
    ({"median_ms": "2", "runs": "many"}, "runs must be a whole number"),
    ({"median_ms": "2", "runs": "-3"}, "runs must be a whole number"),
    ({"median_ms": "2", "runs": "0"}, "a time of no runs"),
    ({"p10_ms": "2", "p90_ms": "3"}, "a row without median_ms and samples_ms"),
    ({"runs": "3"}, "a row without median_ms and samples_ms"),
    ({"samples_ms": "1 2 x"}, "samples_ms must be a positive number"),
    ({"samples_ms": "1 -2"}, "samples_ms must be a positive number"),
    ({"samples_ms": "1 2", "runs": "3"}, "runs is not the number of samples"),
    ({"key": "conv2d[1x1x1x1](bias=1,g=1,k=1,out=1,s=1)@nhwc", "median_ms": "2"}, "not a key of this bundle"),
    ({"key": KEYS[0], "median_ms": "2"}, "stands twice, first in line 2"),
    ({"file": "models/conv2d/m0.tflite", "median_ms": "2"}, "not the file of this key"),
]


@pytest.mark.parametrize(("row", "message"), ROWS)
def test_impossible_rows_are_refused_with_their_line(tmp_path: Path, row: dict[str, str], message: str) -> None:
    folder = make(tmp_path / "b")
    results(folder, {"median_ms": "1"}, row)
    with pytest.raises(LatencyError, match=r"results\.csv:3: " + message):
        import_into(folder, tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("key,", "name,", 1), r":1: unknown column; got name"),
        (lambda text: text.replace("runs,", "key,", 1), r":1: a column stands twice"),
        (lambda text: "", r":1: lacks key"),
        (lambda text: text[: text.rindex(KEYS[2]) + 12], r":4: not CSV"),
        (lambda text: text[: text.rindex('"","","",""')], r":4: a row has another number of cells \(truncated\?\)"),
        (lambda text: text.replace('"",""', '"a"b,""', 1), r":2: not CSV"),
    ],
)
def test_damaged_results_are_refused(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    folder = make(tmp_path / "b")
    path = folder / "results.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(LatencyError, match=r"results\.csv" + message):
        read_filled(folder)
    path.write_bytes(b"key,median_ms\n\xff\xfe")
    with pytest.raises(LatencyError, match=r"results\.csv:2: not UTF-8"):
        read_filled(folder)
    path.unlink()
    with pytest.raises(LatencyError, match="cannot read the results"):
        read_filled(folder)


def test_nothing_filled_in_makes_no_table(tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    with pytest.raises(LatencyError, match="no filled rows"):
        import_into(folder, tmp_path / "t")
    results(folder, {"median_ms": "1"})
    (folder / "device.yaml").write_text('device: ""\nruntime: x\ndate: "2026-11-20"\n')
    with pytest.raises(LatencyError, match="not known for a new table: device"):
        import_into(folder, tmp_path / "t")
    assert not (tmp_path / "t").exists()
    import_into(folder, tmp_path / "t", device="my phone")
    assert load_table(tmp_path / "t").device == "my phone"


def edited(folder: Path, edit: Callable[[dict], object]) -> Path:  # type: ignore[type-arg]
    """The bundle with its manifest edited, a model a line."""
    data = json.loads((folder / MANIFEST).read_text())
    edit(data)
    models = ",\n".join(json.dumps(model) for model in data.pop("models"))
    head = json.dumps(data)[:-1]
    (folder / MANIFEST).write_text(f'{head},\n"models": [\n{models}\n]\n}}\n')
    return folder


FILES = ["../../secret.tflite", "/etc/passwd.tflite", "models/../../x.tflite", "models//x.tflite", "models/./x.tflite",
         "x.tflite", "models/x.bin", "models/a b.tflite", "models/.x.tflite", "models/x\n.tflite", "models\\x.tflite",
         "models/$(reboot).tflite", "", "models/x.tflite/"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_file_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = edited(make(tmp_path / "b"), lambda data: data["models"][1].update(file=name))
    with pytest.raises(LatencyError, match=r"manifest\.json:4: not the name of a model in this bundle"):
        read_filled(folder)


@given(st.text(max_size=40))
def test_any_accepted_name_stays_below_models(name: str) -> None:
    try:
        safe = safe_file(name, "litert", "here")
    except LatencyError:
        return
    assert (Path("/b") / safe).resolve().is_relative_to("/b/models")


EDITS: list[tuple[Callable[[dict], object], str]] = [  # type: ignore[type-arg]
    (lambda d: d.update(schema="archsearch.latency_bundle/9"), r":1: another schema version"),
    (lambda d: d.pop("schema"), r":1: another schema version, or no bundle"),
    (lambda d: d.update(target="tensorrt"), r":1: unknown target; got tensorrt; allowed: litert, coreml"),
    (lambda d: d.update(extra=1), r":1: unknown field; got extra"),
    (lambda d: d["models"][1].update(extra=1), r":4: unknown field; got extra"),
    (lambda d: d["models"][1].update(sha256="00"), r":4: sha256 must be 64 hexadecimal digits"),
    (lambda d: d["models"][1].update(bytes=-1), r":4: bytes must be a whole number"),
    (lambda d: d["models"][1].update(bytes=True), r":4: bytes must be a whole number"),
    (lambda d: d["models"][1].update(key="rm -rf /"), r":4: not the key of an operator"),
    (lambda d: d["models"][1].update(key="conv2d[9999999](a=1)@nhwc"), r":4: not the key of an operator"),
    (lambda d: d["models"][1].update(kind="linear"), r":4: not the kind of its key"),
    (lambda d: d["models"][1].update(key=KEYS[0]), r":4: stands twice"),
    (lambda d: d["models"][1].update(file="models/conv2d/m0.tflite"), r":4: stands twice"),
    (lambda d: d["models"][1].update(inputs=[{"name": "x", "shape": [0], "dtype": "float32"}]), r":4: shape must be"),
    (lambda d: d["models"][1].update(inputs=[{"name": "x", "shape": [1], "dtype": "complex"}]), r":4: unknown dtype"),
    (lambda d: d["models"][1].pop("sha256"), r":4: sha256 must be a text; got nothing"),
    (lambda d: d["models"].append(7), r":6: must be an object; got int"),
    (lambda d: d.update(complete="yes"), r":1: complete must be true or false"),
    (lambda d: d.update(failed={"x": 1}), r":1: failed must be an object of texts"),
    (lambda d: d.update(sources=[1]), r":1: sources must be texts"),
]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_hostile_manifests_are_refused_with_their_line(
    tmp_path: Path,
    edit: Callable[[dict], object],
    message: str,  # type: ignore[type-arg]
) -> None:
    folder = edited(make(tmp_path / "b"), edit)
    results(folder, {"median_ms": "1"})
    with pytest.raises(LatencyError, match=r"manifest\.json" + message):
        import_into(folder, tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-40], r":\d+: not valid JSON, or cut off"),
        (lambda text: text.replace('"complete"', '"target"'), r":\d+: a key stands twice; got target"),
        (lambda text: text.replace('"params": 584', '"params": NaN'), r":14: not a JSON value; got NaN"),
        (lambda text: text.replace('"params": 584', '"params": 1e999'), "not a usable JSON value"),
        (lambda text: text.replace('"params": 584', '"params": ' + "9" * 5000), "not a usable JSON value"),
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: "[]", ":1: the top level must be an object"),
        (lambda text: "", ":1: not valid JSON"),
    ],
)
def test_damaged_manifests_are_refused(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    folder = make(tmp_path / "b")
    path = folder / MANIFEST
    path.write_text(change(path.read_text()))
    with pytest.raises(LatencyError, match=r"manifest\.json" + message if message[0] == ":" else message):
        read_manifest(folder)
    path.write_bytes(b'{"schema":\n"\xff"}')
    with pytest.raises(LatencyError, match=r"manifest\.json:2: not UTF-8"):
        read_manifest(folder)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 2000), what=st.sampled_from(list('{}[]",:0x\n\x00')))
def test_a_manifest_with_one_byte_changed_reads_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, what: str
) -> None:
    folder = make(tmp_path_factory.mktemp("b"))
    text = (folder / MANIFEST).read_text()
    place %= len(text)
    (folder / MANIFEST).write_text(text[:place] + what + text[place + 1 :])
    try:
        manifest = read_manifest(folder)
    except LatencyError:
        return
    assert all(model.file.startswith("models/") for model in manifest.models.values())


@pytest.mark.parametrize("target", ["litert", "coreml"])
def test_a_changed_model_is_found(tmp_path: Path, target: str) -> None:
    folder = make(tmp_path / "b", target)
    results(folder, {"median_ms": "1"})
    path = (
        next(folder.rglob("m1.tflite")) if target == "litert" else next(folder.rglob("m1.mlpackage")) / "Data/weights"
    )
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with pytest.raises(LatencyError, match=r"m1\..*: not the model of the manifest"):
        import_into(folder, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_models_that_are_links_or_pipes_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    model = next(folder.rglob("m1.tflite"))
    secret = tmp_path / "secret"
    secret.write_bytes(model.read_bytes())
    model.unlink()
    model.symlink_to(secret)
    with pytest.raises(LatencyError, match=r"m1\.tflite: leads out of the bundle"):
        read_filled(folder)
    model.unlink()
    os.mkfifo(model)
    with pytest.raises(LatencyError, match=r"m1\.tflite: leads out of the bundle, or is no file"):
        read_filled(folder)


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = read_manifest(make(tmp_path / "b"))
    assert to_text(manifest) == (tmp_path / "b" / MANIFEST).read_text()
    assert list(manifest.models) == KEYS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red\n", r"device\.yaml:1: colour: unknown field"),
        ("device: [a]\n", r"device\.yaml:1: device: must be a text"),
        ("device: x\nthreads: 0\n", r"device\.yaml:2: threads: must be a positive whole number"),
        ("precision: fp64\n", r"device\.yaml:1: precision: unknown precision; got fp64; allowed: fp32, fp16"),
        ("date: yesterday\n", r"device\.yaml:1: date: not a date"),
        ("device: !!python/object x\n", r"device\.yaml:1"),
        ("- a\n", r"device\.yaml:1: the top level must be a mapping"),
    ],
)
def test_wrong_descriptions_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "device.yaml"
    path.write_text(text)
    with pytest.raises(LatencyError, match=message):
        read_device(path)


def test_numbers_in_a_description_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text("os: 17\nruntime_version: 17.4\nsoc:\nthreads: 2\n")
    assert read_device(path) == {"os": "17", "runtime_version": "17.4", "soc": "", "threads": 2}


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=50))
def test_quantiles_stand_in_order_within_the_samples(samples: list[float]) -> None:
    found = quantiles(samples)
    assert min(samples) <= found["p10_ms"] <= found["median_ms"] <= found["p90_ms"] <= max(samples)


def test_what_cannot_be_imported_says_what_can(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(LatencyError, match="allowed: bundle, op-profile, onnxruntime, phones"):
        read(tmp_path / "notes.txt", Options())
    with pytest.raises(LatencyError, match="no such file"):
        read(tmp_path / "absent", Options())
    with pytest.raises(LatencyError, match="not a format that is known"):
        read(tmp_path, Options())
