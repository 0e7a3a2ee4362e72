"""Writing weights of one network into another: the bookkeeping, and convolutions, linear layers and norms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import torch
from torch import Tensor

from archsearch.models import cuts
from archsearch.models.report import How, TensorReport


class Transfer:
    """Target tensors that are written in place, source tensors, and what became of each."""

    def __init__(self, target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
        self.target = target
        self.source = source
        self.used: set[str] = set()
        self._reports: dict[str, TensorReport] = {}

    def has(self, name: str) -> bool:
        """Whether the source has a tensor."""
        return name in self.source

    def take(self, name: str) -> Tensor:
        """A source tensor, marked as used."""
        self.used.add(name)
        return self.source[name].detach()

    def reports(self) -> tuple[TensorReport, ...]:
        """One report per target tensor, in the target's order."""
        return tuple(
            self._reports.get(name) or TensorReport(name, "new", 0, 0, tensor.numel())
            for name, tensor in self.target.items()
        )

    def put(self, name: str, value: Tensor, *axes: Tensor, transformed: bool = False) -> None:
        """Write the positions of ``value`` that ``axes`` (one cut per leading axis) select into a target tensor.

        Axes without a cut must agree.  What no cut covers keeps its initial value and counts as new.
        """
        tensor = self.target[name]
        value = value.to(tensor.device)
        rest = tuple(torch.arange(side) for side in tensor.shape[len(axes) :])
        all_axes = (*axes, *rest)
        kept = [axis >= 0 for axis in all_axes]
        covered = prod(int(mask.sum()) for mask in kept)
        same = tuple(value.shape) == tuple(tensor.shape) and all(
            bool((axis == torch.arange(len(axis))).all()) for axis in all_axes
        )
        with torch.no_grad():
            if same:
                tensor.copy_(value)
            elif covered:
                for dim, (axis, mask) in enumerate(zip(all_axes, kept, strict=True)):
                    value = value.index_select(dim, axis[mask].to(value.device))
                if covered == tensor.numel():
                    tensor.copy_(value)
                else:
                    places = torch.meshgrid(*(mask.nonzero()[:, 0] for mask in kept), indexing="ij")
                    tensor[places] = value.to(tensor.dtype)
        copied = covered if same and not transformed else 0
        sliced = covered - copied
        how: How = "copied" if copied else "sliced" if sliced == tensor.numel() else "partly" if sliced else "new"
        self._reports[name] = TensorReport(name, how, copied, sliced, tensor.numel() - covered)

    def silence(self, target: str) -> None:
        """Zero the layer that a new block adds its output through, so that it starts as the identity."""
        with torch.no_grad():
            for name in ("weight", "bias"):
                if f"{target}.{name}" in self.target:
                    self.target[f"{target}.{name}"].zero_()

    def affine(self, target: str, source: str, cut: Tensor) -> None:
        """A norm's weight and bias (where both have one)."""
        for name in ("weight", "bias"):
            if f"{target}.{name}" in self.target and self.has(f"{source}.{name}"):
                self.put(f"{target}.{name}", self.take(f"{source}.{name}"), cut)

    def linear(self, target: str, source: str, rows: Tensor, columns: Tensor) -> None:
        """A linear layer, or a 1x1 convolution (either may become the other), with its bias."""
        weight = self.take(f"{source}.weight")
        sides = self.target[f"{target}.weight"].dim() - 2
        self.put(f"{target}.weight", weight.reshape(*weight.shape[:2], *(1,) * sides), rows, columns)
        self.bias(target, self.bias_of(source, weight.shape[0]), rows, given=self.has(f"{source}.bias"))

    def bias_of(self, source: str, rows: int) -> Tensor:
        """A layer's bias; zeros where it has none."""
        return self.take(f"{source}.bias") if self.has(f"{source}.bias") else torch.zeros(rows)

    def bias(self, target: str, value: Tensor, rows: Tensor, *, given: bool) -> None:
        """Write a bias where the target has one; ``given`` says that it is the source's own."""
        if f"{target}.bias" in self.target:
            self.put(f"{target}.bias", value, rows, transformed=not given)

    def convolution(self, target: str, source: str, inputs: Tensor, outputs: Tensor, rank: int = 1) -> None:
        """A 3x3 convolution, full or separable on either side.

        ``rank`` above 1: every input channel stands ``rank`` times in a row in the target (which is separable), so
        that each copy carries one singular pair.
        """
        to_separable = f"{target}.depthwise.weight" in self.target
        from_separable = self.has(f"{source}.depthwise.weight")
        if from_separable and to_separable:
            self._separable(target, source, inputs, outputs)
        elif from_separable:
            self._to_full(target, source, inputs, outputs)
        elif to_separable:
            self._to_separable(target, source, inputs, outputs, rank)
        else:
            weight = self.take(f"{source}.weight")
            size = self.target[f"{target}.weight"].shape[-1]
            resized = weight if size == weight.shape[-1] else cuts.resized_kernel(weight, size)
            self.put(f"{target}.weight", resized, outputs, inputs, transformed=resized is not weight)
            self.bias(target, self.bias_of(source, len(weight)), outputs, given=self.has(f"{source}.bias"))

    def lost_bias(self, target: str, source: str) -> Tensor | None:
        """The bias of a source convolution for which the target's has no place."""
        places = (f"{target}.bias", f"{target}.pointwise.bias")
        if any(place in self.target for place in places):
            return None
        if self.has(f"{source}.depthwise.weight"):
            return self._separable_bias(source) if self.has(f"{source}.pointwise.bias") else None
        return self.take(f"{source}.bias")

    def fold(self, target: str, source: str, lost: Tensor | None, rows: Tensor) -> None:
        """Add a lost bias to the bias of a layer whose output is added at the same place."""
        if lost is not None and self.has(f"{source}.bias"):
            self.put(f"{target}.bias", self.take(f"{source}.bias") + lost, rows, transformed=True)

    def _separable_bias(self, source: str) -> Tensor:
        depthwise, pointwise = self.take(f"{source}.depthwise.weight"), self.take(f"{source}.pointwise.weight")
        inner = pointwise[:, :, 0, 0] @ self.bias_of(f"{source}.depthwise", len(depthwise)).to(pointwise)
        return self.bias_of(f"{source}.pointwise", len(pointwise)).to(pointwise) + inner

    def _separable(self, target: str, source: str, inputs: Tensor, outputs: Tensor) -> None:
        depthwise = self.take(f"{source}.depthwise.weight")
        self.put(f"{target}.depthwise.weight", depthwise, inputs)
        self.linear(f"{target}.pointwise", f"{source}.pointwise", outputs, inputs)
        bias = self.bias_of(f"{source}.depthwise", len(depthwise))
        self.bias(f"{target}.depthwise", bias, inputs, given=self.has(f"{source}.depthwise.bias"))

    def _to_full(self, target: str, source: str, inputs: Tensor, outputs: Tensor) -> None:
        depthwise, pointwise = self.take(f"{source}.depthwise.weight"), self.take(f"{source}.pointwise.weight")
        full = cuts.full_from_separable(depthwise, pointwise)
        self.put(f"{target}.weight", full, outputs, inputs, transformed=True)
        self.bias(target, self._separable_bias(source), outputs, given=False)

    def _to_separable(self, target: str, source: str, inputs: Tensor, outputs: Tensor, rank: int) -> None:
        weight = self.take(f"{source}.weight")
        kept = outputs >= 0
        depthwise, pointwise = cuts.separable_from_full(weight[outputs[kept]], rank)
        rows = torch.full_like(outputs, -1)
        rows[kept] = torch.arange(int(kept.sum()))
        columns = inputs if rank == 1 else torch.arange(len(depthwise))
        self.put(f"{target}.depthwise.weight", depthwise, columns, transformed=True)
        self.put(f"{target}.pointwise.weight", pointwise, rows, columns, transformed=True)
        self.bias(f"{target}.depthwise", torch.zeros(len(depthwise)), columns, given=False)
        bias = self.bias_of(source, len(weight))
        self.bias(f"{target}.pointwise", bias, outputs, given=self.has(f"{source}.bias"))

    def unused(self) -> Iterable[str]:
        """Source tensors that nothing was taken from."""
        return (name for name in self.source if name not in self.used)
