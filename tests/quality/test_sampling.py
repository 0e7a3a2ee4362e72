from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import Block, Transformer, UNet, arch_id, check, walk
from archsearch.cost import lower, totals
from archsearch.quality.config import TrainConfig
from archsearch.quality.sampling import NetworkSampler, drop_blocks, extremes


def blocks(unet: UNet) -> list[Block]:
    return [step.value for step in walk(unet) if step.role == "block"]


def places(unet: UNet) -> list[str]:
    found: list[str] = []
    drop_blocks(unet, lambda block, place: bool(found.append(place)))
    return found


def config(**changes: float) -> TrainConfig:
    still = dict.fromkeys(("share_largest", "share_smallest", "drop_residual", "drop_transformer"), 0.0)
    return TrainConfig(**{"steps": 1, "warmup_steps": 0, **still, **changes})


def test_extremes_are_those_of_the_whole_space(tiny):
    macs = {encoding: totals(lower(tiny.decode(encoding), tiny.conditions)).macs for encoding in tiny.enumerate()}
    largest, smallest = extremes(tiny)
    assert totals(lower(largest, tiny.conditions)).macs == max(macs.values())
    assert totals(lower(smallest, tiny.conditions)).macs == min(macs.values())


def test_networks_are_functions_of_seed_and_step(tiny):
    settings_ = config(drop_residual=0.2, drop_transformer=0.2, share_largest=0.2)
    forward = NetworkSampler(tiny, settings_)
    backward = NetworkSampler(tiny, settings_)
    steps = [0, 1, 2, 255, 256, 257, 1000]
    found = [forward.network(step) for step in steps]
    assert found == [backward.network(step) for step in reversed(steps)][::-1]
    other = NetworkSampler(tiny, config(drop_residual=0.2, drop_transformer=0.2, share_largest=0.2, seed=1))
    assert found != [other.network(step) for step in steps]


def test_networks_are_uniform_over_the_space(tiny):
    sampler = NetworkSampler(tiny, config())
    size, each = tiny.size(), 12
    counts = Counter(arch_id(sampler.network(step)) for step in range(size * each))
    observed = np.array(list(counts.values()) + [0] * (size - len(counts)))
    freedom = size - 1
    chi_square = float(((observed - each) ** 2 / each).sum())
    assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5


def test_extremes_take_their_shares(tiny):
    sampler = NetworkSampler(tiny, config(share_largest=0.3, share_smallest=0.2))
    found = [sampler.network(step) for step in range(600)]
    assert 0.24 < sum(unet == sampler.largest for unet in found) / 600 < 0.36
    assert 0.15 < sum(unet == sampler.smallest for unet in found) / 600 < 0.26


def test_the_largest_fades_over_the_warmup(tiny):
    sampler = NetworkSampler(tiny, config(warmup_steps=1000))
    found = [sampler.network(step) == sampler.largest for step in range(1500)]
    assert sum(found[:100]) > 85
    assert 30 < sum(found[450:550]) < 70
    assert sum(found[1000:]) < 25


def test_every_block_is_dropped_at_its_rate(tiny):
    sampler = NetworkSampler(tiny, config(share_largest=1.0, drop_residual=0.1, drop_transformer=0.4))
    whole = blocks(sampler.largest)
    transformers = sum(isinstance(block, Transformer) for block in whole)
    residuals = sum(block.kind == "residual" for block in whole)
    left = [blocks(sampler.network(step)) for step in range(400)]
    rate_t = 1 - np.mean([sum(isinstance(b, Transformer) for b in found) for found in left]) / transformers
    rate_r = 1 - np.mean([sum(b.kind == "residual" for b in found) for found in left]) / residuals
    assert abs(rate_t - 0.4) < 0.05
    assert abs(rate_r - 0.1) < 0.04


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_left_is_consistent_and_only_smaller(tiny, data):
    unet = tiny.decode(data.draw(st.sampled_from(tiny.sample(50, 1).tolist())))
    gone = data.draw(st.sets(st.sampled_from(places(unet))))
    thinner = drop_blocks(unet, lambda block, place: place in gone)
    check(thinner)
    ends = [[step.out_channels for step in walk(x) if step.role in ("push", "join", "head")] for x in (unet, thinner)]
    assert ends[0] == ends[1]  # the skips, the joins and the output keep their widths
    assert drop_blocks(unet, lambda block, place: False) == unet
    before, after = (totals(lower(x, tiny.conditions)).params for x in (unet, thinner))
    assert after < before if gone else after == before


def test_all_blocks_of_the_demo_space_can_be_dropped(demo):
    unet = demo.decode(demo.defaults())
    left = blocks(drop_blocks(unet, lambda block, place: True))
    assert {block.kind for block in left} == {"shortcut"}
    for place in places(unet):
        assert drop_blocks(unet, lambda block, here, place=place: here == place) != unet
