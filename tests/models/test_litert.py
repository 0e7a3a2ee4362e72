import math
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.arch.values import (
    Attention,
    FeedForward,
    ResBlock,
    Separable,
    Stage,
    TimeEmbedding,
    Transformer,
    TransformerBlock,
    UNet,
)
from archsearch.cost import Conditions, lower
from archsearch.cost.block import BlockOp
from archsearch.cost.op import Op
from archsearch.errors import LatencyError, ModelError
from archsearch.latency.check import ALLOWED_TRANSPOSES, transposes
from archsearch.latency.modules import OpModule, op_module
from archsearch.models.attention import folded_queries
from archsearch.models.litert import Converted, Job, convert, convert_job, convert_many
from archsearch.models.litert_graph import node_counts, read_model
from tests.conftest import require
from tests.latency.tables import conv, linear

require("litert", "litert_torch", "ai_edge_litert")


def op(kind: str, *shapes: tuple[int, ...], **attrs: int | str) -> Op:
    return Op(kind, shapes, tuple(sorted(attrs.items())))  # type: ignore[arg-type]


IMAGE = (1, 16, 8, 8)
OPS = [
    conv(16, 24, 8),
    conv(16, 24, 8, k=1),
    conv(16, 16, 8, g=16),
    conv(16, 24, 8, s=2),
    conv(16, 16, 9, g=16, s=2),
    conv(3, 16, 8),
    linear(6, 16, 24),
    op("linear", (1, 16), bias=0, out=8),
    op("attention", (1, 64, 2, 8), (1, 7, 2, 8), scores="softmax"),
    op("attention", (1, 64, 4, 8), (1, 64, 1, 8), scores="softmax"),
    op("attention", (1, 64, 4, 8), (1, 64, 2, 8), scores="softmax"),
    op("attention", (1, 64, 2, 8), (1, 7, 2, 8), scores="relu"),
    op("attention", (2, 64, 4, 8), (2, 64, 1, 8), scores="relu"),
    op("group_norm", IMAGE, g=4),
    op("layer_norm", (1, 64, 16)),
    op("rms_norm", (1, 64, 16)),
    op("rms_norm", (1, 64, 2, 8)),
    op("silu", IMAGE),
    op("gelu", (1, 64, 32)),
    op("relu", IMAGE),
    op("mish", IMAGE),
    op("quick_gelu", (1, 7, 32)),
    op("add", IMAGE, IMAGE),
    op("add", IMAGE, (1, 16, 1, 1)),
    op("add", (1, 5, 16), (1, 5, 16)),
    op("mul", (1, 64, 32), (1, 64, 32)),
    op("scale_shift", IMAGE, (1, 16, 1, 1)),
    op("cat", IMAGE, (1, 8, 8, 8)),
    op("cat", (1, 8), (1, 24)),
    op("upsample", IMAGE, h=16, w=16),
    op("sinusoid", (1,), width=32),
    op("embedding", (1, 7), rows=100, width=16),
]


@pytest.fixture(scope="module")
def modules() -> dict[Op, OpModule]:
    return {op: op_module(op) for op in OPS}


@pytest.fixture(scope="module")
def converted(modules: dict[Op, OpModule], tmp_path_factory: pytest.TempPathFactory) -> dict[Op, Converted]:
    folder = tmp_path_factory.mktemp("models")
    jobs = [job(made, folder / f"{i}.tflite") for i, made in enumerate(modules.values())]
    return dict(zip(OPS, convert_many(jobs), strict=True))


def job(made: OpModule, path: Path) -> Job:
    return Job(made.module, made.inputs, path, made.images, made.image_output)


def run(path: Path, made: OpModule) -> Tensor:
    """What LiteRT computes, in the layout of the module's output."""
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(model_path=str(path), num_threads=1)
    model.allocate_tensors()
    details = sorted(model.get_input_details(), key=lambda detail: int(detail["name"].rsplit("_", 1)[1].split(":")[0]))
    for i, (detail, x) in enumerate(zip(details, made.inputs, strict=True)):
        value = x.permute(0, 2, 3, 1) if i in made.images else x
        assert tuple(detail["shape"]) == tuple(value.shape)
        model.set_tensor(detail["index"], value.contiguous().numpy().astype(detail["dtype"]))
    model.invoke()
    y = torch.from_numpy(model.get_tensor(model.get_output_details()[0]["index"]))
    return y.permute(0, 3, 1, 2) if made.image_output else y


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.key)
def test_litert_computes_what_torch_does(op: Op, modules: dict[Op, OpModule], converted: dict[Op, Converted]) -> None:
    made = modules[op]
    torch.testing.assert_close(run(converted[op].path, made), made.module(*made.inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.key)
def test_modules_are_their_operators(op: Op, modules: dict[Op, OpModule]) -> None:
    made = modules[op]
    y = made.module(*made.inputs)
    expected = reference(op, made)
    if made.channels_last:
        y = y.permute(0, 3, 1, 2)
    assert y.shape == (expected.shape if op.kind == "attention" else op.out_shape)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in made.module.parameters()) == op.params


def reference(op: Op, made: OpModule) -> Tensor:
    """The operator in torch's own layout, written down once more."""
    xs = [x.permute(0, 3, 1, 2) if made.channels_last else x for x in made.inputs]
    weights = dict(made.module.named_parameters())
    x = xs[0]
    match op.kind:
        case "conv2d":
            return F.conv2d(x, weights["weight"], weights["bias"], op.attr("s"), op.attr("k") // 2, 1, op.attr("g"))
        case "linear":
            return x @ weights["weight"].T + weights.get("bias", torch.zeros(()))
        case "attention":
            q, k, v = (x.double() for x in xs)
            k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], dim=2) for x in (k, v))
            scores = torch.einsum("blhd,bshd->bhls", q, k) / math.sqrt(q.shape[3])
            relu = dict(op.attrs)["scores"] == "relu"
            scores = scores.relu() / k.shape[1] if relu else scores.softmax(-1)
            return torch.einsum("bhls,bshd->blhd", scores, v).flatten(2).float()
        case "group_norm":
            grouped = x.unflatten(1, (op.attr("g"), -1))
            centred = grouped - grouped.mean((2, 3, 4), keepdim=True)
            normed = (centred / (centred.square().mean((2, 3, 4), keepdim=True) + 1e-5).sqrt()).flatten(1, 2)
            return normed * weights["weight"][:, None, None] + weights["bias"][:, None, None]
        case "layer_norm":
            centred = x - x.mean(-1, keepdim=True)
            normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            return normed * weights["weight"] + weights["bias"]
        case "rms_norm":
            return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights["weight"]
        case "silu":
            return x / (1 + (-x).exp())
        case "gelu":
            return x * (1 + torch.erf(x / math.sqrt(2))) / 2
        case "relu":
            return x.clamp(min=0)
        case "mish":
            return x * torch.tanh(torch.log1p(x.exp()))
        case "quick_gelu":
            return x / (1 + (-1.702 * x).exp())
        case "add":
            return xs[0] + xs[1]
        case "mul":
            return xs[0] * xs[1]
        case "scale_shift":
            return xs[0] + xs[0] * xs[1] + xs[2]
        case "cat":
            return torch.cat(xs, 1)
        case "upsample":
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        case "sinusoid":
            from diffusers.models.embeddings import get_timestep_embedding

            return get_timestep_embedding(x, op.attr("width"), flip_sin_to_cos=True, downscale_freq_shift=0)
        case "embedding":
            return weights["weight"][x]
        case _:
            raise AssertionError(op.kind)


def test_every_kind_is_covered() -> None:
    from typing import get_args

    from archsearch.cost.op import OpKind

    assert {op.kind for op in OPS} == set(get_args(OpKind))


def test_no_stray_transpose(converted: dict[Op, Converted]) -> None:
    for op, found in converted.items():
        assert found.transposes <= ALLOWED_TRANSPOSES.get(op.kind, 0), (op.key, found.graph)
        assert found.transposes == transposes(found.graph)
        assert node_counts(read_model(found.path)).total() >= 1


@pytest.mark.parametrize("op", [OPS[0], OPS[8], OPS[13]], ids=lambda op: op.kind)
def test_cut_out_of_many_is_as_converted_alone(
    op: Op, modules: dict[Op, OpModule], converted: dict[Op, Converted], tmp_path: Path
) -> None:
    alone = convert_job(job(modules[op], tmp_path / "alone.tflite"))
    assert alone.graph == converted[op].graph
    torch.testing.assert_close(run(alone.path, modules[op]), run(converted[op].path, modules[op]), atol=0, rtol=0)


def test_images_written_as_torch_has_them_would_gain_transposes(tmp_path: Path) -> None:
    """The trap that the layout in the key is about."""
    module = nn.Conv2d(16, 16, 3, padding=1, groups=16).eval()
    x = torch.randn(1, 16, 8, 8)
    as_torch = convert_job(Job(module, (x,), tmp_path / "nchw.tflite"))
    as_image = convert(module, (x,), tmp_path / "nhwc.tflite")
    assert as_torch.transposes == 2
    assert as_image.transposes == 0
    assert as_image.graph == "DEPTHWISE_CONV_2D"


class _Sample(nn.Module):
    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.unet(*inputs).sample


def test_single_operators_hold_no_transpose_that_the_whole_model_lacks(tmp_path: Path) -> None:
    from archsearch.models import build

    block = TransformerBlock(
        first=Attention(to="self", heads=2, head_dim=8),
        second=Attention(to="text", heads=2, head_dim=8),
        feed_forward=FeedForward(expansion=2),
    )
    unet = UNet(
        in_channels=3,
        out_channels=3,
        conv_in_channels=16,
        text_width=24,
        norm_groups=4,
        time=TimeEmbedding(input_width=16, width=32),
        stages=(
            Stage(
                down=((ResBlock(channels=16), Transformer(width=16, blocks=(block,))),),
                up=((ResBlock(channels=16, separable=Separable()),), (ResBlock(channels=16),)),
            ),
        ),
    )
    module = _Sample(build(unet)).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape) / math.sqrt(max(parameter[0].numel(), 1)))
    inputs = (torch.randn(1, 3, 8, 8), torch.tensor([7.0]), torch.randn(1, 5, 24))
    whole = convert(module, inputs, tmp_path / "whole.tflite")
    made = OpModule(module, inputs, (0,), True, False)
    torch.testing.assert_close(run(whole.path, made), module(*inputs), atol=1e-4, rtol=1e-4)

    ops = [located.op for located in lower(unet, Conditions(latent=(8, 8), text=5)).ops()]
    distinct = list(dict.fromkeys(ops))
    parts = convert_many([job(op_module(op), tmp_path / f"{i}.tflite") for i, op in enumerate(distinct)])
    nodes = {op: node_counts(read_model(part.path)) for op, part in zip(distinct, parts, strict=True)}
    single: Counter[str] = sum((nodes[op] for op in ops), Counter())
    in_whole = node_counts(read_model(whole.path))
    assert single["TRANSPOSE"] <= in_whole["TRANSPOSE"]
    for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "SOFTMAX", "GELU", "RSQRT", "MEAN"):
        assert single[name] == in_whole[name], name


@pytest.mark.parametrize("scores", ["softmax", "relu"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_shared_key_heads_of_whole_blocks_survive_conversion(kv_heads: int, scores: str, tmp_path: Path) -> None:
    attrs = f"head_dim=8,heads=4,kv={kv_heads},norm=rms_norm,scores={scores},shared=0,to=text"
    block = BlockOp.parse(f"block.attention[1x64x32|1x7x24]({attrs})@row")
    made = op_module(block)
    with torch.no_grad():
        expected = made.module(*made.inputs)
        with folded_queries(made.module):
            torch.testing.assert_close(made.module(*made.inputs), expected)
    done = convert_job(job(made, tmp_path / "block.tflite"))
    torch.testing.assert_close(run(done.path, made), expected, rtol=1e-4, atol=1e-5)


def test_hostile_models(tmp_path: Path) -> None:
    path = tmp_path / "bad.tflite"
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(path)
    path.write_bytes(b"\x1c\0\0\0TFL2" + b"\0" * 64)
    with pytest.raises(ModelError, match="not a LiteRT model"):
        read_model(path)


def test_unconvertible_modules_say_so(tmp_path: Path) -> None:
    class Dynamic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x > 0]

    with pytest.raises(ModelError, match="litert-torch cannot convert it"):
        convert_job(Job(Dynamic(), (torch.randn(4),), tmp_path / "no.tflite"))
    assert list(tmp_path.iterdir()) == []


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(LatencyError, match="cannot be measured yet"):
        op_module(Op("fft", ((1, 4),)))  # type: ignore[arg-type]
