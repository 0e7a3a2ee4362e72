"""The network drawn as a U: down half left, up half right, middle below; width is channels, colour a share of cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import groupby

from archsearch.arch import Step, UNet, walk
from archsearch.latency.profile import Profile, Row, block_name
from archsearch.report.numbers import shortened
from archsearch.report.palette import STEPS, step

BAR = 18.0
PITCH = 21.0
STAGE_GAP = 20.0
HALF = 230.0
CENTRE = 40.0
SIDE = 54.0
TOP = 6.0
THIN = 46.0
NODE = 10.0
SHORT: dict[str, str] = {
    "residual": "res",
    "transformer": "attn",
    "spatial_attention": "attn",
    "shortcut": "1x1",
    "downsample": "down",
    "upsample": "up",
    "conv_in": "conv in",
    "head": "conv out",
    "embed": "time",
    "encoder": "text",
}
ROUND = frozenset({"transformer", "spatial_attention", "encoder", "join"})


@dataclass(frozen=True, slots=True)
class Box:
    """One block.  Lengths in units of the drawing; ``share`` (0 to 1) is of the drawing's measure."""

    stage: str
    block: str
    kind: str
    channels: int
    x: float
    y: float
    width: float
    share: float
    details: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A skip connection from the pushing block (left) to the joining one (right)."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Label:
    """A resolution or stage beside its boxes."""

    text: str
    y: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes, skips and labels of one network.  ``measure`` says what colours mean."""

    boxes: tuple[Box, ...]
    skips: tuple[Skip, ...]
    labels: tuple[Label, ...]
    width: float
    height: float
    measure: str


@dataclass(frozen=True, slots=True)
class _Item:
    row: Row
    channels: int
    share: float
    details: str

    @property
    def pitch(self) -> float:
        """Height that it takes; the join of a skip is a small node between blocks."""
        return NODE + PITCH - BAR if self.row.kind == "join" else PITCH

    def box(self, x: float, y: float, width: float) -> Box:
        row = self.row
        return Box(row.stage, row.block, row.kind, self.channels, x, y, width, self.share, self.details)


def drawing_info(profile: Profile, table: int | None = None) -> Drawing:
    """Lay a network out; every block of the profile becomes one box.

    Args:
        profile: of a UNet, decoder or text encoder.
        table: index of the latency table whose shares give the colours; None for MACs.
    """
    rows = profile.by("block")
    measure = "MACs" if table is None else f"latency on {shortened(profile.tables[table].name, 40)}"
    amounts = [row.macs if table is None else row.latency_ms[table] for row in rows]
    total = sum(amounts) or 1
    steps = {name: step for step in walk(profile.arch) if (name := _name(step)) is not None}
    items = []
    for row, amount in zip(rows, amounts, strict=True):
        found = steps.get((row.stage, row.block))
        details = _details(profile, row, found, f"{amount / total:.1%} of the {measure}")
        items.append(_Item(row, found.out_channels if found else 0, amount / total, details))
    return _draw_u(profile, items, measure) if isinstance(profile.arch, UNet) else _draw_column(items, measure)


def _name(step: Step) -> tuple[str, str] | None:
    """Stage and block of the profile's row that a step becomes; a push becomes none."""
    if step.role == "push":
        return None
    kind = step.value.kind if step.role == "block" else step.role  # type: ignore[union-attr]
    return step.place.stage_name, block_name(step.place.layer, step.place.index, kind)


def _details(profile: Profile, row: Row, step: Step | None, share: str) -> str:
    lines = [f"{row.stage} {row.block}"]
    if step is not None:
        lines.append(f"channels {step.in_channels:,} to {step.out_channels:,}")
    lines.append(f"{row.params:,} parameters, {row.macs:,} MACs")
    for table, latency_ms, provenance in zip(profile.tables, row.latency_ms, row.provenance, strict=True):
        lines.append(f"{latency_ms:,.4f} ms on {shortened(table.name, 40)} ({provenance})")
    return "\n".join([*lines, share])


def _draw_u(profile: Profile, items: list[_Item], measure: str) -> Drawing:
    stages = {stage: list(group) for stage, group in groupby(items, key=lambda item: item.row.stage)}
    count = len(profile.arch.stages) if isinstance(profile.arch, UNet) else 0
    scale = HALF / max((item.channels for item in items if item.row.kind not in ("embed", "join")), default=1)
    left = SIDE + HALF
    right = left + CENTRE
    boxes: list[Box] = []
    labels: list[Label] = []
    y = TOP
    height, width = profile.conditions.latent

    def length(item: _Item) -> float:
        return {"embed": THIN, "join": NODE}.get(item.row.kind, max(4.0, item.channels * scale))

    for s in range(count):
        down = [*(stages.get("stem", []) if s == 0 else []), *stages.get(f"down.{s}", [])]
        up = [*stages.get(f"up.{s}", []), *(stages.get("head", []) if s == 0 else [])]
        bottom = y + max(sum(item.pitch for item in down), sum(item.pitch for item in up))
        labels.append(Label(f"{height}×{width}", (y + bottom - (PITCH - BAR)) / 2))
        at = y
        for item in down:
            boxes.append(item.box(left - length(item), at, length(item)))
            at += item.pitch
        at = bottom
        for item in up:
            at -= item.pitch
            boxes.append(item.box(right, at, length(item)))
        y = bottom + STAGE_GAP
        height, width = -(-height // 2), -(-width // 2)
    middle = stages.get("middle", [])
    for item in middle:
        boxes.append(item.box((left + right - length(item)) / 2, y, length(item)))
        y += item.pitch
    if middle:
        labels.append(Label("middle", y - PITCH * len(middle) / 2 - (PITCH - BAR) / 2))
    skips = _skips(profile, boxes, left, right)
    return Drawing(tuple(boxes), skips, tuple(labels), right + HALF + 4, y + 4, measure)


def _skips(profile: Profile, boxes: Iterable[Box], left: float, right: float) -> tuple[Skip, ...]:
    """Pair pushes and joins as the network does: last in, first out."""
    centres = {(box.stage, box.block): box.y + bar_height(box) / 2 for box in boxes}
    pushed: list[float] = []
    found: list[Skip] = []
    here = TOP
    for s in walk(profile.arch):
        name = _name(s)
        if name is None:
            pushed.append(here)
            continue
        here = centres.get(name, here)
        if s.role == "join":
            found.append(Skip(left, pushed.pop(), right, here))
    return tuple(found)


def bar_height(box: Box) -> float:
    """Height of a box in units of the drawing."""
    return NODE if box.kind == "join" else BAR


def _draw_column(items: list[_Item], measure: str) -> Drawing:
    scale = 2 * HALF / max((item.channels for item in items), default=1)
    boxes: list[Box] = []
    labels: list[Label] = []
    y = TOP
    for stage, group in groupby(items, key=lambda item: item.row.stage):
        members = list(group)
        boxes += [item.box(SIDE, y + PITCH * i, max(4.0, item.channels * scale)) for i, item in enumerate(members)]
        labels.append(Label(stage, y + (PITCH * len(members) - (PITCH - BAR)) / 2))
        y += PITCH * len(members) + STAGE_GAP / 2
    return Drawing(tuple(boxes), (), tuple(labels), SIDE + 2 * HALF + 4, y + 4, measure)


def drawing_svg(drawing: Drawing, title: str) -> str:
    """The drawing as SVG markup; every text in it is escaped.  Colours are classes ``s0`` to ``s8`` of the page."""
    parts = [
        f'<svg class="unet" viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}" role="img" '
        f'aria-label="{escape(title)}">'
    ]
    parts += [f'<path class="skip" d="M{k.x0:.0f} {k.y0:.0f}L{k.x1:.0f} {k.y1:.0f}"/>' for k in drawing.skips]
    parts += [f'<text class="side" x="0" y="{k.y + 4:.0f}">{escape(k.text)}</text>' for k in drawing.labels]
    parts += [_box_svg(box) for box in drawing.boxes]
    parts.append("</svg>")
    return "".join(parts)


def _box_svg(box: Box) -> str:
    dashed = " dashed" if box.kind == "shortcut" else ""
    height = bar_height(box)
    radius = height / 2 if box.kind in ROUND else 2
    text = _caption(box)
    caption = (
        f'<text x="{box.x + box.width / 2:.0f}" y="{box.y + BAR / 2 + 4:.0f}">{escape(text)}</text>' if text else ""
    )
    return (
        f'<g class="box s{step(box.share)}{dashed}"><title>{escape(box.details)}</title><rect x="{box.x:.1f}" '
        f'y="{box.y:.0f}" width="{box.width:.1f}" height="{height:.0f}" rx="{radius:.0f}"/>{caption}</g>'
    )


def _caption(box: Box) -> str:
    """What fits into a box: kind and channels, kind, or nothing."""
    kind = SHORT.get(box.kind, box.kind)
    if box.kind == "join":
        return ""
    options = (kind,) if box.kind == "embed" else (f"{kind} {box.channels}", kind)
    return next((text for text in options if len(text) * 6.4 + 6 <= box.width), "")


def legend() -> tuple[tuple[int, str], ...]:
    """(colour step, the shares it stands for), from small to large."""
    texts = [f"≤ {upper * 100:g}%" for upper in STEPS[:-1]]
    return tuple(enumerate([*texts, f"> {STEPS[-2] * 100:g}%"]))
