from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from archsearch.errors import QualityError
from archsearch.quality.config import RUN, STATE, UPDATES, WEIGHTS, TrainConfig, read_run
from archsearch.quality.diffusion import Batches
from archsearch.quality.train import train
from archsearch.quality.trainer import Trainee
from archsearch.space import Space, load_space
from tests.quality.spaces import TINY

CONFIG = TrainConfig(steps=8, batch=4)


class Watch:
    """Records the steps, and fails at one of them as a crash would."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.steps: list[int] = []
        self.crash_at = crash_at

    def update(self, step: int, seconds: float, loss: float) -> None:
        self.steps.append(step)
        if step == self.crash_at:
            raise RuntimeError("crash")


def state_of(folder: Path) -> dict[str, object]:
    return torch.load(folder / STATE, weights_only=True)


def assert_same_state(a: Path, b: Path) -> None:
    first, second = state_of(a), state_of(b)
    assert first["step"] == second["step"]
    assert first["loss"] == second["loss"]
    assert torch.equal(first["updates"], second["updates"])
    for kind in ("weights", "ema"):
        assert first[kind].keys() == second[kind].keys()
        for name, tensor in first[kind].items():
            assert torch.equal(tensor, second[kind][name]), (kind, name)
    for index, moments in first["optimizer"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, second["optimizer"]["state"][index][name])


def test_a_run_in_two_parts_equals_one_in_one_go(tiny, trained, tmp_path):
    watch = Watch()
    first = train(tiny, replace(CONFIG, steps=3), tmp_path / "run", progress=watch)
    assert (first.steps, watch.steps) == (3, [1, 2, 3])
    second = train(tiny, CONFIG, tmp_path / "run", progress=watch)
    assert watch.steps == list(range(1, 9))
    assert second.name == "tiny-seed0-8steps"
    assert_same_state(tmp_path / "run", trained)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


def test_a_crash_loses_only_what_came_after_the_last_checkpoint(tiny, trained, tmp_path):
    config = replace(CONFIG, save_seconds=0.0)
    with pytest.raises(RuntimeError, match="crash"):
        train(tiny, config, tmp_path / "run", progress=Watch(crash_at=5))
    assert state_of(tmp_path / "run")["step"] == 4
    assert not (tmp_path / "run" / WEIGHTS).exists()
    watch = Watch()
    train(tiny, config, tmp_path / "run", progress=watch)
    assert watch.steps == [5, 6, 7, 8]
    assert_same_state(tmp_path / "run", trained)


def test_a_finished_run_is_not_trained_again(tiny, trained):
    before = (trained / STATE).stat().st_mtime_ns
    watch = Watch()
    assert train(tiny, CONFIG, trained, progress=watch).steps == 8
    assert watch.steps == []
    assert (trained / STATE).stat().st_mtime_ns == before


def test_a_budget_of_time_is_recorded_in_steps(tiny, tmp_path):
    result = train(tiny, replace(CONFIG, steps=None, seconds=0.05), tmp_path / "run")
    assert result.steps >= 1
    assert result.seconds >= 0.05
    assert result.name == f"tiny-seed0-{result.steps}steps"


def test_training_lowers_the_loss(tiny, tmp_path):
    config = TrainConfig(steps=20, batch=8, share_largest=1.0, share_smallest=0.0, drop_residual=0, drop_transformer=0)
    trainee = Trainee(tiny, config)
    start = float(trainee.loss_of(0).detach())
    assert train(tiny, config, tmp_path / "run").loss < 0.8 * start


def test_averaged_weights_leave_as_safetensors(tiny, trained):
    weights = load_file(trained / WEIGHTS)
    state = state_of(trained)
    assert weights.keys() == state["ema"].keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state["ema"].items())
    assert any(not torch.equal(weights[name], tensor) for name, tensor in state["weights"].items())


def test_updates_of_paths_add_up(tiny, tmp_path):
    config = replace(CONFIG, steps=5, share_largest=1.0, share_smallest=0.0, drop_residual=0.0, drop_transformer=0.0)
    rows = train(tiny, config, tmp_path / "run").updates
    counts = {row.path: row.updates for row in rows}
    assert counts["conv_in"] == 5
    assert {row.updates for row in rows} == {0, 5}
    assert counts["down/1/0/residual/0/conv1/full"] == 5
    assert counts["down/1/0/residual/0/conv1/depthwise"] == 0
    lines = (tmp_path / "run" / UPDATES).read_text().splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[1] == "conv_in,5,5,1.0000"


def test_the_run_says_what_it_is(tiny, trained):
    run = read_run(trained)
    assert run.config == CONFIG
    assert run.space == "tiny"
    assert set(run.versions) >= {"torch", "pytorch-lightning", "archsearch"}
    assert load_space(trained / run.space_file).size() == tiny.size()


def nan_from(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Batches.train

    def poisoned(self, seed, number, size):
        batch = whole(self, seed, number, size)
        return batch._replace(target=batch.target * float("nan")) if number >= step else batch

    monkeypatch.setattr(Batches, "train", poisoned)


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tiny, trained, tmp_path, monkeypatch):
    config = replace(CONFIG, save_seconds=0.0)
    train(tiny, replace(config, steps=3), tmp_path / "run")
    kept = (tmp_path / "run" / STATE).read_bytes()
    with monkeypatch.context() as patch:
        nan_from(3, patch)
        with pytest.raises(QualityError, match="step 3: the loss is not finite"):
            train(tiny, config, tmp_path / "run")
    assert (tmp_path / "run" / STATE).read_bytes() == kept
    train(tiny, config, tmp_path / "run")
    assert_same_state(tmp_path / "run", trained)


def test_weights_that_are_not_finite_are_never_saved(tiny, tmp_path):
    trainee = Trainee(tiny, CONFIG)
    trainee.save(tmp_path / "state.pt", "x")
    kept = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        trainee.supernet.weights["conv_in/weight"][0] = torch.inf
    with pytest.raises(QualityError, match=r"no longer finite.*last checkpoint is kept"):
        trainee.save(tmp_path / "state.pt", "x")
    assert (tmp_path / "state.pt").read_bytes() == kept


def test_a_full_disk_keeps_what_was_there(tiny, tmp_path, monkeypatch):
    trainee = Trainee(tiny, CONFIG)
    trainee.save(tmp_path / "state.pt", "x")
    kept = (tmp_path / "state.pt").read_bytes()

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QualityError, match="No space left"):
        trainee.save(tmp_path / "state.pt", "x")
    assert (tmp_path / "state.pt").read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "another seed"),
        ({"batch": 8}, "another batch"),
        ({"learning_rate": 1e-3}, "another learning_rate"),
    ],
)
def test_another_configuration_does_not_continue_a_run(tiny, trained, change, message):
    with pytest.raises(QualityError, match=message):
        train(tiny, replace(CONFIG, **change), trained)


def test_another_space_does_not_continue_a_run(trained, tmp_path):
    other = TINY.replace("expansion: {choices: [1, 2]", "expansion: {choices: [1, 2, 3]")
    (tmp_path / "other.yaml").write_text(other)
    with pytest.raises(QualityError, match="run of another space"):
        train(load_space(tmp_path / "other.yaml"), CONFIG, trained)


def test_a_comment_does_not_make_another_space(trained, tmp_path):
    (tmp_path / "same.yaml").write_text("# a remark\n" + TINY)
    assert train(load_space(tmp_path / "same.yaml"), CONFIG, trained).steps == 8


def test_a_folder_of_something_else_is_left_alone(tiny, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(QualityError, match="neither empty nor a quality run"):
        train(tiny, CONFIG, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", pickle.dumps(Bomb()), b"\x00" * 100])
def test_damaged_or_hostile_states_are_refused(tiny, trained, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    train(tiny, replace(CONFIG, steps=1), folder)
    (folder / STATE).write_bytes(content)
    with pytest.raises(QualityError, match="not a readable training state"):
        train(tiny, CONFIG, folder)
    assert not (tmp_path / "exploded").exists()


def test_a_hostile_archive_is_not_executed(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    train(tiny, replace(CONFIG, steps=1), folder)
    torch.save({"schema": "archsearch.training-state/1", "bomb": Bomb()}, folder / STATE)
    with pytest.raises(QualityError, match="not a readable training state"):
        train(tiny, CONFIG, folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": "other/1"}', '{"schema": "archsearch.quality-run/1"}', "{", '{"config": {}}']
)
def test_malformed_runs_are_refused(trained, tmp_path, text):
    (tmp_path / RUN).write_text(text)
    with pytest.raises(QualityError):
        read_run(tmp_path)


def test_a_run_with_an_unknown_setting_is_refused(trained, tmp_path):
    data = json.loads((trained / RUN).read_text())
    data["config"]["colour"] = "red"
    (tmp_path / RUN).write_text(json.dumps(data))
    with pytest.raises(QualityError, match="keys are not those of this release"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"steps": 0},
        {"steps": 1.5},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"steps": True},
        {"steps": 1, "batch": 0},
        {"steps": 1, "ema": 1.5},
        {"steps": 1, "share_largest": 0.7, "share_smallest": 0.7},
        {"steps": 1, "schedule": "linear"},
        {"steps": 1, "weighting": "none"},
        {"steps": 1, "learning_rate": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(QualityError):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("text_width: 64", "text_width: 32", "text_width"),
        ("in_channels: 3", "in_channels: 4", "in_channels"),
        ("latent: [32, 32]", "latent: [32, 64]", "latent"),
        ("latent: [32, 32]", "latent: [16, 16]", "32 to 256"),
    ],
)
def test_spaces_that_the_data_do_not_fit_are_refused(tmp_path, old, new, message):
    (tmp_path / "tiny.yaml").write_text(TINY.replace(old, new))
    space: Space = load_space(tmp_path / "tiny.yaml")
    with pytest.raises(QualityError, match=message):
        train(space, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from archsearch.quality.config import TrainConfig
from archsearch.quality.train import train
from archsearch.space import load_space

class Tell:
    def update(self, step, seconds, loss):
        print(step, flush=True)

train(load_space(sys.argv[1]), TrainConfig(steps=8, batch=4, save_seconds=0.0), Path(sys.argv[2]), progress=Tell())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_continues_to_the_same_weights(tiny, trained, tmp_path, number):
    command = [sys.executable, "-c", SCRIPT, str(tiny.path), str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "3":
                process.send_signal(number)
                break
        process.stdout.read()
    assert process.returncode != 0
    assert not (tmp_path / "run" / WEIGHTS).exists()
    done = state_of(tmp_path / "run")["step"]
    assert 2 <= done < 8
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert_same_state(tmp_path / "run", trained)
