from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import UNet, check
from archsearch.errors import QualityError
from archsearch.models import build
from archsearch.quality.layout import ranges, widest
from archsearch.quality.parts import parts, space_parts
from archsearch.quality.sampling import drop_blocks, extremes
from archsearch.quality.supernet import Supernet
from tests.quality.networks import VARIETY, network


def shaken(supernet: Supernet) -> Supernet:
    """Move every weight off its initial value, so that nothing is hidden behind zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in supernet.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return supernet


def inputs(side: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 3, side, side, generator=generator),
        torch.tensor([3, 800]),
        torch.randn(2, 16, 64, generator=generator),
    )


def assert_equals_stand_alone(supernet: Supernet, unet: UNet) -> None:
    module = build(unet)
    module.load_state_dict(supernet.export(unet), strict=True)
    sample, timestep, text = inputs()
    with torch.no_grad():
        ours = supernet(sample, timestep, text, unet)
        theirs = module(sample, timestep, text, return_dict=False)[0]
    assert float(theirs.std()) > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_candidates_of_demo_equal_their_stand_alone_modules(demo):
    supernet = shaken(Supernet(demo))
    for unet in (*extremes(demo), *(demo.decode(row) for row in demo.sample(6, seed=5).tolist())):
        assert_equals_stand_alone(supernet, unet)


@pytest.mark.parametrize("number", range(len(VARIETY)))
def test_every_alternative_equals_its_stand_alone_module(number):
    supernet = shaken(Supernet(VARIETY))
    assert_equals_stand_alone(supernet, VARIETY[number])


def test_networks_with_blocks_left_out_equal_their_stand_alone_modules(demo):
    supernet = shaken(Supernet(demo))
    unet = demo.decode(demo.defaults())
    places = []
    drop_blocks(unet, lambda block, place: bool(places.append(place)))
    for place in places[::3]:
        thinner = drop_blocks(unet, lambda block, here, place=place: here == place)
        assert thinner != unet
        assert_equals_stand_alone(supernet, thinner)
    bare = drop_blocks(unet, lambda block, place: True)
    check(bare)
    assert_equals_stand_alone(supernet, bare)


def test_a_space_is_covered_without_enumeration(tiny):
    members = [tiny.decode(encoding) for encoding in tiny.enumerate()]
    assert len(members) == tiny.size() > 100
    assert Supernet(tiny).dims == Supernet(members).dims
    every = {part for unet in members for part in parts(unet) if part.role not in ("push", "join")}
    assert every <= set(space_parts(tiny))


def test_slices_are_the_first_channels_of_each_part():
    """A narrow network reads nothing outside its slices: the rest of the weights may be anything."""
    narrow, wide = VARIETY[1], VARIETY[0]
    supernet = shaken(Supernet([narrow, wide]))
    sample, timestep, text = inputs()
    with torch.no_grad():
        before = supernet(sample, timestep, text, narrow)
        weight = supernet.weights[
            "up/1/0/residual/0/conv1/full/weight"
        ]  # joins 16 or 8 channels with a skip of 16 or 8
        assert supernet.dims["up/1/0/residual/0/conv1/full/weight"] == ((16,), (16, 16), (3,), (3,))
        weight[8:] = torch.nan
        weight[:, 8:16] = torch.nan
        weight[:, 24:] = torch.nan
        gate = supernet.weights["middle/transformer/0/blocks/0/ff/geglu/in/weight"]  # value rows, then gate rows
        assert supernet.dims["middle/transformer/0/blocks/0/ff/geglu/in/weight"] == ((64, 64), (16,))
        gate[12:64] = torch.nan
        gate[64 + 12 :] = torch.nan
        gate[:, 8:] = torch.nan
        after = supernet(sample, timestep, text, narrow)
        assert supernet(sample, timestep, text, wide).isnan().any()
    assert torch.equal(before, after)


def test_alternatives_do_not_share_what_is_not_a_slice(demo):
    supernet = Supernet(demo)

    def names(**choices: object) -> set[str]:
        return set(supernet.shared_names(demo.decode(demo.encoding(choices))))

    base, separable, shared = names(), names(separable="coarser"), names(shared_kv=True)
    assert not {name for name in separable & base if "down/2/0/residual/0/conv" in name and "shortcut" not in name}
    assert base - shared == {name for name in base if "/to_k/" in name}  # keys and values both take those of the values
    assert shared <= base
    assert names(ff_expansion=2) == base  # a slice


def test_initial_weights_are_functions_of_seed_and_name(tiny):
    first, again, other = Supernet(tiny, 1), Supernet(tiny, 1), Supernet(tiny, 2)
    part = Supernet([tiny.decode(tiny.defaults())], 1)
    for name, weight in first.weights.items():
        assert torch.equal(weight, again.weights[name])
        if name in part.weights and part.dims[name] == first.dims[name]:
            assert torch.equal(weight, part.weights[name])
    assert not torch.equal(first.weights["conv_in/weight"], other.weights["conv_in/weight"])


def test_residual_branches_start_silent(tiny):
    supernet = Supernet(tiny)
    sample, timestep, text = inputs(32)
    unet = tiny.decode(tiny.defaults())
    with torch.no_grad():
        assert supernet(sample, timestep, text, unet).abs().max() < 0.6  # the bias of the last convolution alone
        supernet.weights["head/conv_out/weight"].normal_()
        whole = supernet(sample, timestep, text, unet)
        places = ("down.0.0.0", "down.1.0.1", "middle.0", "up.1.0.1")
        cut = drop_blocks(unet, lambda block, place: place in places)
        assert cut != unet
        biases = {
            n: w.clone() for n, w in supernet.weights.items() if n.endswith(("conv2/full/bias", "proj_out/conv/bias"))
        }
        for name in biases:
            supernet.weights[name].zero_()
        torch.testing.assert_close(supernet(sample, timestep, text, unet), supernet(sample, timestep, text, cut))
    assert whole.isfinite().all()


def test_gradients_reach_what_a_candidate_uses_and_nothing_else(tiny):
    supernet = shaken(Supernet(tiny))
    unet = tiny.decode(tiny.encoding({"bottom": 8, "shared_kv": True}))
    sample, timestep, text = inputs(32)
    supernet(sample, timestep, text, unet).square().mean().backward()
    used = set(supernet.shared_names(unet))
    for name, weight in supernet.weights.items():
        assert (weight.grad is not None) == (name in used), name
    sliced = supernet.weights["down/1/0/residual/0/norm2/weight"].grad
    assert sliced[:8].abs().min() > 0
    assert not sliced[8:].any()


def test_networks_that_are_not_covered_are_refused(tiny, demo):
    supernet = Supernet(tiny)
    for unet in (demo.decode(demo.defaults()), network(), network(depth=3)):
        with pytest.raises(QualityError):
            supernet.plan(unet)
    wide = Supernet([network(bottom=8)])
    with pytest.raises(QualityError, match="not covered by the supernet"):
        wide.plan(network(bottom=16))


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ([], "at least one network"),
        ([network(), network(norm_groups=8)], "norm_groups"),
        ([network(), network(out_channels=6)], "out_channels"),
        ([network(time_shift="scale_shift"), network()], "time_shift"),
    ],
)
def test_networks_that_share_too_little_are_refused(networks, message):
    with pytest.raises(QualityError, match=message):
        Supernet(networks)


def test_scale_and_shift_of_time_is_covered():
    unet = network(time_shift="scale_shift", block=VARIETY[0].middle[1].blocks[0])
    assert_equals_stand_alone(shaken(Supernet([unet, network(time_shift="scale_shift", bottom=24)])), unet)


segments = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


@given(segments, st.data())
@settings(max_examples=100, deadline=None)
def test_ranges_take_the_first_of_every_segment(full, data):
    count = data.draw(st.integers(1, len(full)))
    part = tuple(data.draw(st.integers(1, room)) for room in full[:count])
    expected = [sum(full[:k]) + i for k, length in enumerate(part) for i in range(length)]
    found = ranges(part, full)
    spans = ((0, sum(full)),) if found is None else found
    assert [start + i for start, length in spans for i in range(length)] == expected
    assert (found is None) == (part == full)
    assert widest((part,), (full,)) == (full,)


def test_ranges_refuse_what_does_not_fit():
    for part, full in (((3,), (2,)), ((1, 1), (2,)), ((1, 3), (4, 2))):
        with pytest.raises(ValueError, match="does not fit"):
            ranges(part, full)
