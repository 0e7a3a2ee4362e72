from __future__ import annotations

import math
import shutil
import statistics
from pathlib import Path

import pytest
import torch

from archsearch.arch import arch_id, load_preset
from archsearch.errors import QualityError
from archsearch.models import build
from archsearch.quality.config import RESULT, SCORES, STATE, WEIGHTS
from archsearch.quality.score import Score, Scorer, paired_difference
from archsearch.quality.supernet import Supernet


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, without scores."""
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns(SCORES))
    return tmp_path / "run"


def scorer_of(run: Path) -> Scorer:
    return Scorer(run, samples=16)


def test_a_score_is_the_mean_over_the_set(run, tiny):
    score = scorer_of(run).validation_loss(tiny.decode(tiny.defaults()))
    assert score.samples == 16
    assert score.value == pytest.approx(statistics.fmean(score.losses))
    assert score.standard_error == pytest.approx(statistics.stdev(score.losses) / 4)


def test_scores_do_not_depend_on_order_company_or_cache(run, tiny):
    networks = [tiny.decode(row) for row in tiny.sample(4, seed=2).tolist()]
    scorer = scorer_of(run)
    forward = [scorer.validation_loss(unet) for unet in networks]
    again = scorer_of(run)
    assert [again.validation_loss(unet) for unet in networks] == forward  # from the cache
    (run / SCORES).unlink()
    fresh = scorer_of(run)
    assert [fresh.validation_loss(unet) for unet in reversed(networks)] == forward[::-1]


def test_the_score_is_that_of_the_stand_alone_module_with_averaged_weights(run, tiny):
    unet = tiny.decode(tiny.sample(1, seed=4)[0].tolist())
    score = scorer_of(run).validation_loss(unet)
    supernet = Supernet(tiny)
    ema = torch.load(run / STATE, weights_only=True)["ema"]
    with torch.no_grad():
        for name, weight in supernet.weights.items():
            weight.copy_(ema[name])
    module = build(unet)
    module.load_state_dict(supernet.export(unet))
    scorer = scorer_of(run)
    scorer._load()
    losses = []
    with torch.inference_mode():
        for batch in scorer._set:
            v = module(batch.noisy, batch.timestep, batch.text, return_dict=False)[0]
            losses += [
                float(w * (a - b).square().mean()) for w, a, b in zip(batch.weight, v, batch.target, strict=True)
            ]
    assert score.losses == pytest.approx(losses, rel=1e-4)


def test_equal_networks_share_a_score(run, tiny):
    from dataclasses import replace

    from archsearch.arch import Transformer, TransformerBlock

    unet = tiny.decode(tiny.defaults())
    *rest, last = unet.middle
    assert isinstance(last, Transformer)
    padded = replace(unet, middle=(*rest, replace(last, blocks=(*last.blocks, TransformerBlock()))))
    assert padded != unet
    assert arch_id(padded) == arch_id(unet)
    scorer = scorer_of(run)
    assert scorer.validation_loss(unet) == scorer.validation_loss(padded)
    assert len((run / SCORES).read_text().splitlines()) == 1


def test_another_checkpoint_or_set_has_its_own_scores(run, tiny):
    unet = tiny.decode(tiny.defaults())
    first = scorer_of(run)
    score = first.validation_loss(unet)
    supernet = Supernet(tiny, seed=9)
    from safetensors.torch import save_file

    save_file({name: weight.detach() for name, weight in supernet.weights.items()}, run / WEIGHTS)
    second = scorer_of(run)
    assert second.sha256 != first.sha256
    assert second.validation_loss(unet) != score
    assert Scorer(run, samples=8).validation_loss(unet).samples == 8
    assert len((run / SCORES).read_text().splitlines()) == 3


def test_a_line_cut_short_is_passed_over_and_the_rest_kept(run, tiny):
    networks = [tiny.decode(row) for row in tiny.sample(3, seed=2).tolist()]
    scorer = scorer_of(run)
    scores = [scorer.validation_loss(unet) for unet in networks[:2]]
    content = (run / SCORES).read_bytes()
    (run / SCORES).write_bytes(content + content[:50])
    again = scorer_of(run)
    third = again.validation_loss(networks[2])
    final = scorer_of(run)
    final._losses = None  # nothing is computed again
    assert [final.validation_loss(unet) for unet in networks] == [*scores, third]


def test_paired_errors_are_those_of_the_differences():
    a = Score(0.3, 0.1, (0.1, 0.3, 0.5))
    b = Score(0.2, 0.1, (0.05, 0.15, 0.4))
    difference = paired_difference(a, b)
    gaps = [0.05, 0.15, 0.1]
    assert difference.value == pytest.approx(statistics.fmean(gaps))
    assert difference.standard_error == pytest.approx(statistics.stdev(gaps) / math.sqrt(3))
    assert paired_difference(a, a).standard_error == 0
    with pytest.raises(QualityError, match="different samples"):
        paired_difference(a, Score(0.1, 0.1, (0.1, 0.1)))


def test_references_are_members(run, tiny):
    scorer = scorer_of(run)
    assert scorer.reference("baseline") == tiny.decode(tiny.defaults())
    assert all(scorer.reference(name) in tiny for name in ("largest", "smallest"))
    with pytest.raises(QualityError, match="Did you mean 'largest'"):
        scorer.reference("largets")


def test_what_the_supernet_does_not_cover_is_refused(run):
    scorer = scorer_of(run)
    for name in ("sd15", "sd-decoder"):
        with pytest.raises(QualityError):
            scorer.validation_loss(load_preset(name).architecture)


@pytest.mark.parametrize("missing", [WEIGHTS, RESULT, "run.json", "space.yaml"])
def test_unfinished_runs_are_refused(run, tiny, missing):
    from archsearch.errors import ArchsearchError

    (run / missing).unlink()
    with pytest.raises(ArchsearchError):
        scorer_of(run).validation_loss(tiny.decode(tiny.defaults()))


def test_damaged_weights_are_refused(run):
    (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(QualityError, match="damaged weights"):
        scorer_of(run)


def test_weights_of_another_space_are_refused(run, tiny):
    from safetensors.torch import save_file

    save_file({"conv_in/weight": torch.zeros(1)}, run / WEIGHTS)
    with pytest.raises(QualityError, match="not those of this space"):
        scorer_of(run).validation_loss(tiny.decode(tiny.defaults()))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(QualityError, match="not a quality run"):
        Scorer(tmp_path)
