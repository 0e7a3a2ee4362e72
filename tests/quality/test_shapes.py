from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import QualityError
from archsearch.quality.scenes import COLOURS, GROUNDS, KINDS, SHAPES, TILE, draw_scenes, is_held_out, mirrored_bits
from archsearch.quality.shapes import ShapesData, Thing
from archsearch.quality.text import LENGTH, VOCABULARY

SPLITS = ("train", "held_out")


@given(seed=st.integers(-5, 2**40), index=st.integers(0, 2**50), split=st.sampled_from(SPLITS))
@settings(max_examples=25, deadline=None)
def test_a_sample_is_a_function_of_seed_split_and_index(seed, index, split):
    data = ShapesData(seed, 32)
    alone, caption = data.batch(np.array([index]), split)
    among, captions = data.batch(np.array([index + 3, index, index + 1]), split)
    np.testing.assert_array_equal(alone[0], among[1])
    assert caption[0] == captions[1] == data.describe(index, split).caption


def test_seeds_splits_and_indices_give_other_samples():
    def images(seed, split, start):
        return ShapesData(seed, 32).batch(np.arange(start, start + 8), split)[0]

    first = images(0, "train", 0)
    for other in (images(1, "train", 0), images(0, "held_out", 0), images(0, "train", 8)):
        assert all(np.abs(a - b).max() > 0.1 for a, b in zip(first, other, strict=True))


def place(thing: Thing) -> str:
    return f"{('top', 'middle', 'bottom')[int(thing.y * 3)]} {('left', 'centre', 'right')[int(thing.x * 3)]}"


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_keep_what_their_captions_promise(split):
    data = ShapesData(3, 32)
    seen = set()
    for index in range(400):
        scene = data.describe(index, split)
        phrase, ground = scene.caption.rsplit(" on ", 1)
        assert ground == scene.ground
        words = phrase.split()
        first = scene.things[0]
        second = scene.things[-1]
        seen.add(scene.kind)
        assert len(scene.caption.split()) <= LENGTH
        assert {*words, ground} <= set(VOCABULARY)
        for a in scene.things:
            assert a.radius < a.x < 1 - a.radius
            assert a.radius < a.y < 1 - a.radius
            for b in scene.things:  # objects do not cover each other's centres
                assert a is b or max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius
        match scene.kind:
            case "single":
                assert len(scene.things) == 1
                assert phrase == f"a {first.colour} {first.shape} {place(first)}"
            case "places":
                assert phrase == (
                    f"a {first.colour} {first.shape} {place(first)} and "
                    f"a {second.colour} {second.shape} {place(second)}"
                )
            case "count":
                assert len(scene.things) == {"two": 2, "three": 3}[words[0]]
                assert len({(thing.shape, thing.colour) for thing in scene.things}) == 1
            case "left":
                assert first.x < second.x
                assert words == ["a", first.colour, first.shape, "left", "of", "a", second.colour, second.shape]
            case "above":
                assert first.y < second.y
                assert words == ["a", first.colour, first.shape, "above", "a", second.colour, second.shape]
            case "pair":
                assert first.colour == second.colour
                assert first.shape != second.shape
                assert not set(words) & set(COLOURS)
            case "alike":
                assert {thing.shape for thing in scene.things} == {"tile"}
                assert len({(thing.pattern, thing.colour, thing.radius) for thing in scene.things}) == 1
            case "mirror":
                assert first.x == pytest.approx(1 - second.x)
                assert (first.y, first.radius, first.colour) == (second.y, second.radius, second.colour)
    assert seen == set(KINDS)


def test_held_out_combinations_are_never_trained():
    indices = np.arange(4000)
    held_out = {(s, c) for s in range(len(SHAPES)) for c in range(len(COLOURS)) if is_held_out(s, c)}
    assert 5 <= len(held_out) <= 10
    scenes = draw_scenes(0, indices, "train")
    used = scenes.shape >= 0
    trained = set(zip(scenes.shape[used].tolist(), scenes.colour[used].tolist(), strict=True))
    everything = {(s, c) for s in range(len(SHAPES)) for c in range(len(COLOURS))}
    assert trained == everything - held_out
    scenes = draw_scenes(0, indices, "held_out")
    assert set(zip(scenes.shape[:, 0].tolist(), scenes.colour[:, 0].tolist(), strict=True)) == held_out


def test_kinds_are_drawn_evenly():
    kinds = draw_scenes(0, np.arange(8000), "train").kind
    observed = np.bincount(kinds, minlength=len(KINDS))
    chi_square = float(((observed - 1000) ** 2 / 1000).sum())
    assert chi_square < 24.4  # 0.1 % point at 7 degrees of freedom


@pytest.mark.parametrize("size", [32, 57, 128])
def test_objects_are_drawn_where_the_description_says(size):
    data = ShapesData(5, size)
    images, _ = data.batch(np.arange(60))
    assert images.shape == (60, 3, size, size)
    assert images.dtype == np.float32
    assert images.min() >= -1
    assert images.max() <= 1
    for index, image in enumerate(images):
        scene = data.describe(index)
        ground = 2 * np.array(GROUNDS[scene.ground])[:, None] - 1
        near = np.zeros((size, size), dtype=bool)
        axis = (np.arange(size) + 0.5) / size
        for thing in scene.things:
            reach = 1.2 * thing.radius + 1 / size
            near |= (np.abs(axis[None, :] - thing.x) < reach) & (np.abs(axis[:, None] - thing.y) < reach)
            if thing.shape != "tile":
                pixel = image[:, int(thing.y * size), int(thing.x * size)]
                np.testing.assert_allclose(pixel, 2 * np.array(COLOURS[thing.colour]) - 1, atol=1e-5)
        np.testing.assert_array_less(np.abs(image[:, ~near] - ground), 1e-5)


def test_mirror_scenes_are_symmetric():
    scenes = draw_scenes(0, np.arange(600), "train")
    mirrors = np.flatnonzero(scenes.kind == KINDS.index("mirror"))
    images, _ = ShapesData(0, 64).batch(mirrors)
    tiles = scenes.shape[mirrors, 0] == TILE
    assert tiles.any()
    np.testing.assert_allclose(images, images[..., ::-1], atol=1e-4)


def test_mirrored_bits_is_its_own_inverse_and_moves_columns():
    patterns = np.arange(512)
    np.testing.assert_array_equal(mirrored_bits(mirrored_bits(patterns)), patterns)
    assert mirrored_bits(np.array([0b001_000_000]))[0] == 0b100_000_000


def test_sizes_show_the_same_scene():
    small, large = (ShapesData(2, size).batch(np.arange(20))[0] for size in (32, 64))
    pooled = large.reshape(20, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    assert np.abs(pooled - small).mean() < 0.02


@pytest.mark.parametrize("size", [31, 257, 0, -1])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(QualityError, match="32 to 256"):
        ShapesData(0, size)
