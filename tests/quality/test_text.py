from __future__ import annotations

import numpy as np
import pytest
import torch

from archsearch.errors import QualityError
from archsearch.quality.shapes import ShapesData
from archsearch.quality.text import LENGTH, PAD, VOCABULARY, WIDTH, encode, tokens


def test_tokens_are_padded_word_numbers():
    ids = tokens(["a red circle", ""])
    assert ids.shape == (2, LENGTH)
    assert ids[0, :3].tolist() == [VOCABULARY["a"], VOCABULARY["red"], VOCABULARY["circle"]]
    assert ids[0, 3:].eq(PAD).all()
    assert ids[1].eq(PAD).all()


def test_case_and_full_stops_do_not_matter():
    assert torch.equal(tokens(["A red circle."]), tokens(["a red circle"]))


def test_states_are_fixed_and_of_unit_scale():
    captions = ShapesData().batch(np.arange(64))[1]
    states = encode(tokens(captions))
    assert states.shape == (64, LENGTH, WIDTH)
    assert torch.equal(states, encode(tokens(captions)))
    assert 0.8 < float(states.std()) < 1.2


def test_states_know_the_word_its_place_and_its_neighbours():
    a, b = encode(tokens(["a red circle left of a blue square", "a blue circle left of a red square"]))
    assert not torch.allclose(a[2], b[2])  # "circle", after another colour
    assert torch.allclose(a[3], b[3])  # "left" between the same words at the same place
    words = encode(tokens(["red", "green"]))[:, 0]
    assert float((words[0] - words[1]).norm()) > 4


def test_padding_sums_the_caption_up_in_any_order():
    a, b, empty = encode(tokens(["red circle", "circle red", ""]))
    assert torch.allclose(a[5], b[5])
    assert not torch.allclose(a[0], b[1])
    assert not torch.allclose(a[5], empty[5])


def test_distinct_captions_have_distinct_states():
    captions = sorted(set(ShapesData().batch(np.arange(300))[1]))
    states = encode(tokens(captions)).flatten(1)
    distances = torch.cdist(states, states) + torch.eye(len(captions)) * 99
    assert float(distances.min()) > 1


@pytest.mark.parametrize(
    ("caption", "message"),
    [("a read circle", "Did you mean 'red'"), (" ".join(["red"] * 17), "<= 16 words"), ("\x00", "unknown word")],
)
def test_captions_outside_the_vocabulary_are_refused(caption, message):
    with pytest.raises(QualityError, match=message):
        tokens([caption])
