"""The forms of GroupNorm that ``benchmarks/group_norm`` compares compute what torch's does."""

import copy

import pytest
import torch
from torch import nn

from benchmarks.group_norm.forms import FORMS, rewritten


def norm(groups: int, channels: int) -> nn.GroupNorm:
    generator = torch.Generator().manual_seed(groups)
    made = nn.GroupNorm(groups, channels)
    for parameter in made.parameters():
        parameter.data = torch.rand(channels, generator=generator) + 0.5
    return made


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("groups", "channels"), [(8, 32), (32, 64), (1, 12), (32, 32)])
def test_equal(name: str, groups: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, channels, 5, 7, generator=generator) * 3 + torch.randn(1, channels, 1, 1, generator=generator)
    one = norm(groups, channels)
    same = rewritten(copy.deepcopy(one), FORMS[name])
    assert (same(x) - one(x)).abs().max() < 1e-5
    assert (
        same.double()(x.double()) - one.double()(x.double())
    ).abs().max() < 1e-6  # one over twelve is stored in fp32


def test_every_norm_of_a_network_is_rewritten() -> None:
    network = nn.Sequential(norm(4, 8), nn.Sequential(nn.Conv2d(8, 8, 1), norm(2, 8)))
    x = torch.randn(1, 8, 4, 4)
    expected = network(x)
    same = rewritten(network, FORMS["matrix"])
    assert not any(isinstance(module, nn.GroupNorm) for module in same.modules())
    assert torch.allclose(same(x), expected, atol=1e-5)
