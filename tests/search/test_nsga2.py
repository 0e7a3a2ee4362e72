import pytest

from archsearch.errors import SearchError
from archsearch.search.evaluate import Evaluator, Result
from archsearch.search.front import front
from archsearch.search.study import extend, open_study
from tests.search.helpers import content, run_toy, toy_study
from tests.search.toy import CONDITIONS, Toy, loss

STRATEGIES = ["nsga2", "random"]


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("constraints", [(), ("macs <= 70%",)])
def test_a_resumed_study_equals_an_uninterrupted_one(tmp_path, strategy, constraints):
    options = {"trials": 45, "strategy": strategy, "constraints": constraints}
    whole = run_toy(toy_study(tmp_path / "whole", **options))
    assert len(whole.trials) == 45

    for stop in (1, 8, 13, 30):
        folder = tmp_path / f"cut-{stop}"
        study = toy_study(folder, **options)

        def killed(progress, stop=stop):
            if progress.trials % stop == 0 and progress.trials < 45:
                raise Killed

        for _ in range(50):
            try:
                run_toy(open_study(folder), on_progress=killed)
                break
            except Killed:
                with (folder / "trials.jsonl").open("ab") as stream:
                    stream.write(b'{"number": 999, "enc')
        study = open_study(folder)
        assert [content(t) for t in study.trials] == [content(t) for t in whole.trials]


def test_the_seed_decides(tmp_path):
    a, b, c = (
        [t.encoding for t in run_toy(toy_study(tmp_path / name, seed=seed, trials=20)).trials]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert a == b
    assert a != c


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_trial_is_a_candidate_and_the_first_is_the_baseline(tmp_path, strategy):
    toy = Toy()
    study = run_toy(toy_study(tmp_path / "s", strategy=strategy, trials=50))
    assert study.trials[0].encoding == toy.baseline
    for trial in study.trials:
        assert toy.canonical(trial.encoding) == trial.encoding


def test_nothing_is_evaluated_twice(tmp_path):
    seen = []

    def quality(arch):
        seen.append(arch)
        return loss(arch)

    study = run_toy(toy_study(tmp_path / "s", trials=60), Evaluator(CONDITIONS, (), quality))
    assert len(seen) == len(set(seen)) == len({t.encoding for t in study.trials})
    for trial in study.trials:
        if trial.duplicate_of is not None:
            twin = study.trials[trial.duplicate_of]
            assert (twin.encoding, twin.values) == (trial.encoding, trial.values)
            assert twin.duplicate_of is None


def test_a_search_ends_when_the_space_is_known(tmp_path):
    study = run_toy(toy_study(tmp_path / "s", trials=3000))
    assert {t.encoding for t in study.trials} == set(Toy().enumerate())
    assert len(study.trials) < 3000


def test_nsga2_finds_the_true_front_sooner_than_random_draws(tmp_path):
    names = ("params", "quality")
    toy = Toy()
    evaluator = Evaluator(CONDITIONS, (), loss)
    points = [tuple(evaluator(toy.decode(e)).values[n] for n in names) for e in toy.enumerate()]
    true = {p for p in points if not any(q != p and all(x <= y for x, y in zip(q, p, strict=True)) for q in points)}
    found = {}
    for strategy in STRATEGIES:
        hits = 0
        for seed in range(3):
            study = toy_study(tmp_path / f"{strategy}{seed}", strategy=strategy, seed=seed, trials=30, objectives=names)
            hits += len(true & {t.vector(names) for t in run_toy(study).trials})
        found[strategy] = hits
    assert found["nsga2"] > found["random"]


def test_constraints_steer_the_search(tmp_path):
    free = run_toy(toy_study(tmp_path / "free", trials=50))
    tight = run_toy(toy_study(tmp_path / "tight", trials=50, constraints=("params <= 20%",)))
    limit = tight.config.bounds["params <= 20%"]
    assert all(t.feasible == (t.values["params"] <= limit) for t in tight.trials)
    assert all(t.values["params"] <= limit for t in front(tight.trials, tight.config.objectives))
    assert sum(t.values["params"] <= limit for t in tight.trials) > sum(
        t.values["params"] <= limit for t in free.trials
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_scores_that_are_no_numbers_are_kept_and_never_on_the_front(tmp_path, bad):
    def evaluator(arch):
        real = Evaluator(CONDITIONS, (), loss)(arch)
        small = real.values["params"] < 80_000
        return Result(real.values | {"quality": bad if small else real.values["quality"]}, {}, real.errors)

    study = toy_study(tmp_path / "s", trials=40, constraints=("quality <= 5",))
    with pytest.raises(KeyboardInterrupt):
        run_toy(study, evaluator, on_progress=interrupt_at(25))
    study = run_toy(open_study(tmp_path / "s"), evaluator)
    failed = [t for t in study.trials if t.values["quality"] is None]
    assert failed
    assert len(failed) < 40
    assert not any(t.feasible for t in failed)
    assert not {t.number for t in failed} & {t.number for t in front(study.trials, study.config.objectives)}


def interrupt_at(count):
    def stop(progress):
        if progress.trials == count:
            raise KeyboardInterrupt

    return stop


def test_more_trials_go_on_from_where_it_stopped(tmp_path):
    whole = run_toy(toy_study(tmp_path / "whole", trials=40))
    run_toy(toy_study(tmp_path / "part", trials=17))
    more = run_toy(extend(open_study(tmp_path / "part"), 40))
    assert [content(t) for t in more.trials] == [content(t) for t in whole.trials]
    assert open_study(tmp_path / "part").config.trials == 40


def test_a_running_study_is_locked(tmp_path):
    study = toy_study(tmp_path / "s", trials=10)

    def again(progress):
        with pytest.raises(SearchError, match="another process"):
            run_toy(study)

    run_toy(study, on_progress=again)


def test_progress_is_told(tmp_path):
    seen = []
    run_toy(toy_study(tmp_path / "s", trials=30), on_progress=seen.append)
    assert [p.trials for p in seen] == list(range(1, 31))
    volumes = [p.hypervolume for p in seen if p.hypervolume]
    assert volumes == sorted(volumes)
    assert volumes[-1] > volumes[0] > 0
    assert all(p.seconds_left >= 0 and p.budget == 30 for p in seen)
