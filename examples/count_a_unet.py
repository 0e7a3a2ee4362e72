"""Describe a UNet as a value, count it, change one thing, and see what changed.

python examples/count_a_unet.py
"""

from dataclasses import replace

from archsearch.arch import Attention, FeedForward, Transformer, TransformerBlock, UNet, load_preset
from archsearch.cost import Conditions, count


def without_self_attention(block: Transformer) -> Transformer:
    """MobileDiffusion's change at high resolution: drop self-attention, keep cross-attention and feed-forward."""
    return replace(
        block,
        blocks=tuple(
            TransformerBlock(
                second=inner.second, feed_forward=FeedForward(expansion=3.0) if inner.feed_forward else None
            )
            for inner in block.blocks
        ),
    )


def lighten_finest_stage(unet: UNet) -> UNet:
    """Apply the change to every transformer of the finest resolution."""
    finest = unet.stages[0]

    def changed(layers: tuple) -> tuple:
        return tuple(
            tuple(without_self_attention(block) if isinstance(block, Transformer) else block for block in layer)
            for layer in layers
        )

    stage = replace(finest, down=changed(finest.down), up=changed(finest.up))
    return replace(unet, stages=(stage, *unet.stages[1:]))


def main() -> None:
    before = load_preset("sd15").architecture
    assert isinstance(before, UNet)
    after = lighten_finest_stage(before)
    conditions = Conditions(latent=(64, 64), text=77)
    a, b = count(before, conditions), count(after, conditions)
    heads = {slot.heads for stage in before.stages for layer in stage.down for block in layer
             if isinstance(block, Transformer) for inner in block.blocks for slot in (inner.first, inner.second)
             if isinstance(slot, Attention)}  # fmt: skip
    print(f"Stable Diffusion 1.5 has {a.params:,} parameters and {a.macs:,} MACs; heads per attention: {heads}")
    print(f"without self-attention at 64x64: {b.params:,} parameters ({b.params / a.params - 1:+.1%})")
    print(f"  MACs             {b.macs:,} ({b.macs / a.macs - 1:+.1%})")
    print(f"  peak activations {a.peak_activation_bytes / 2**20:.0f} -> {b.peak_activation_bytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
