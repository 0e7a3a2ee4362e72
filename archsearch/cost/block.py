"""Blocks as workloads: what is measured as one piece beside its operators, as in SnapFusion's table of block latencies.

A network is cut into residual blocks, samplers, heads, and the parts of spatial transformers: the *frame* (norm,
projections, residual) and each attention and feed-forward *branch* with its norm and residual.  MobileDiffusion's
space has 2,224 distinct spatial transformers but few distinct parts.  A block's time is more than its operators': a
converter adds reshapes, transpositions and slices between them.  Operators outside every block (joins, the first
convolution, embeddings) stand for themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from archsearch.arch.values import (
    Attention,
    Downsample,
    FeedForward,
    ResBlock,
    Separable,
    SpatialAttention,
    TextEncoder,
    Transformer,
    TransformerBlock,
    Upsample,
)
from archsearch.cost.context import Context
from archsearch.cost.op import Op, Shape, format_key, parse_parts
from archsearch.errors import CostError

if TYPE_CHECKING:
    from archsearch.cost.trace import Trace

PREFIX = "block."
_KINDS = ("residual", "transformer_frame", "attention", "feed_forward", "downsample", "upsample", "head",
          "spatial_attention", "encoder_layer")  # fmt: skip
_ON_TOKENS = frozenset({"attention", "feed_forward", "encoder_layer"})


@dataclass(frozen=True)
class BlockOp:
    """One block.  ``attrs`` are sorted (name, value) pairs; ``shapes`` are its inputs', the activations' first.

    * residual(x, temb): act, groups, hidden, out, sep (0 full, 1 separable, 2 separable with bias), shift
    * transformer_frame(x): groups, linear, width
    * attention(x, text): heads, head_dim, kv, norm, scores, shared, to
    * feed_forward(x): act, inner
    * downsample(x): out, sep; upsample(x): out, sep, h, w
    * head(x): act, groups, k, out; spatial_attention(x): groups, heads; encoder_layer(x): act, heads, inner
    """

    kind: str
    shapes: tuple[Shape, ...]
    attrs: tuple[tuple[str, int | str], ...] = ()

    def attr(self, name: str) -> int:
        """An integer attribute.

        Raises:
            KeyError: the block has no such attribute.
        """
        return int(dict(self.attrs)[name])

    def text(self, name: str) -> str:
        """An attribute as text."""
        return str(dict(self.attrs)[name])

    @property
    def layout(self) -> str:
        """``nhwc`` for blocks of images, ``row`` for those of tokens."""
        return "row" if self.kind.removeprefix(PREFIX) in _ON_TOKENS else "nhwc"

    @cached_property
    def key(self) -> str:
        """``block.upsample[1x1280x8x8](h=16,out=1280,sep=0,w=16)@nhwc``: the row key of latency tables."""
        return format_key(self.kind, self.shapes, self.attrs, self.layout)

    @classmethod
    def parse(cls, key: str) -> BlockOp:
        """The block of a key.

        Raises:
            CostError: not a canonical key of a block.
        """
        kind, shapes, attrs = parse_parts(key)
        block = cls(kind, shapes, attrs)
        try:
            consistent = block.key == key and [span.block for span in block.trace.blocks] == [block]
        except (KeyError, IndexError, ValueError, ZeroDivisionError, AssertionError) as error:
            raise CostError("not a key of a block", got=key, next_step=f"({error!r})") from error
        if not consistent:
            raise CostError("not a canonical key of a block", got=key)
        return block

    @cached_property
    def trace(self) -> Trace:
        """Its operators."""
        return _lower(self)

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        """Its operators, in order."""
        return tuple(traced.op for traced in self.trace.ops)

    @cached_property
    def params(self) -> int:
        """Learned parameters."""
        return sum(op.params for op in self.ops)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(op.macs for op in self.ops)


class Span(NamedTuple):
    """A block within a trace, and the numbers of the operators that are its own."""

    block: BlockOp
    ops: tuple[int, ...]


Workload: TypeAlias = Op | BlockOp


@lru_cache(maxsize=65536)
def make_block(kind: str, shapes: tuple[Shape, ...], attrs: tuple[tuple[str, int | str], ...]) -> BlockOp:
    """Blocks repeat; what is derived from one is then computed once."""
    return BlockOp(PREFIX + kind, shapes, attrs)


def parse_workload(key: str) -> Workload:
    """The operator or block of a row's key.

    Raises:
        CostError: neither.
    """
    return BlockOp.parse(key) if key.startswith(PREFIX) else Op.parse(key)


def value_of(block: BlockOp) -> ResBlock | Transformer | TransformerBlock | Downsample | Upsample | SpatialAttention:
    """The value in the vocabulary of architectures that a block stands for (heads and encoder layers have none)."""
    match block.kind.removeprefix(PREFIX):
        case "residual":
            return ResBlock(channels=block.attr("out"), separable=_separable(block))
        case "transformer_frame":
            return Transformer(width=block.attr("width"), linear_projection=bool(block.attr("linear")))
        case "attention":
            heads, kv, norm = block.attr("heads"), block.attr("kv"), block.text("norm")
            return TransformerBlock(
                first=Attention(
                    to="text" if block.text("to") == "text" else "self",
                    heads=heads,
                    head_dim=block.attr("head_dim"),
                    kv_heads=None if kv == heads else kv,
                    shared_kv=bool(block.attr("shared")),
                    qk_norm=None if norm == "none" else norm,  # type: ignore[arg-type]
                    scores=block.text("scores"),  # type: ignore[arg-type]
                )
            )
        case "feed_forward":
            expansion = (block.attr("inner") + 0.5) / block.shapes[0][-1]
            return TransformerBlock(
                feed_forward=FeedForward(expansion=expansion, activation=block.text("act"))  # type: ignore[arg-type]
            )
        case "downsample":
            return Downsample(channels=block.attr("out"), separable=bool(block.attr("sep")))
        case "upsample":
            return Upsample(channels=block.attr("out"), separable=bool(block.attr("sep")))
        case "spatial_attention":
            return SpatialAttention(heads=block.attr("heads"))
    raise ValueError(block.kind)


def _separable(block: BlockOp) -> Separable | None:
    if not block.attr("sep"):
        return None
    return Separable(expansion=(block.attr("hidden") + 0.5) / block.attr("out"), bias=block.attr("sep") == 2)


def context_of_block(block: BlockOp) -> Context:
    """The constants of a network in which the block stands at level 0 (an upsampler at level 1)."""
    attrs = dict(block.attrs)
    first = block.shapes[0]
    batch = first[0]
    if len(first) == 3:
        text = block.shapes[1] if len(block.shapes) > 1 else (batch, first[1], 0)
        return Context(batch, 1, first[1], text[1], text[2], 0, "silu", 1, False)
    height, width = (block.attr("h"), block.attr("w")) if "h" in attrs else first[2:]
    time = block.shapes[1][1] if len(block.shapes) > 1 else 0
    activation = attrs.get("act", "silu")
    return Context(batch, height, width, 0, 0, time, activation, int(attrs.get("groups", 1)), bool(attrs.get("shift")))  # type: ignore[arg-type]


def encoder_of_block(block: BlockOp) -> TextEncoder:
    """A text encoder of one such layer."""
    return TextEncoder(width=block.shapes[0][-1], layers=1, heads=block.attr("heads"), ff_width=block.attr("inner"),
                       positions=block.shapes[0][1], activation=block.text("act"))  # type: ignore[arg-type]  # fmt: skip


def _lower(block: BlockOp) -> Trace:
    from archsearch.cost import lower_blocks, lower_ends
    from archsearch.cost.trace import INPUT, Tracer

    kind = block.kind.removeprefix(PREFIX)
    if kind not in _KINDS:
        raise CostError("unknown kind of block", got=block.kind, allowed=", ".join(PREFIX + known for known in _KINDS))
    ctx = context_of_block(block)
    channels = block.shapes[0][1]
    if kind == "head":
        return lower_ends.lower_head(ctx, channels, block.attr("out"), 0, block.attr("k"))
    if kind == "encoder_layer":
        t = Tracer(block.shapes[0])
        return t.finish(lower_ends.encoder_layer(t, INPUT, encoder_of_block(block)))
    value = value_of(block)
    if isinstance(value, TransformerBlock):
        t = Tracer(block.shapes[0])
        text = t.outside((ctx.batch, ctx.text_tokens, ctx.text_width))
        return t.finish(lower_blocks.transformer_block(t, INPUT, text, value))
    lowerings: dict[type, tuple[Callable[..., Trace], int]] = {
        ResBlock: (lower_blocks.lower_residual, 0),
        Transformer: (lower_blocks.lower_transformer, 0),
        SpatialAttention: (lower_blocks.lower_spatial_attention, 0),
        Downsample: (lower_ends.lower_downsample, 0),
        Upsample: (lower_ends.lower_upsample, 1),
    }
    lower, level = lowerings[type(value)]
    return lower(ctx, value, channels, level)
