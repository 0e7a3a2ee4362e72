"""A UNet as text: a U with the down half on the left, the up half on the right and the middle at the bottom."""

from __future__ import annotations

from archsearch.arch.describe import transformer_content
from archsearch.arch.values import Block, Layer, ResBlock, Shortcut, Transformer, UNet


def draw(unet: UNet, latent: tuple[int, int] | None = None) -> str:
    """Stages, resolutions, channels and blocks of every layer, with a legend of the letters.

    Args:
        unet: what to draw.
        latent: height and width of the latent; without it resolutions are told relative to the input.
    """
    legend = _Legend()
    stages = range(len(unet.stages))
    left, right = [], []
    for s, stage in enumerate(unet.stages):
        down = [legend.layer(layer) for layer in stage.down] + (["v"] if stage.downsample else [])
        up = [legend.layer(layer) for layer in stage.up] + (["^"] if stage.upsample else [])
        left.append("  " * s + " ".join(down))
        right.append(" ".join(up) + "  " * s)
    bottom = legend.layer(unet.middle) if unet.middle else "no middle"
    head = f"{unet.in_channels} channels in, {unet.conv_in_kernel}x{unet.conv_in_kernel}"
    tail = f"{unet.conv_out_kernel}x{unet.conv_out_kernel}, {unet.out_channels} channels out"
    indent = 2 * len(unet.stages)
    inner = max(
        len(bottom) + 2 * indent + 6, len(head) + len(tail) + 4, *(len(left[s]) + len(right[s]) + 6 for s in stages)
    )
    places = [_resolution(s, latent) for s in stages]
    widths = [_channels(unet, s) for s in stages]
    margin = [
        f"{p:>{max(map(len, places))}}  {w:>{max(map(len, widths))}}   " for p, w in zip(places, widths, strict=True)
    ]
    blank = " " * len(margin[0])
    lines = [blank + head + " " * (inner - len(head) - len(tail)) + tail]
    for s in stages:
        skips = " " + "." * (inner - len(left[s]) - len(right[s]) - 2) + " "
        lines.append((margin[s] + left[s] + skips + right[s]).rstrip())
    cup = f"\\_ {bottom} _/"
    lines.append(f"{blank}{cup:^{inner}}".rstrip())
    return "\n".join([*lines, "", *legend.lines()])


def _resolution(level: int, latent: tuple[int, int] | None) -> str:
    if latent is None:
        return f"1/{1 << level}"
    height, width = (-(-side // (1 << level)) for side in latent)
    return f"{height}x{width}"


def _channels(unet: UNet, s: int) -> str:
    """The widths of a stage's blocks, usually one."""
    stage = unet.stages[s]
    found: list[int] = []
    for layer in (*stage.down, *stage.up):
        found += [block.channels for block in layer if isinstance(block, (ResBlock, Shortcut))]
    return "/".join(map(str, dict.fromkeys(found)))


class _Legend:
    """Letters for blocks; one letter for blocks that differ in width alone."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}
        self._empty = False

    def layer(self, layer: Layer) -> str:
        """``R+T``."""
        self._empty |= not layer
        return "+".join(self._letter(block) for block in layer) or "-"

    def lines(self) -> list[str]:
        """``R  residual block`` ..., in order of appearance, then the signs."""
        width = max((len(letter) for letter in self._letters.values()), default=1)
        width = max(width, 3)
        told = [f"{letter:<{width}}  {meaning}" for meaning, letter in self._letters.items()]
        signs = {"v": "downsample", "^": "upsample", "...": "skips"}
        if self._empty:
            signs["-"] = "layer without blocks, its skip stays"
        return [*told, *(f"{sign:<{width}}  {meaning}" for sign, meaning in signs.items())]

    def _letter(self, block: Block) -> str:
        base, meaning = _sign(block)
        if meaning not in self._letters:
            used = set(self._letters.values())
            letter = base
            while letter in used:
                letter += "'"
            self._letters[meaning] = letter
        return self._letters[meaning]


def _sign(block: Block) -> tuple[str, str]:
    if isinstance(block, ResBlock):
        if block.separable is None:
            return "R", "residual block"
        return "S", f"separable residual block, expansion {block.separable.expansion:g}"
    if isinstance(block, Shortcut):
        return "1", "1x1 shortcut of a removed residual block"
    if isinstance(block, Transformer):
        depth = len(block.blocks)
        meaning = f"transformer: {transformer_content(block, heads=False)}"
        sizes = dict.fromkeys(f"{slot.head_dim}" for b in block.blocks for slot in (b.first, b.second)
                              if slot is not None and slot.kind == "attention")  # fmt: skip
        if len(sizes) == 1 and next(iter(sizes)) == "64":
            meaning += ", heads of 64"
        return ("T" if depth == 1 else f"T{depth}"), meaning
    return "A", "spatial attention"
