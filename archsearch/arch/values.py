"""The architecture value: frozen, hashable, JSON-serialisable descriptions of networks.

A denoising :class:`UNet`, an image :class:`Decoder` and a :class:`TextEncoder` say everything that is needed to
build, count and draw them.  They hold no weights and import no framework.  Widths are in channels, heads and head
sizes in units of the attention's inner width (heads * head_dim).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Activation: TypeAlias = Literal["silu", "gelu", "relu", "mish"]
FeedForwardActivation: TypeAlias = Literal["geglu", "swiglu", "gelu", "swish"]
QkNorm: TypeAlias = Literal["rms_norm", "layer_norm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Separable:
    """A 3x3 convolution as depthwise 3x3 + pointwise 1x1 (MobileNet).

    ``expansion`` widens the hidden channels between a residual block's two convolutions to
    ``int(channels * expansion)``; the time projection and the second norm widen with it (DreamLite, SnapGen: 2).
    """

    expansion: float = 1.0
    bias: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ResBlock:
    """norm, activation, 3x3, + time, norm, activation, 3x3, + input (through a 1x1 where the width changes)."""

    kind: Literal["residual"] = "residual"
    channels: int
    separable: Separable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """What is left of a removed residual block whose width changes: its 1x1 convolution."""

    kind: Literal["shortcut"] = "shortcut"
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One attention slot: layer norm, q/k/v projections, scores, output projection, residual.

    ``kv_heads`` below ``heads`` is grouped-query attention (1: multi-query); None means one per head.
    ``shared_kv`` makes W_K = W_V one projection.  ``scores`` relu is relu(QK^T / sqrt(d)) / L.
    """

    kind: Literal["attention"] = "attention"
    to: Literal["self", "text"]
    heads: int
    head_dim: int
    kv_heads: int | None = None
    shared_kv: bool = False
    qk_norm: QkNorm | None = None
    scores: Literal["softmax", "relu"] = "softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class NormOnly:
    """DreamLite's slot without attention: the stream is replaced by its layer norm (no residual)."""

    kind: Literal["norm"] = "norm"


Slot: TypeAlias = Attention | NormOnly


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """Inner width is ``int(width * expansion)``.  The papers' "8 -> 6" counts both halves of a GLU: 8 is 4 here."""

    expansion: float = 4.0
    activation: FeedForwardActivation = "geglu"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerBlock:
    """Up to two attention slots and a feed-forward, each optional, each with its own layer norm."""

    first: Slot | None = None
    second: Slot | None = None
    feed_forward: FeedForward | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """Spatial transformer: group norm, proj_in (channels -> width), N >= 0 blocks, proj_out, residual."""

    kind: Literal["transformer"] = "transformer"
    width: int
    blocks: tuple[TransformerBlock, ...] = ()
    linear_projection: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialAttention:
    """The autoencoder's attention: group norm, biased q/k/v and output projections over pixels, residual."""

    kind: Literal["spatial_attention"] = "spatial_attention"
    heads: int = 1


Block: TypeAlias = ResBlock | Shortcut | Transformer | SpatialAttention
Layer: TypeAlias = tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Downsample:
    """3x3 convolution of stride 2 to ``channels``."""

    channels: int
    separable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsample:
    """Nearest x2, then a 3x3 convolution to ``channels``."""

    channels: int
    separable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One resolution.  ``up`` is in the order of execution; ``len(up) == len(down) + 1``.

    ``downsample`` ends the down half (absent in the last stage), ``upsample`` ends the up half (absent in the first).
    """

    down: tuple[Layer, ...]
    up: tuple[Layer, ...]
    downsample: Downsample | None = None
    upsample: Upsample | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeEmbedding:
    """Sinusoids of ``input_width``, then linear, activation, linear to ``width``.

    ``cond_width`` is diffusers' ``time_cond_proj_dim`` (guidance-conditioned students).
    """

    input_width: int
    width: int
    cond_width: int | None = None
    flip_sin_to_cos: bool = True
    freq_shift: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedEmbedding:
    """SDXL's added condition: features through a two-layer SiLU MLP, added to the time embedding.

    The features are a pooled text embedding of ``pooled_width`` (0 in DreamLite, which has none) joined with
    sinusoids of ``time_width`` for each of ``ids`` numbers (original size, crop, target size).
    """

    time_width: int
    ids: int = 6
    pooled_width: int = 0

    @property
    def input_width(self) -> int:
        """Width of the features."""
        return self.pooled_width + self.ids * self.time_width


@dataclass(frozen=True, slots=True, kw_only=True)
class TextProjection:
    """A linear map of the text states from ``input_width`` to the UNet's text width, optionally RMS-normed."""

    input_width: int
    norm: Literal["rms_norm"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UNet:
    """A text-conditioned denoising UNet.  Stages run from the finest resolution to the coarsest."""

    kind: Literal["unet"] = "unet"
    in_channels: int = 4
    out_channels: int = 4
    conv_in_channels: int
    conv_in_kernel: int = 3
    conv_out_kernel: int = 3
    text_width: int | None = 768
    text_projection: TextProjection | None = None
    time: TimeEmbedding
    added: AddedEmbedding | None = None
    time_shift: Literal["add", "scale_shift"] = "add"
    stages: tuple[Stage, ...]
    middle: Layer = ()
    activation: Activation = "silu"
    norm_groups: int = 32
    norm_eps: float = 1e-5
    upcast_attention: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderStage:
    """One resolution of an image decoder: its blocks, then an upsampler (absent in the last stage)."""

    blocks: Layer
    upsample: Upsample | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """Latents to pixels: conv_in, middle, stages from coarse to fine, norm, activation, conv_out."""

    kind: Literal["decoder"] = "decoder"
    latent_channels: int = 4
    out_channels: int = 3
    conv_in_channels: int
    middle: Layer = ()
    stages: tuple[DecoderStage, ...]
    activation: Activation = "silu"
    norm_groups: int = 32
    norm_eps: float = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoder:
    """A CLIP-style causal text transformer (pre-norm, biased projections)."""

    kind: Literal["text_encoder"] = "text_encoder"
    vocab: int = 49408
    positions: int = 77
    width: int
    layers: int
    heads: int
    ff_width: int
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"


Architecture: TypeAlias = UNet | Decoder | TextEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published figure of a preset, with where it is from and whether it was read or only recalled.

    ``quantity`` is ``params``, ``macs`` (attention products included), ``macs_without_attention``, or any other
    name; ``computed`` is arithmetic on a published configuration, never published itself.
    """

    quantity: str
    value: float
    unit: Literal["", "k", "M", "G", "T", "%", "ms", "s"] = ""
    source: str
    status: Literal["seen", "recalled", "computed"]
    conditions: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named architecture with its published figures and the choices that are ours."""

    name: str
    title: str
    architecture: Architecture
    published: tuple[Published, ...] = ()
    notes: str = ""
    latent: tuple[int, int] = (64, 64)
    text: int = 77
    exact: bool = True
    source: str = field(default="", repr=False)
