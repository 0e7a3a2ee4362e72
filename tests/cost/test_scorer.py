"""The incremental scorer equals the full lowering, whatever it has seen before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import Architecture, Downsample, UNet, Upsample, from_json, load_preset, preset_names, to_json
from archsearch.cost import Conditions, Op, Score, Scorer, count, lower, scorer
from archsearch.cost.block import BlockOp
from archsearch.errors import ArchError, CostError
from tests.strategies import unets


class Quanta:
    """A made-up table: whole quanta, so that sums are exact in any order."""

    def __init__(self, step: int) -> None:
        self.step = step

    def op_latency_ms(self, op: Op) -> float:
        return (self.step + len(op.key) + op.macs % 1009) * 2.0**-20

    def between_ms(self, block: BlockOp) -> float:
        return (self.step - len(block.key) % 5) * 2.0**-20


def full(arch: Architecture, conditions: Conditions, tables: Sequence[Quanta]) -> Score:
    totals = count(arch, conditions)
    lowering = lower(arch, conditions)
    ops = [located.op for located in lowering.ops()]
    blocks = [span.block for piece in lowering.pieces for span in piece.trace.blocks]
    latency_ms = tuple(
        conditions.passes * (sum(map(table.op_latency_ms, ops)) + sum(map(table.between_ms, blocks)))
        for table in tables
    )
    return Score(totals.params, totals.macs, totals.macs_without_attention, totals.weight_bytes,
                 totals.peak_activation_bytes, latency_ms)  # fmt: skip


@pytest.mark.parametrize("name", preset_names())
def test_presets(name: str) -> None:
    preset = load_preset(name)
    conditions = Conditions(latent=preset.latent)
    tables = (Quanta(1), Quanta(17))
    assert Scorer(conditions, tables).score(preset.architecture) == full(preset.architecture, conditions, tables)


CONDITIONS = st.builds(
    Conditions,
    latent=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    text=st.integers(1, 77),
    batch=st.integers(1, 3),
    passes=st.integers(1, 2),
    precision=st.sampled_from(["fp32", "fp16", "int8"]),
    attention=st.sampled_from(["fused", "unfused"]),
)


@settings(max_examples=25, deadline=None)
@given(archs=st.lists(unets(), min_size=1, max_size=4), conditions=CONDITIONS)
def test_random_networks_one_after_the_other(archs: list[UNet], conditions: Conditions) -> None:
    tables = (Quanta(3),)
    warm = Scorer(conditions, tables)
    for arch in [*archs, *archs]:
        assert warm.score(arch) == full(arch, conditions, tables)


def test_values_that_share_no_objects() -> None:
    arch = load_preset("mobilediffusion").architecture
    warm = Scorer()
    first = warm.score(arch)
    again = from_json(to_json(arch))
    assert again == arch
    assert again is not arch
    assert warm.score(again) == first == full(arch, Conditions(), ())


def test_surroundings_decide_beside_the_block() -> None:
    """The same block values beside another time width, text width or norm are other pieces for one scorer."""
    arch = load_preset("bk-sdm-tiny").architecture
    assert isinstance(arch, UNet)
    conditions = Conditions(latent=(16, 16))
    warm = Scorer(conditions)
    others = [
        replace(arch, time=replace(arch.time, width=640)),
        replace(arch, text_width=1024),
        replace(arch, norm_groups=16),
        replace(arch, activation="gelu"),
        replace(arch, in_channels=8, out_channels=8),
        replace(arch, conv_out_kernel=1),
        replace(arch, conv_in_channels=640),
    ]
    scores = [warm.score(one) for one in [arch, *others]]
    assert scores == [full(one, conditions, ()) for one in [arch, *others]]
    assert len({score.params for score in scores}) == 6  # groups and activation have no parameters


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "MAX_REMEMBERED", 5)
    arch = load_preset("sd15").architecture
    assert Scorer().score(arch) == full(arch, Conditions(), ())


def test_an_inconsistent_network_is_refused() -> None:
    arch = load_preset("sd15").architecture
    assert isinstance(arch, UNet)
    with pytest.raises(ArchError, match="norm_groups must divide the channels"):
        Scorer().score(replace(arch, norm_groups=7))


def test_a_text_too_long_for_the_encoder_is_refused() -> None:
    with pytest.raises(CostError, match="text longer than the encoder's positions"):
        Scorer(Conditions(text=78)).score(load_preset("clip-vit-l14").architecture)


@settings(max_examples=25, deadline=None)
@given(arch=unets(), data=st.data())
def test_known_pieces_do_not_let_a_malformed_network_pass(arch: UNet, data: st.DataObject) -> None:
    """After a sound network, one whose layers or samplers are out of order is refused as by the walk."""
    warm = Scorer(Conditions(latent=(16, 16)))
    warm.score(arch)
    s = data.draw(st.integers(0, len(arch.stages) - 1))
    stage = arch.stages[s]
    other = data.draw(
        st.sampled_from(
            [
                replace(stage, up=stage.up[:-1]),
                replace(stage, up=(*stage.up, stage.up[0])),
                replace(stage, up=((), *stage.up[1:])),
                replace(stage, down=(*stage.down, ())),
                replace(stage, downsample=None if stage.downsample else Downsample(channels=8)),
                replace(stage, upsample=None if stage.upsample else Upsample(channels=8)),
            ]
        )
    )
    broken = replace(arch, stages=(*arch.stages[:s], other, *arch.stages[s + 1 :]))
    with pytest.raises(ArchError) as expected:
        count(broken, warm.conditions)
    with pytest.raises(ArchError) as found:
        warm.score(broken)
    assert str(found.value) == str(expected.value)
