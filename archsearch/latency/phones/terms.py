"""What a phone model sees of an operator: its class and its terms (calls, FLOPs, bytes of activations and weights)."""

from __future__ import annotations

from math import ceil, prod
from typing import NamedTuple

from archsearch.cost.op import Op

NORM_PASSES = 4  # mean, variance and normalisation read, the result is written
SCORE_PASSES = 6  # scores of an unfused attention are written and read three times, as in latency.fit
CLASSES = (
    "conv1x1", "conv_direct", "conv_winograd", "depthwise", "vector", "cat", "elementwise", "add", "norm",
    "attention", "attention_small", "upsample", "small",
)  # fmt: skip


class Winograd(NamedTuple):
    """When a runtime runs a 3x3 convolution of stride 1 as Winograd F(4x4): groups of four channels in and out, and
    4x4 tiles, at least so many.

    """

    min_depth: int
    min_tiles: int


class Terms(NamedTuple):
    """The terms of one run: calls, FLOPs (2 x MACs), elements of activations read and written, of weights read."""

    calls: float
    flops: float
    act_elements: float
    weight_elements: float


def op_class(op: Op, winograd: Winograd | None, on_chip: int = 0) -> str:
    """The class whose coefficients describe an operator.

    Attention with at most ``on_chip`` elements of scores is a class of its own: those never leave the chip.
    """
    match op.kind:
        case "conv2d":
            if op.attr("g") > 1:
                return "depthwise"
            if op.attr("k") == 1:
                return "vector" if prod(op.out_shape[2:]) == 1 else "conv1x1"
            return "conv_winograd" if winograd is not None and runs_winograd(op, winograd) else "conv_direct"
        case "linear":
            return "vector" if prod(op.shapes[0][:-1]) == 1 else "conv1x1"
        case "attention":
            return "attention" if op.workspace > on_chip else "attention_small"
        case "group_norm" | "layer_norm" | "rms_norm":
            return "norm"
        case "add":
            return "add"
        case "cat":
            return "cat"
        case "upsample":
            return "upsample"
        case "embedding" | "sinusoid":
            return "small"
        case _:
            return "elementwise"


def runs_winograd(op: Op, rule: Winograd) -> bool:
    """Whether a convolution meets a runtime's rule for Winograd."""
    if op.attr("k") != 3 or op.attr("s") != 1 or op.attr("g") != 1:
        return False
    _, out, height, width = op.out_shape
    depth = min(ceil(op.shapes[0][1] / 4), ceil(out / 4))
    return depth >= rule.min_depth and ceil(height / 4) * ceil(width / 4) >= rule.min_tiles


def terms(op: Op, on_chip: int = 0) -> Terms:
    """The terms of an operator; ``weight_elements`` leaves biases and norms' parameters out."""
    elements = float(op.moved)
    weights = 0.0
    match op.kind:
        case "conv2d":
            weights = float(op.attr("out") * (op.shapes[0][1] // op.attr("g")) * op.attr("k") ** 2)
        case "linear":
            weights = float(op.attr("out") * op.shapes[0][-1])
        case "attention":
            elements += SCORE_PASSES * op.workspace if op.workspace > on_chip else 0
        case "group_norm" | "layer_norm" | "rms_norm":
            elements = float(NORM_PASSES * prod(op.out_shape))
        case "embedding":
            elements = 2.0 * prod(op.out_shape)
        case "add":  # merged into the kernel that makes one of the two: what is left is to read the other
            elements = float(min(prod(shape) for shape in op.shapes))
    return Terms(1.0, 2.0 * op.macs, elements, weights)
