"""A supernet: one set of shared weights from which every network of a space takes its paths and slices.

Weights are stored at their widest; a candidate runs the modules of :mod:`archsearch.models` on slices of them, part by
part along :func:`archsearch.arch.walk`, so what it computes is what the stand-alone module with the exported weights
computes.  Images are ``x_BCHW``, text states ``text_BLD``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from archsearch.arch.values import Downsample, UNet, Upsample
from archsearch.errors import QualityError
from archsearch.models import blocks
from archsearch.models.embeddings import Sinusoid, TimestepEmbedding
from archsearch.models.paths import located_steps
from archsearch.quality import layout
from archsearch.quality.draws import seed_of
from archsearch.quality.parts import Part, parts, space_parts

if TYPE_CHECKING:
    from archsearch.space import Space

PLANS_KEPT = 4096
ZERO_INITIALISED = ("conv2/full/weight", "conv2/pointwise/weight", "proj_out/linear/weight", "proj_out/conv/weight",
                    "head/conv_out/weight")  # fmt: skip


class _Slice(NamedTuple):
    """A local tensor: which shared one it is cut from, and where along each dimension."""

    local: str
    shared: str
    cuts: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]

    def take(self, weight: Tensor) -> Tensor:
        """The slice of the shared tensor, differentiable."""
        for dim, found in self.cuts:
            pieces = [weight.narrow(dim, start, length) for start, length in found]
            weight = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim)
        return weight


class _Bound(NamedTuple):
    """A part with its module (without weights of its own) and the slices that it runs on."""

    part: Part
    module: nn.Module
    slices: tuple[_Slice, ...]


class Supernet(nn.Module):
    """Shared weights of a space.  ``forward`` runs one candidate."""

    def __init__(self, space: Space | Iterable[UNet], seed: int = 0) -> None:
        """Allocate and initialise the weights.

        Every weight is a pure function of (seed, its name, its shape): residual outputs and the last convolution
        start at zero, norms at the identity, all else as torch does.

        Args:
            space: a search space, or the networks to cover.
            seed: of the initialisation.

        Raises:
            QualityError: the networks differ in what all must share, or have a block that has no place here.
        """
        super().__init__()
        headers, found = _survey(space)
        self.header = _common_header(headers)
        self.dims: dict[str, layout.Dims] = {}
        for part in found:
            for item in layout.tensors(self.header, part):
                known = self.dims.get(item.shared)
                self.dims[item.shared] = item.dims if known is None else layout.widest(known, item.dims)
        self.weights = nn.ParameterDict(
            {name: _initial(name, dims, self.dims, seed) for name, dims in self.dims.items()}
        )
        self._bound: dict[Part, _Bound] = {}
        self._plans: dict[UNet, tuple[_Bound, ...]] = {}
        self._common = blocks.Common.of(self.header)
        time = self.header.time
        self._sinusoid = Sinusoid(time.input_width, flip_sin_to_cos=time.flip_sin_to_cos, freq_shift=time.freq_shift)

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor, arch: UNet) -> Tensor:
        """The prediction of candidate ``arch``.

        Args:
            sample: noisy images [batch, in_channels, H, W].
            timestep: [batch].
            text: text states [batch, tokens, text width].
            arch: a network of the space, or one that is left when blocks are removed from it.

        Raises:
            QualityError: the network is not covered by these weights.
        """
        x, temb = sample, None
        skips: list[Tensor] = []
        for bound in self.plan(arch):
            part = bound.part
            match part.role:
                case "push":
                    skips.append(x)
                case "join":
                    x = torch.cat([x, skips.pop()], dim=1)
                case "embed":
                    temb = self._run(bound, self._sinusoid(timestep).to(sample.dtype))
                case "block":
                    x = self._run(bound, x, temb, text)
                case "upsample":
                    x = self._run(bound, x, (skips[-1].shape[2], skips[-1].shape[3]))
                case _:
                    x = self._run(bound, x)
        return x

    def export(self, arch: UNet) -> dict[str, Tensor]:
        """The weights of a candidate as the state dict of ``archsearch.models.build(arch)``.

        Raises:
            QualityError: the network is not covered by these weights.
        """
        state = {}
        for prefix, bound in self._named(arch):
            for item in bound.slices:
                state[prefix + item.local] = item.take(self.weights[item.shared]).detach().clone().contiguous()
        return state

    def shared_names(self, arch: UNet) -> list[str]:
        """Names of the shared tensors that a candidate uses."""
        return [item.shared for bound in self.plan(arch) for item in bound.slices]

    def plan(self, arch: UNet) -> tuple[_Bound, ...]:
        """The bound parts of a candidate in the order of execution.

        Raises:
            QualityError: the network is not covered by these weights.
        """
        plan = self._plans.get(arch)
        if plan is None:
            _common_header([self.header, arch])
            plan = tuple(self._bind(part) for part in parts(arch))
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            self._plans[arch] = plan
        return plan

    def _run(self, bound: _Bound, *arguments: Any) -> Tensor:
        weights = {item.local: item.take(self.weights[item.shared]) for item in bound.slices}
        result: Tensor = functional_call(bound.module, weights, arguments, strict=True)
        return result

    def _bind(self, part: Part) -> _Bound:
        bound = self._bound.get(part)
        if bound is None:
            slices = []
            for item in layout.tensors(self.header, part):
                full = self.dims.get(item.shared)
                try:
                    if full is None:
                        raise ValueError(f"no {item.shared}")
                    cuts = [layout.ranges(*pair) for pair in zip(item.dims, full, strict=True)]
                except ValueError as problem:
                    raise QualityError(f"not covered by the supernet ({problem})", where=part.spot) from None
                slices.append(
                    _Slice(item.local, item.shared, tuple((d, c) for d, c in enumerate(cuts) if c is not None))
                )
            with torch.device("meta"):
                module = _module(self.header, self._common, part)
            module.requires_grad_(False)
            expected = {item.local: tuple(map(sum, item.dims)) for item in layout.tensors(self.header, part)}
            assert expected == {name: tuple(p.shape) for name, p in module.named_parameters()}, part
            bound = self._bound[part] = _Bound(part, module, tuple(slices))
        return bound

    def _named(self, arch: UNet) -> Iterator[tuple[str, _Bound]]:
        """The parts and the prefix of their weights' names in the stand-alone module."""
        for located, bound in zip(located_steps(arch), self.plan(arch), strict=True):
            yield "time_embedding." if bound.part.role == "embed" else located.path, bound


def _survey(space: Space | Iterable[UNet]) -> tuple[list[UNet], list[Part]]:
    if not isinstance(space, Iterable):
        return list(space.chain.headers), list(dict.fromkeys(space_parts(space)))
    members = list(space)
    return members, list(dict.fromkeys(part for unet in members for part in parts(unet)))


def _common_header(networks: list[UNet]) -> UNet:
    """What all networks share, with the stages left out; only the width after conv_in may differ."""
    if not networks:
        raise QualityError("a supernet needs at least one network")

    def plain(unet: UNet) -> UNet:
        return replace(unet, stages=(), middle=(), conv_in_channels=0)

    header = plain(networks[0])
    for unet in networks[1:]:
        other = plain(unet)
        for name in UNet.__dataclass_fields__:
            if getattr(other, name) != getattr(header, name):
                raise QualityError("all networks of a supernet share this", where=name, got=getattr(other, name),
                                   allowed=getattr(header, name))  # fmt: skip
    for name in ("added", "text_projection"):
        if getattr(header, name) is not None:
            raise QualityError("quality training has no data for this input yet", where=name, allowed="null")
    if header.time.cond_width is not None:
        raise QualityError("quality training has no data for this input yet", where="time.cond_width", allowed="null")
    return header


class _ConvIn(nn.Module):
    def __init__(self, into: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(into, out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_in(x)  # type: ignore[no-any-return]


class _Head(nn.Module):
    def __init__(self, header: UNet, channels: int, out: int) -> None:
        super().__init__()
        kernel = header.conv_out_kernel
        self.conv_norm_out = nn.GroupNorm(header.norm_groups, channels, header.norm_eps)
        self.conv_act = blocks.activation(header.activation)
        self.conv_out = nn.Conv2d(channels, out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))  # type: ignore[no-any-return]


def _module(header: UNet, common: blocks.Common, part: Part) -> nn.Module:
    into = sum(part.segments)
    match part.role:
        case "embed":
            return TimestepEmbedding(into, part.out_channels, header.activation)
        case "conv_in":
            return _ConvIn(into, part.out_channels, header.conv_in_kernel)
        case "head":
            return _Head(header, into, part.out_channels)
        case "downsample":
            assert isinstance(part.value, Downsample)
            return blocks.Downsample(part.value, into)
        case "upsample":
            assert isinstance(part.value, Upsample)
            return blocks.Upsample(part.value, into)
        case "block":
            return blocks.make_block(common, part.value, into)  # type: ignore[arg-type]
    return nn.Identity()  # push and join


def _initial(name: str, dims: layout.Dims, all_dims: dict[str, layout.Dims], seed: int) -> Tensor:
    shape = tuple(map(sum, dims))
    owner, leaf = name.rsplit("/", 1)
    if "norm" in owner.rsplit("/", 1)[-1]:
        return torch.ones(shape) if leaf == "weight" else torch.zeros(shape)
    if name.endswith(ZERO_INITIALISED):
        return torch.zeros(shape)
    weight = all_dims[f"{owner}/weight"]
    inputs = 1
    for dim in weight[1:]:
        inputs *= sum(dim)
    generator = torch.Generator().manual_seed(seed_of("weight", seed, name))
    return (torch.rand(shape, generator=generator) * 2 - 1) / sqrt(inputs)
