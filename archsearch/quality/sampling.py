"""Which network a training step trains: a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from archsearch.arch.values import Block, Layer, ResBlock, Shortcut, Transformer, UNet
from archsearch.quality.draws import hash64, seed_of

if TYPE_CHECKING:
    from archsearch.quality.config import TrainConfig
    from archsearch.space import Space

CHUNK = 256


class NetworkSampler:
    """Draws the network of each step: the largest, the smallest or a uniform one, some of its blocks left out."""

    def __init__(self, space: Space, config: TrainConfig) -> None:
        self._space = space
        self._config = config
        self.largest, self.smallest = extremes(space)
        self._chunk: tuple[int, list[UNet]] = (-1, [])

    def network(self, step: int) -> UNet:
        """The network of a step."""
        config = self._config

        def chance(name: str) -> float:
            return hash64(f"network/{config.seed}/{step}/{name}") / 2.0**64

        warm = max(0.0, 1 - step / config.warmup_steps) if config.warmup_steps else 0.0
        which = chance("which")
        if chance("warm") < warm or which < config.share_largest:
            unet = self.largest
        elif which < config.share_largest + config.share_smallest:
            unet = self.smallest
        else:
            unet = self._uniform(step)

        def dropped(block: Block, place: str) -> bool:
            rate = config.drop_transformer if isinstance(block, Transformer) else config.drop_residual
            return chance(f"drop {place}") < rate

        return drop_blocks(unet, dropped)

    def _uniform(self, step: int) -> UNet:
        number, place = divmod(step, CHUNK)
        if self._chunk[0] != number:
            rows = self._space.sample(CHUNK, seed_of("networks", self._config.seed, number))
            self._chunk = (number, [self._space.decode(row) for row in rows.tolist()])
        return self._chunk[1][place]


def drop_blocks(unet: UNet, dropped: Callable[[Block, str], bool]) -> UNet:
    """Replace blocks by the identity, or a residual block that changes the width by its 1x1 (SnapFusion, 3.1).

    Args:
        unet: the network.
        dropped: whether to drop a block at a place (a text that is unique in the network).
    """
    skips = [unet.conv_in_channels]
    width = unet.conv_in_channels
    stages = []

    def thin(layer: Layer, width: int, place: str, joined: bool) -> tuple[Layer, int]:
        kept: list[Block] = []
        for i, block in enumerate(layer):
            changes = isinstance(block, (ResBlock, Shortcut)) and block.channels != width
            if isinstance(block, (ResBlock, Transformer)) and dropped(block, f"{place}.{i}"):
                if isinstance(block, ResBlock) and changes:
                    kept.append(Shortcut(channels=block.channels))
                elif joined and i == 0:  # an up layer starts with a residual block or its 1x1, and there is no 1x1
                    kept.append(block)
            else:
                kept.append(block)
            width = block.channels if isinstance(block, (ResBlock, Shortcut)) else width
        return tuple(kept), width

    downs = []
    for s, stage in enumerate(unet.stages):
        layers = []
        for j, layer in enumerate(stage.down):
            layer, width = thin(layer, width, f"down.{s}.{j}", False)
            layers.append(layer)
            skips.append(width)
        downs.append(tuple(layers))
        if stage.downsample is not None:
            width = stage.downsample.channels
            skips.append(width)
    middle, width = thin(unet.middle, width, "middle", False)
    ups: list[tuple[Layer, ...]] = [()] * len(unet.stages)
    for s in reversed(range(len(unet.stages))):
        layers = []
        for j, layer in enumerate(unet.stages[s].up):
            layer, width = thin(layer, width + skips.pop(), f"up.{s}.{j}", True)
            layers.append(layer)
        ups[s] = tuple(layers)
        upsample = unet.stages[s].upsample
        width = width if upsample is None else upsample.channels
    for stage, down, up in zip(unet.stages, downs, ups, strict=True):
        stages.append(replace(stage, down=down, up=up))
    return replace(unet, stages=tuple(stages), middle=middle)


def extremes(space: Space) -> tuple[UNet, UNet]:
    """The networks with most and with fewest MACs of the whole space."""
    macs = space.ranges()["macs"]
    return space.decode(macs.high_encoding), space.decode(macs.low_encoding)
