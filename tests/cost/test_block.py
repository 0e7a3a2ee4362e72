"""Blocks against what is lowered, and against the modules that networks really have there."""

import pytest
import torch
from hypothesis import given, settings

from archsearch.arch import load_preset
from archsearch.cost import Conditions, lower
from archsearch.cost.block import BlockOp, parse_workload
from archsearch.errors import CostError
from archsearch.latency.modules import op_module
from archsearch.models.block_module import block_module
from tests.strategies import conditions, decoders, text_encoders, unets


@settings(max_examples=60, deadline=None)
@given(unets() | decoders() | text_encoders(), conditions())
def test_blocks_are_disjoint_and_say_exactly_their_operators(arch: object, given_: Conditions) -> None:
    for piece in lower(arch, given_).pieces:  # type: ignore[arg-type]
        trace = piece.trace
        claimed = [number for span in trace.blocks for number in span.ops]
        assert len(claimed) == len(set(claimed))
        for span in trace.blocks:
            assert tuple(trace.ops[number].op for number in span.ops) == span.block.ops
            assert parse_workload(span.block.key) == span.block
            assert span.block.params == sum(trace.ops[number].op.params for number in span.ops)


@settings(max_examples=25, deadline=None)
@given(unets() | decoders() | text_encoders(), conditions())
def test_the_module_of_a_block_has_its_parameters_and_runs_on_its_inputs(arch: object, given_: Conditions) -> None:
    blocks = {span.block for piece in lower(arch, given_).pieces for span in piece.trace.blocks}  # type: ignore[arg-type]
    for block in blocks:
        module = block_module(block)
        assert sum(parameter.numel() for parameter in module.parameters()) == block.params, block.key
        with torch.no_grad():
            y = module(*(torch.randn(shape) for shape in block.shapes))
        assert tuple(y.shape) == block.ops[-1].out_shape or y.numel() == _elements(block), block.key


def _elements(block: BlockOp) -> int:
    return torch.Size(block.shapes[0]).numel()  # branches and frames keep their shape


def test_weights_of_norms_are_not_ones_and_zeros() -> None:
    block = next(s.block for p in lower(load_preset("sd15").architecture).pieces for s in p.trace.blocks)
    made = op_module(block)
    assert made.images == (0,)
    assert made.image_output
    for name, parameter in made.module.named_parameters():
        assert parameter.std() > 0, name


def test_every_operator_of_sd15_but_joins_embeddings_and_the_first_convolution_is_in_a_block() -> None:
    apart = {
        piece.kind
        for piece in lower(load_preset("sd15").architecture).pieces
        if len(piece.trace.ops) != sum(len(span.ops) for span in piece.trace.blocks)
    }
    assert apart == {"embed", "conv_in", "join"}


@pytest.mark.parametrize(
    "key",
    [
        "block.nothing[1x8x4x4](out=8)@nhwc",
        "block.residual[1x8x4x4](out=8)@nhwc",
        "block.downsample[1x8x4x4](out=8,sep=0)@row",
        "block.downsample[1x8x4x4](sep=0,out=8)@nhwc",
        "block.attention[1x8x4x4](head_dim=2,heads=2,kv=2,norm=none,scores=softmax,shared=0,to=self)@row",
        "block.[]()@",
    ],
)
def test_what_is_no_key_of_a_block_is_refused(key: str) -> None:
    with pytest.raises(CostError):
        parse_workload(key)
