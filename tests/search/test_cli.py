"""The search and report commands, each in a process of its own, on the real demo space."""

import json
import signal
import subprocess
import sys
import time

import pytest

from archsearch.search.study import open_study
from tests.conftest import assert_one_line_error, run_cli
from tests.report.studies import demo_table
from tests.search.helpers import content

RUN = ["search", "run", "demo", "--trials", "40", "--population", "8", "--seed", "3"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return demo_table(tmp_path_factory.mktemp("tables") / "phone", name="phone")


@pytest.fixture(scope="module")
def study(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("studies") / "whole"
    result = run_cli(*RUN, "--study", str(folder), "--table", str(table), "--constraint", "latency:phone <= 80%")
    assert result.returncode == 0, result.stderr
    return folder, result


def test_run_says_what_it_does_and_what_came_out(study):
    folder, result = study
    assert "40 of 40 (finished)" in result.stdout
    assert "knee" in result.stdout
    assert "warning: no quality objective" in result.stderr
    assert "over the space, median" in result.stderr
    assert "hypervolume" in result.stderr
    assert f"archsearch report {folder}" in result.stderr


def test_front_json_is_the_contract(study):
    folder, _ = study
    result = run_cli("search", "front", str(folder), "--json")
    data = json.loads(result.stdout)
    assert data["schema"] == "archsearch.front/1"
    assert data["objectives"] == ["params", "latency:phone"]
    numbers = [t["number"] for t in data["trials"]]
    assert data["knee"] in numbers
    for trial in data["trials"]:
        assert {"number", "arch", "arch_id", "values", "constraints"} <= set(trial)
        assert trial["constraints"]["latency:phone <= 80%"] <= 0
    table = run_cli("search", "front", str(folder)).stdout
    assert all(trial["arch_id"] in table for trial in data["trials"])


def test_a_trial_stands_wherever_an_architecture_does(study, table):
    folder, _ = study
    data = json.loads(run_cli("search", "front", str(folder), "--json").stdout)
    trial = data["trials"][0]
    result = run_cli("profile", f"{folder}#{trial['number']}", "--table", str(table), "--json")
    found = json.loads(result.stdout)
    assert found["arch_id"] == trial["arch_id"]
    assert found["arch"] == trial["arch"]
    assert found["totals"]["params"] == trial["values"]["params"]
    assert found["totals"]["macs"] == trial["values"]["macs"]
    assert found["totals"]["weight_bytes"] == trial["values"]["size"]
    assert found["totals"]["peak_activation_bytes"] == trial["values"]["memory"]
    assert found["latency"]["phone"]["total_ms"] == trial["values"]["latency:phone"]
    assert_one_line_error(run_cli("profile", f"{folder}#4000"))


def test_status_json(study):
    folder, _ = study
    data = json.loads(run_cli("search", "status", str(folder), "--json").stdout)
    assert data["schema"] == "archsearch.search_status/1"
    assert (data["trials"], data["budget"], data["finished"]) == (40, 40, True)


def test_killed_and_run_again_equals_uninterrupted(study, table, tmp_path):
    whole, _ = study
    folder = tmp_path / "s"
    command = [*RUN, "--study", str(folder), "--table", str(table), "--constraint", "latency:phone <= 80%"]
    process = subprocess.Popen([sys.executable, "-m", "archsearch.cli.main", *command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    trials = folder / "trials.jsonl"
    while process.poll() is None and not (trials.exists() and trials.read_bytes().count(b"\n") >= 9):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(open_study(folder).trials)
    assert done >= 9
    result = run_cli("search", "resume", str(folder))
    assert result.returncode == 0, result.stderr
    assert [content(t) for t in open_study(folder).trials] == [content(t) for t in open_study(whole).trials]
    again = run_cli(*command)
    assert again.returncode == 0
    assert len(open_study(folder).trials) == 40


def test_ctrl_c_leaves_a_study_that_goes_on(tmp_path):
    folder = tmp_path / "s"
    command = [sys.executable, "-m", "archsearch.cli.main", "search", "run", "demo", "--study", str(folder)]
    command += ["--trials", "100000", "--objective", "macs"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    trials = folder / "trials.jsonl"
    while process.poll() is None and not (trials.exists() and trials.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"archsearch search resume {folder}" in errors
    assert open_study(folder).trials


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--objective", "parms"], "Did you mean 'params'"),
        (["dmo"], "Did you mean 'demo'"),
        (["demo", "--constraint", "params <= 10%"], "at least 336.515 K"),
    ],
)
def test_wrong_requests_are_one_line_and_leave_nothing(tmp_path, arguments, message):
    line = assert_one_line_error(run_cli("search", "run", *arguments, "--study", str(tmp_path / "s")))
    assert message in line
    assert not (tmp_path / "s").exists()


def test_another_request_on_the_same_folder_is_refused(study, table):
    folder, _ = study
    base = ["--study", str(folder), "--table", str(table), "--constraint", "latency:phone <= 80%"]
    line = assert_one_line_error(run_cli(*RUN[:-1], "4", *base))
    assert "seed: 3 there, 4 now" in line
    line = assert_one_line_error(run_cli(*RUN, "--study", str(folder), "--table", str(table)))
    assert "constraints" in line
    line = assert_one_line_error(run_cli("search", "resume", str(folder), "--quality", "x"))
    assert "without a quality run" in line


def test_another_version_is_refused_unless_wanted(study, tmp_path):
    import shutil

    folder = tmp_path / "s"
    shutil.copytree(study[0], folder)
    path = folder / "study.json"
    data = json.loads(path.read_text())
    data["versions"]["optuna"] = "3.0.0"
    path.write_text(json.dumps(data))
    line = assert_one_line_error(run_cli("search", "resume", str(folder), "--trials", "41"))
    assert "optuna 3.0.0 there" in line
    result = run_cli("search", "resume", str(folder), "--trials", "41", "--any-version")
    assert result.returncode == 0
    assert len(open_study(folder).trials) == 41


def test_edited_tables_and_spaces_are_refused(study, tmp_path):
    import shutil

    folder = tmp_path / "s"
    shutil.copytree(study[0], folder)
    with (folder / "tables" / "0" / "ops.csv").open("a") as stream:
        stream.write("x\n")
    line = assert_one_line_error(run_cli("search", "resume", str(folder), "--trials", "50"))
    assert "latency table was edited" in line


def test_what_is_no_study(tmp_path):
    for command in (["search", "front"], ["search", "status"], ["search", "resume"], ["report"]):
        line = assert_one_line_error(run_cli(*command, str(tmp_path)))
        assert "not a study" in line


def test_a_folder_that_cannot_be_made():
    line = assert_one_line_error(run_cli("search", "run", "demo", "--study", "/proc/archsearch/s"))
    assert "cannot write the study" in line


def test_report_prints_the_page(study, tmp_path):
    folder, _ = study
    result = run_cli("report", str(folder), "-o", str(tmp_path / "out"))
    assert result.stdout.strip() == str(tmp_path / "out" / "index.html")
    assert (tmp_path / "out" / "index.html").stat().st_size > 4_000_000
    text = run_cli("report", str(folder), "--format", "markdown").stdout
    assert text.startswith("# Study whole")
