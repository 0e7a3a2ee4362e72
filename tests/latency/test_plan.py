from pathlib import Path

import pytest

from archsearch.cost.op import Op
from archsearch.latency.plan import Plan, Source, make_plan
from archsearch.latency.table import load_table
from tests.latency.tables import OPS, conv, write_toy


def planned(op: Op) -> Plan:
    return make_plan([Source.single("x", [op])])


def test_plan_counts_distinct_held_and_missing(tmp_path: Path) -> None:
    table = load_table(write_toy(tmp_path / "toy", OPS[:10]))
    plan = make_plan([Source.single("a", OPS[:12]), Source.single("b", OPS[8:16])], table)
    assert len(plan.units) == 16
    assert plan.held == 10
    assert set(plan.missing) == set(OPS[10:16])
    users = {each.unit: each.users for each in plan.units}
    assert (users[OPS[9]], users[OPS[0]], users[OPS[15]]) == ((1, 1), (1, 0), (0, 1))
    kinds = plan.kinds()
    assert sum(k.distinct for k in kinds) == 16
    assert sum(k.held for k in kinds) == 10
    assert sum(k.seconds for k in kinds) == pytest.approx(plan.measure_seconds)
    assert plan.measure_seconds > 0
    assert plan.convert_seconds > 0


def test_what_most_candidates_use_comes_first() -> None:
    units = {op.key: op for op in OPS[:3]}
    many = Source(name="many", candidates=10**30, units=units, users=dict(zip(units, (5, 10**30, 10**29), strict=True)))
    plan = make_plan([many])
    assert [each.unit for each in plan.units] == [OPS[1], OPS[2], OPS[0]]
    assert [each.users for each in plan.units] == [(10**30,), (10**29,), (5,)]


def test_blocks_stand_after_operators_and_take_time() -> None:
    from archsearch.arch import load_preset
    from archsearch.cost import lower

    pieces = lower(load_preset("sd15").architecture).pieces
    block = next(span.block for piece in pieces for span in piece.trace.blocks)
    plan = make_plan([Source.single("x", [block, *OPS[:2]])])
    assert [each.is_block for each in plan.units] == [False, False, True]
    assert plan.units[-1].seconds > 0
    assert [k.kind for k in plan.kinds()] == ["conv2d", block.kind]


def test_nothing_to_measure_takes_no_time(tmp_path: Path) -> None:
    table = load_table(write_toy(tmp_path / "toy", OPS))
    plan = make_plan([Source.single("x", OPS)], table)
    assert (plan.missing, plan.convert_seconds, plan.measure_seconds) == ((), 0.0, 0.0)


def test_bigger_operators_take_longer_to_measure() -> None:
    assert planned(conv(8, 8, 8)).measure_seconds < planned(conv(320, 320, 64)).measure_seconds <= 10
