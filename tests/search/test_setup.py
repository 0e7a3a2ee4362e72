"""From words to a study: what is refused before anything is written, and what is frozen."""

import hashlib
from pathlib import Path

import pytest

from archsearch.cost import count
from archsearch.errors import ArchsearchError, SearchError
from archsearch.latency.table import load_table
from archsearch.search.setup import Request, check_together, load_tables, prepare, start
from archsearch.search.study import open_study
from tests.report.studies import demo_table


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return demo_table(tmp_path_factory.mktemp("tables") / "phone", name="phone")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"objectives": ("latency:phnoe",)}, "unknown latency table 'phnoe'"),
        ({"objectives": ("latency",)}, "latency needs a table"),
        ({"objectives": ("quality",)}, "archsearch quality train"),
        ({"constraints": ("quality <= 1",)}, "archsearch quality train"),
        ({"objectives": ("macs", "macs")}, "same objective twice"),
        ({"constraints": ("params <= 1",)}, "at least 336.515 K"),
        ({"constraints": ("params <= 10%",)}, "16.5% of the baseline's 2.040 M"),
        ({"constraints": ("params < 4M",)}, "upper limit"),
        ({"constraints": ("params <= 4 ms",)}, "unknown unit"),
        ({"trials": 0}, "out of range"),
        ({"population": 1}, "out of range"),
        ({"seed": -1}, "out of range"),
        ({"strategy": "nsga3"}, "Did you mean 'nsga2'"),
        ({"quality": Path("nowhere")}, "nowhere"),
        ({"tables": ("nowhere",)}, "nowhere"),
        ({"space": "dmo"}, "Did you mean 'demo'"),
    ],
)
def test_wrong_requests(wrong, message):
    with pytest.raises(ArchsearchError) as caught:
        prepare(Request(**({"space": "demo"} | wrong)))
    assert message in str(caught.value)


def test_a_request_is_frozen(tmp_path, table):
    request = Request(space="demo", tables=(str(table),), constraints=("latency:phone <= 80%", "params <= 1.5M"))
    prepared = prepare(request)
    config = prepared.config
    assert config.objectives == ("params", "latency:phone")
    assert config.constraints == ("latency:phone <= 80%", "params <= 1500000")
    assert config.bounds["latency:phone <= 80%"] == pytest.approx(0.8 * config.baseline["latency:phone"])
    baseline = prepared.space.decode(prepared.space.defaults())
    assert config.baseline["params"] == count(baseline, prepared.space.conditions).params
    assert config.space.size == prepared.space.size()
    low, median, high = prepared.ranges["latency:phone"]
    assert low < median < high
    assert prepared.ranges["memory"].low == prepared.space.ranges()["peak_activation_bytes"].low
    study = start(tmp_path / "s", prepared)
    assert (study.folder / "space.yaml").read_bytes() == prepared.space.path.read_bytes()
    assert config.space.sha256 == hashlib.sha256(prepared.space.path.read_bytes()).hexdigest()
    assert study.tables[0].rows == load_table(table).rows
    assert study.space.size() == prepared.space.size()
    assert start(tmp_path / "s", prepared).config == study.config


def test_limits_that_exclude_each_other():
    class Space:
        def sample(self, n, seed, limits, tables):
            raise SearchError(f"{limits}")

    from archsearch.search.objectives import parse_constraint

    constraints = [parse_constraint(text) for text in ("memory <= 9", "memory <= 8", "size <= 7", "quality <= 1")]
    bounds = {c.text: c.limit for c in constraints}
    with pytest.raises(SearchError, match=r"'peak_activation_bytes': 8\.0, 'weight_bytes': 7\.0"):
        check_together(Space(), (), constraints, bounds)
    check_together(Space(), (), constraints[:1], bounds)


def test_tables_by_folder_and_by_name(tmp_path, table):
    tables, names = load_tables((str(table),), ("phone", str(table)))
    assert [t.name for t in tables] == ["phone"]
    assert names == {str(table): "phone", "phone": "phone"}
    twin = demo_table(tmp_path / "twin", name="phone")
    with pytest.raises(SearchError, match="two tables of the same name"):
        load_tables((str(table), str(twin)))


def test_a_larger_budget_continues_a_study(tmp_path):
    request = {"space": "demo", "objectives": ("macs",), "trials": 5}
    start(tmp_path / "s", prepare(Request(**request)))
    assert start(tmp_path / "s", prepare(Request(**(request | {"trials": 9})))).config.trials == 9
    assert start(tmp_path / "s", prepare(Request(**request))).config.trials == 9
    assert open_study(tmp_path / "s").config.trials == 9
