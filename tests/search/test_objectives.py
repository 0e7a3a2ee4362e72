import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.errors import SearchError
from archsearch.search.objectives import (
    QUANTITIES,
    Constraint,
    Objective,
    Range,
    check_reachable,
    default_objectives,
    distinct,
    parse_constraint,
    parse_objective,
    table_refs,
    violation,
)

TABLES = {"phone": "phone", "./tables/host": "host"}


@pytest.mark.parametrize("name", ["params", "macs", "memory", "size", "quality", "latency:phone"])
def test_objective_names_parse_back(name):
    objective = parse_objective(name, TABLES)
    assert objective.name == name
    assert parse_objective(f"  {name} ", TABLES) == objective


def test_a_tables_folder_stands_for_its_name():
    assert parse_objective("latency:./tables/host", TABLES).name == "latency:host"


def test_latency_alone_means_the_only_table():
    assert parse_objective("latency", ["phone"]) == Objective("latency", "phone")
    with pytest.raises(SearchError, match="latency needs a table"):
        parse_objective("latency", TABLES)
    with pytest.raises(SearchError, match="latency needs a table"):
        parse_objective("latency:", TABLES)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("parms", "Did you mean 'params'"), ("qualty", "Did you mean 'quality'"), ("latency:phon", "Did you mean 'phone'"),
     ("params:phone", "unknown objective"), ("", "unknown objective"), ("x" * 10_000, "unknown objective")],
)  # fmt: skip
def test_misspelt_objectives_name_the_nearest(wrong, hint):
    with pytest.raises(SearchError, match=hint) as caught:
        parse_objective(wrong, TABLES)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "limit", "relative"),
    [
        ("params <= 400M", 400e6, False),
        ("params<=400_000_000", 400e6, False),
        ("params <= 1,500", 1500, False),
        ("macs <= 1.5 T", 1.5e12, False),
        ("macs <= 2e9", 2e9, False),
        ("memory <= 64 MB", 64e6, False),
        ("memory <= 64MiB", 64 * 2**20, False),
        ("size <= 4Ki", 4096, False),
        ("size <= 900 k", 900e3, False),
        ("latency:phone <= 12.5 ms", 12.5, False),
        ("latency:phone <= 12.5", 12.5, False),
        ("latency:phone <= 800us", 0.8, False),
        ("latency:phone <= 2 s", 2000, False),
        ("latency:./tables/host <= 60%", 0.6, True),
        ("params <= 37.5 %", 0.375, True),
        ("quality <= 0.05", 0.05, False),
    ],
)
def test_constraints_parse(text, limit, relative):
    constraint = parse_constraint(text, TABLES)
    assert constraint.limit == pytest.approx(limit, rel=1e-12)
    assert constraint.relative is relative
    assert parse_constraint(constraint.text, ["phone", "host"]) == constraint


@pytest.mark.parametrize(
    "text",
    ["", "params", "params <= ", "<= 4", "params >= 4M", "params < 4M", "params = 4M", "params <= -4", "params <= 0",
     "params <= nan", "params <= inf", "params <= 4 ms", "latency:phone <= 4 MB", "quality <= 4k", "params <= 4 Mi",
     "params <= 1e400", "parms <= 4M", "params <= 4M 5", "x" * 5000, "params <= 4\x00"],
)  # fmt: skip
def test_malformed_constraints_are_refused(text):
    with pytest.raises(SearchError):
        parse_constraint(text, TABLES)


@given(
    quantity=st.sampled_from(QUANTITIES),
    limit=st.floats(1e-6, 1e15, allow_nan=False).map(lambda x: float(f"{x:.9g}")),
    relative=st.booleans(),
)
def test_constraint_text_parses_back(quantity, limit, relative):
    objective = Objective(quantity, "phone" if quantity == "latency" else None)
    constraint = Constraint(objective, limit, relative)
    found = parse_constraint(constraint.text, TABLES)
    assert found.objective == objective
    assert found.relative is relative
    assert found.limit == pytest.approx(limit, rel=1e-9)
    assert found.text == constraint.text


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    for parse in (parse_objective, parse_constraint):
        with contextlib.suppress(SearchError):
            parse(text, TABLES)


def test_table_refs_are_those_named():
    assert table_refs(["params", "latency:a", "latency"], ["latency:b <= 3", "latency:a <= 50%", "junk"]) == ("a", "b")


def test_violation_is_a_fraction_of_the_bound():
    assert violation(150, 100) == pytest.approx(0.5)
    assert violation(100, 100) == 0
    assert violation(math.nan, 100) == math.inf
    assert violation(None, 100) == math.inf


def test_defaults_and_repeats():
    assert [o.name for o in default_objectives((), False)] == ["params", "macs"]
    assert [o.name for o in default_objectives(("a", "b"), True)] == ["params", "latency:a", "latency:b", "quality"]
    with pytest.raises(SearchError, match="same objective twice"):
        distinct([Objective("params"), Objective("params")])


def test_unreachable_limits_name_the_nearest_value():
    ranges = {"params": Range(1_000_000, 2_000_000, 4_000_000)}
    baseline = {"params": 4_000_000}
    check_reachable([parse_constraint("params <= 25%")], ranges, baseline)
    check_reachable([parse_constraint("params <= 1M")], ranges, baseline)
    with pytest.raises(SearchError, match=r"at least 1\.000 M.*median 2\.000 M.*largest 4\.000 M"):
        check_reachable([parse_constraint("params <= 999k")], ranges, baseline)
    with pytest.raises(SearchError, match=r"25% of the baseline's 4\.000 M"):
        check_reachable([parse_constraint("params <= 24%")], ranges, baseline)
    with pytest.raises(SearchError, match="baseline's value"):
        check_reachable([parse_constraint("quality <= 24%")], ranges, baseline)


def test_values_for_people():
    assert Objective("params").show(859_520_964) == "859.521 M"
    assert Objective("size").show(3_438_083_856) == "3.202 GiB"
    assert Objective("memory").show(12) == "12 B"
    assert Objective("latency", "t").show(1.23456) == "1.235 ms"
    assert Objective("quality").show(math.nan) == "n/a"
