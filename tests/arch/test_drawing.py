from __future__ import annotations

from hypothesis import given, settings

from archsearch.arch import UNet, draw, load_preset
from tests.strategies import unets


def drawn(name: str, latent: tuple[int, int] | None = (64, 64)) -> list[str]:
    unet = load_preset(name).architecture
    assert isinstance(unet, UNet)
    return draw(unet, latent).splitlines()


def test_sd15_is_a_u() -> None:
    assert drawn("sd15")[:6] == [
        "              4 channels in, 3x3    3x3, 4 channels out",
        "64x64   320   R+T R+T v ................... R+T R+T R+T",
        "32x32   640     R+T R+T v ............. R+T R+T R+T ^",
        "16x16  1280       R+T R+T v ......... R+T R+T R+T ^",
        "  8x8  1280         R R ................. R R R ^",
        "                             \\_ R+T+R _/",
    ]
    assert "T    transformer: self-attention, attention to text, geglu x4" in drawn("sd15")


def test_pruned_parts_are_seen() -> None:
    lines = drawn("snapfusion")
    assert lines[3].split()[2:] == ["R+T", "T", "v", ".....", "R+T+T", "R+T+T", "1+T+T", "^"]
    assert lines[4].split()[2:4] == ["-", "-"]
    assert "-    layer without blocks, its skip stays" in lines
    assert any("\\_ no middle _/" in line for line in drawn("bk-sdm-tiny"))


def test_transformers_that_differ_get_letters_of_their_own() -> None:
    text = "\n".join(drawn("mobilediffusion"))
    assert "T    transformer: attention to text (relu scores), swiglu x3" in text
    assert "T6   transformer: 6 x (self-attention (shared keys and values, relu scores)" in text


def test_resolutions() -> None:
    assert drawn("sd15", None)[4].startswith("1/8  1280")
    assert drawn("sd15", (96, 65))[2].startswith("48x33   640")


@settings(deadline=None, max_examples=40)
@given(unets())
def test_every_layer_of_any_network_is_drawn(unet: UNet) -> None:
    lines = draw(unet).splitlines()
    for stage, line in zip(unet.stages, lines[1:], strict=False):
        left, right = line.split(" .", maxsplit=1)
        own = left.split()
        layers = (
            own[2:] if any(b.kind in ("residual", "shortcut") for x in (*stage.down, *stage.up) for b in x) else own[1:]
        )
        assert len(layers) == len(stage.down) + (stage.downsample is not None)
        assert len(right.lstrip(". ").split()) == len(stage.up) + (stage.upsample is not None)
