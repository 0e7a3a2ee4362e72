"""Whole networks: names, rows on disk, resuming, and the real path through converter and runtime."""

import json
from pathlib import Path

import pytest

from archsearch.arch import arch_id
from archsearch.cost import Conditions, totals
from archsearch.cost.lowering import lower
from archsearch.errors import ArchsearchError, LatencyError
from archsearch.latency import whole as whole_room
from archsearch.latency.calibrate import calibrate, repeatability
from archsearch.latency.candidates import candidate, draw, whole_of
from archsearch.latency.conversion import OpModel
from archsearch.latency.models_csv import COLUMNS, MODELS, ModelRow, models_bytes, read_models
from archsearch.latency.table import load_table
from archsearch.latency.targets import OpFailedError, Timings
from archsearch.latency.whole import Whole, measure_whole
from archsearch.latency.write import write_table
from archsearch.space import load_space
from tests.conftest import assert_one_line_error, require, run_cli
from tests.latency.tables import HEAD, formula_ms, row

DEMO = load_space("demo")


def test_draws_reach_over_the_whole_range_of_work_and_repeat() -> None:
    wholes = draw(DEMO, 6, seed=3)
    macs = [totals(lower(one.arch, one.conditions)).macs for one in wholes]
    assert macs == sorted(macs)
    assert [one.name for one in draw(DEMO, 6, seed=3)] == [one.name for one in wholes]
    assert [one.name for one in draw(DEMO, 6, seed=4)] != [one.name for one in wholes]
    many = DEMO.batch_scorer().score(DEMO.sample(400, 1)).macs
    assert macs[0] < sorted(many)[100]
    assert macs[-1] > sorted(many)[300]


def test_a_name_leads_back_to_its_network() -> None:
    for one in draw(DEMO, 3, seed=1):
        assert arch_id(whole_of(one.name).arch) == one.id
    assert whole_of("sd15").conditions.latent == (64, 64)


@pytest.mark.parametrize("name", ["demo:1.2.x", "demo:1", "demo:999.0.0", "nothing", "demo:", "../demo:0"])
def test_names_that_lead_nowhere_are_refused(name: str) -> None:
    with pytest.raises(ArchsearchError):
        whole_of(name)


WHEN = "2026-11-21T08:00:00Z"
ROW = ModelRow("demo:0", "abc", "32x32", 16, 1, 8.5, 8.25, 9.0, 20, 1, "steady", 12.5, 0.6875, 8.5, "ADD", WHEN)


def test_rows_are_read_back(tmp_path: Path) -> None:
    (tmp_path / MODELS).write_bytes(models_bytes([ROW, ROW._replace(name="b")]))
    assert read_models(tmp_path) == [ROW, ROW._replace(name="b")]
    assert read_models(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("8.5,8.25", "nan,8.25", "models.csv:2: latency_ms"),
        ("8.5,8.25", "-1,8.25", "models.csv:2: latency_ms"),
        ("8.5,8.25", "1e999,8.25", "models.csv:2: latency_ms"),
        (",20,", ",many,", "models.csv:2: runs"),
        ("steady", "calm", "models.csv:2: timing"),
        ("demo:0", "", "models.csv:2: name"),
        ("latency_ms", "ms", "models.csv:1"),
        ("steady,", "", "models.csv:2"),
        ("08:00:00Z\n", "08:0", "cut off"),
    ],
)
def test_damaged_rows_are_refused_with_their_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = models_bytes([ROW]).decode()
    assert old in text
    (tmp_path / MODELS).write_text(text.replace(old, new, 1))
    with pytest.raises(LatencyError, match=words):
        read_models(tmp_path)
    assert len(COLUMNS) == 16


class FakeRunner:
    """Answers at once; refuses the second network the first time."""

    runtime, version, quiet_ms = "none", "0", 1.0

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def time(self, path: Path, *, max_seconds: float = 10.0, precision: float = 0.02) -> Timings:
        self.log.append(path.stem)
        if self.log.count(path.stem) == 1 and len(self.log) == 2:
            raise OpFailedError("out of memory")
        return Timings((5_000_000,) * 5, (5_000_000,) * 5, 0, "steady", (1_000_000,))

    def __enter__(self) -> "FakeRunner":
        return self

    def __exit__(self, *_: object) -> None: ...


class FakeDevice:
    def __init__(self) -> None:
        self.log: list[str] = []

    def start(self, reference: Path, quiet_ms: float | None) -> FakeRunner:
        return FakeRunner(self.log)


def test_a_run_that_breaks_off_keeps_its_rows_and_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(one: Whole, cache: Path, seed: int = 0) -> OpModel:
        path = cache / f"{one.id}.tflite"
        path.write_bytes(b"x")
        path.with_suffix(".json").write_text("{}")
        return OpModel(one.id, path, "ADD", 0)

    monkeypatch.setattr(whole_room, "convert_whole", convert)
    wholes = draw(DEMO, 3, seed=1)
    device = FakeDevice()

    def run() -> list[ModelRow]:
        return measure_whole(wholes, tmp_path, device, reference=tmp_path, quiet_ms=1.0, cache=tmp_path,
                             repeats=2)  # type: ignore[arg-type]  # fmt: skip

    with pytest.raises(LatencyError, match="out of memory"):
        run()
    assert [r.name for r in read_models(tmp_path)] == [wholes[0].name]
    assert len(run()) == 5
    names = [r.name for r in read_models(tmp_path)]
    assert names == [one.name for one in wholes] * 2  # every network once before any again
    assert run() == []
    assert not list(tmp_path.glob("*.tflite"))


def test_repeatability() -> None:
    assert repeatability([[1.0], [2.0]]) is None
    assert repeatability([[1.0, 1.1], [2.0, 2.0], [3.0]]) == pytest.approx(0.1 / 1.05 / 2)


def test_calibrating_on_rows_that_are_there(tmp_path: Path) -> None:
    wholes = draw(DEMO, 4, seed=2)
    folder = tmp_path / "t"
    ops = {op for one in wholes for op in (located.op for located in lower(one.arch, one.conditions).ops())}
    write_table(folder, HEAD, [row(op, formula_ms(op)) for op in ops])
    sums = {one.name: sum(formula_ms(o.op) for o in lower(one.arch, one.conditions).ops()) for one in wholes}
    rows = [ROW._replace(name=name, latency_ms=1.2 * ms, p90_ms=2 * ms) for name, ms in sums.items()]
    rows.append(ROW._replace(name="a network that nobody knows"))
    (folder / MODELS).write_bytes(models_bytes(rows))
    found, predicted_ms, measured_ms = calibrate(load_table(folder), folder)
    assert found.factor == pytest.approx(1.2, rel=1e-3)
    assert set(measured_ms) == set(predicted_ms) == set(sums)
    assert max(map(abs, found.errors)) < 1e-3
    assert load_table(folder).calibration is not None
    shown = run_cli("latency", "calibrate", "--table", str(folder))
    assert "factor 1.200" in shown.stdout
    told = json.loads(run_cli("latency", "calibrate", "--table", str(folder), "--json").stdout)
    assert told["schema"] == "archsearch.latency_calibrate/1"
    assert len(told["models"]) == 4


def test_too_few_rows(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    write_table(folder, HEAD, [])
    refused = run_cli("latency", "calibrate", "--table", str(folder))
    assert_one_line_error(refused)
    assert "too few whole models" in refused.stderr


def test_a_small_network_is_converted_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("litert", "litert_torch", "ai_edge_litert")
    from archsearch.latency.calibrate import measure_for
    from archsearch.latency.measure import measure

    monkeypatch.setenv("ARCHSEARCH_CACHE", str(tmp_path / "cache"))
    one = candidate(DEMO, DEMO.defaults())
    folder = tmp_path / "t"
    first = next(lower(one.arch, one.conditions).ops()).op
    measure([first], folder, max_seconds=0.2, show_progress=False)
    (found,) = measure_for(load_table(folder), folder, [one], repeats=1, seconds=0.5)
    assert found.arch_id == one.id
    assert "CONV_2D" in found.graph
    assert found.latency_ms > 0
    assert read_models(folder)[0].name == one.name
    assert one.conditions == Conditions(latent=DEMO.conditions.latent, text=DEMO.conditions.text)
