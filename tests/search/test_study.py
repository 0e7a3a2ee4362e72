import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.errors import SearchError
from archsearch.search.config import from_json, to_json
from archsearch.search.study import check_same, check_versions, create_study, open_study, table_hash
from tests.search.helpers import SPACE_FILE, run_toy, toy_config, toy_study


def test_a_study_reads_back(tmp_path):
    study = run_toy(toy_study(tmp_path / "s", constraints=("params <= 90%", "macs <= 1G"), trials=12))
    again = open_study(tmp_path / "s")
    assert again == study
    assert [o.name for o in again.objectives] == ["params", "macs", "quality"]
    assert [c.text for c in again.constraints] == list(again.config.constraints)
    assert again.conditions.latent == (16, 16)
    assert from_json(json.loads(json.dumps(to_json(again.config))), "x") == again.config


def test_a_folder_that_is_no_study(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SearchError, match="not a study"):
            open_study(folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SearchError, match="not a study"):
        open_study(tmp_path / "file")


def test_a_used_folder_is_not_overwritten(tmp_path):
    toy_study(tmp_path / "s")
    with pytest.raises(SearchError, match="holds a study already"):
        toy_study(tmp_path / "s")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(SearchError, match="not empty"):
        toy_study(tmp_path / "other")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SearchError, match="cannot write"):
        toy_study(tmp_path / "file" / "s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "archsearch.study/2"}, "archsearch release that wrote it"),
        ({"extra": 1}, "extra: unknown field"),
        ({"seed": None}, "seed"),
        ({"seed": "7"}, "whole number"),
        ({"space": {}}, "malformed"),
        ({"space": []}, "malformed"),
        ({"tables": [{}]}, "malformed"),
        ({"conditions": []}, "not a mapping"),
        ({"objectives": 5}, "malformed"),
    ],
)
def test_a_malformed_configuration_is_named(tmp_path, change, message):
    toy_study(tmp_path / "s")
    path = tmp_path / "s" / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SearchError, match=message):
        open_study(tmp_path / "s")


def test_a_missing_field_is_named(tmp_path):
    toy_study(tmp_path / "s")
    path = tmp_path / "s" / "study.json"
    data = json.loads(path.read_text())
    del data["bounds"]
    path.write_text(json.dumps(data))
    with pytest.raises(SearchError, match="bounds: missing field"):
        open_study(tmp_path / "s")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
    lambda x: json.dumps(x).encode())))  # fmt: skip
def test_any_study_file_is_read_or_refused(tmp_path, data):
    (tmp_path / "study.json").write_bytes(data)
    with pytest.raises(SearchError):
        open_study(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"objectives": ("macs",)}, {"constraints": ("params <= 50%",)}, {"strategy": "random"},
     {"population": 9}, {"conditions": {"latent": [8, 8]}}],
)  # fmt: skip
def test_another_configuration_is_refused(tmp_path, change):
    study = toy_study(tmp_path / "s")
    check_same(study, toy_config())
    check_same(study, toy_config(trials=999))
    with pytest.raises(SearchError, match=f"another configuration \\({next(iter(change))}: "):
        check_same(study, replace(study.config, **change))


def test_another_space_is_refused(tmp_path):
    study = toy_study(tmp_path / "s")
    other = replace(study.config, space=replace(study.config.space, sha256="f" * 64))
    with pytest.raises(SearchError, match=r"space: toy \(\w{8}\) there, toy \(ffffffff\) now"):
        check_same(study, other)


def test_other_versions_are_refused(tmp_path):
    study = toy_study(tmp_path / "s")
    check_versions(study, study.config.versions)
    with pytest.raises(SearchError, match=r"optuna .* there, 9\.9 now.*--any-version"):
        check_versions(study, dict(study.config.versions) | {"optuna": "9.9"})


def test_an_edited_space_is_refused(tmp_path):
    study = toy_study(tmp_path / "s")
    (study.folder / "space.yaml").write_bytes(SPACE_FILE + b"more: 1\n")
    with pytest.raises(SearchError, match="space was edited"):
        _ = study.space
    (study.folder / "space.yaml").unlink()
    with pytest.raises(SearchError, match="cannot be read"):
        _ = study.space


def test_no_such_trial(tmp_path):
    study = toy_study(tmp_path / "s")
    with pytest.raises(SearchError, match=r"no such trial.*none yet"):
        study.architecture(0)
    study = run_toy(study)
    with pytest.raises(SearchError, match=r"no such trial.*0 to 39"):
        study.architecture(40)


def test_a_table_hash_sees_every_file(tmp_path):
    (tmp_path / "table.yaml").write_text("a: 1\n")
    (tmp_path / "ops.csv").write_text("x\n")
    first = table_hash(tmp_path)
    (tmp_path / "ops.csv").write_text("y\n")
    assert table_hash(tmp_path) != first
    with pytest.raises(SearchError):
        table_hash(tmp_path / "missing")


def test_creating_a_half_written_study_leaves_none_behind(tmp_path):
    config = toy_config()
    with pytest.raises(ValueError, match="zip"):
        create_study(tmp_path / "s", config, SPACE_FILE, [tmp_path])
    with pytest.raises(SearchError, match="not a study"):
        open_study(tmp_path / "s")
