"""The module that stands in a network where its lowering says there is a block (``cost.block``)."""

from __future__ import annotations

from torch import Tensor, nn

from archsearch.arch import values
from archsearch.cost.block import PREFIX, BlockOp, context_of_block, encoder_of_block, value_of
from archsearch.models.blocks import Common, Downsample, TransformerBlock, Upsample, activation, make_block
from archsearch.models.text_encoder import TextEncoderModel


def block_module(block: BlockOp) -> nn.Module:
    """A module whose inputs have the block's shapes, by position: images [N, C, H, W] or tokens [N, L, C] first."""
    kind = block.kind.removeprefix(PREFIX)
    first, ctx = block.shapes[0], context_of_block(block)
    if kind == "encoder_layer":
        return TextEncoderModel.from_architecture(encoder_of_block(block)).encoder.layers[0]
    if kind == "head":
        return nn.Sequential(
            nn.GroupNorm(ctx.norm_groups, first[1]),
            activation(ctx.activation),
            nn.Conv2d(first[1], block.attr("out"), block.attr("k"), padding=block.attr("k") // 2),
        )
    value = value_of(block)
    common = Common(ctx.time_width or None, ctx.text_width or None, ctx.activation, ctx.norm_groups,
                    scale_shift=ctx.scale_shift)  # fmt: skip
    if isinstance(value, values.TransformerBlock):
        return _Branch(TransformerBlock(common, value, first[-1]))
    if isinstance(value, values.Downsample):
        return Downsample(value, first[1])
    if isinstance(value, values.Upsample):
        return _ToSize(Upsample(value, first[1]), (block.attr("h"), block.attr("w")))
    return make_block(common, value, first[1])


class _Branch(nn.Module):
    """One branch of a transformer block, text or none."""

    def __init__(self, inner: TransformerBlock) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, text: Tensor | None = None) -> Tensor:
        """[batch, tokens, width] -> the same shape."""
        return self.inner(x, text)


class _ToSize(nn.Module):
    """An upsampler to a fixed size."""

    def __init__(self, inner: Upsample, size: tuple[int, int]) -> None:
        super().__init__()
        self.inner = inner
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """[batch, C, h, w] -> [batch, C', *size]."""
        return self.inner(x, self.size)
