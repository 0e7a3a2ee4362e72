"""Hostile latency tables: every file of a table, every way to damage it, every command that reads or writes one.

Refused with file and line where there is one, exit code 2, and nothing in the table's folder is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from archsearch.latency.journal import JOURNAL
from archsearch.latency.rows import format_row
from tests.cli.test_archs import Run
from tests.latency.tables import HEAD, OPS, formula_ms, row, write_toy

READ = {
    "predict": ["latency", "predict", "sd15", "--table", "T"],
    "show": ["latency", "show", "T"],
    "plan": ["latency", "plan", "demo", "--grain", "op", "--table", "T"],
}
MEASURE = ["latency", "measure", "demo", "--table", "T"]
# Measuring asks the runtime for its version first, which takes a second: one kind of damage to each file.
MEASURED = ("another schema version", "NaN", "a row cut short", "a changed byte", "no rows", "a journal of noise",
            "a journal row that is no row")  # fmt: skip
HUGE = "linear[1x1x" + "9" * 190 + "](bias=0,out=" + "9" * 180 + ")@row"


def reseal(folder: Path) -> None:
    """Make the checksum right, so that what the file says is judged and not that it was changed."""
    digest = hashlib.sha256((folder / "ops.csv").read_bytes()).hexdigest()
    head = (folder / "table.yaml").read_text()
    (folder / "table.yaml").write_text(re.sub(r"^sha256: .*$", f"sha256: {digest}", head, flags=re.MULTILINE))


def sub(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


def rows(folder: Path, line: int, column: int, value: str) -> None:
    """Put a value into a cell of ``ops.csv``; columns count from the end of the quoted key."""
    lines = (folder / "ops.csv").read_text().splitlines()
    key, rest = lines[line - 1].rsplit('",', 1)
    cells = rest.split(",")
    cells[column] = value
    lines[line - 1] = f'{key}",{",".join(cells)}'
    (folder / "ops.csv").write_text("\n".join(lines) + "\n")
    reseal(folder)


def journal(folder: Path, *records: str) -> None:
    """A journal whose lines have the right digests, whatever they say."""
    lines = [hashlib.sha256(text.encode()).hexdigest()[:16] + " " + text for text in records]
    (folder / JOURNAL).write_text("\n".join(lines) + "\n")


GOOD = format_row(row(OPS[0], formula_ms(OPS[0])))
NAN_ROW = [cell if i != 2 else "nan" for i, cell in enumerate(GOOD)]

# ruff: noqa: E501 - one damage a line reads best
DAMAGE = {
    "another schema version": (lambda f: sub(f, "table.yaml", "table/1", "table/2"), "table.yaml:1: schema"),
    "no schema": (lambda f: sub(f, "table.yaml", "schema: archsearch.latency_table/1\n", ""), "schema"),
    "a head cut short": (lambda f: (f / "table.yaml").write_text("schema: archsearch.latency_table/1\nname: \"t"), "table.yaml"),
    "an empty head": (lambda f: (f / "table.yaml").write_text(""), "table.yaml:1"),
    "a head with a tag": (lambda f: sub(f, "table.yaml", 'name: "toy"', "name: !!python/name:os.system"), "table.yaml:2"),
    "a head with NaN threads": (lambda f: sub(f, "table.yaml", "threads: 1", "threads: .nan"), "threads: must be a positive"),
    "a head given twice": (lambda f: sub(f, "table.yaml", 'name: "toy"\n', 'name: "toy"\nname: "other"\n'), "table.yaml:3"),
    "a field of another release": (lambda f: sub(f, "table.yaml", "threads: 1", "threads: 1\nturbo: 1"), "unknown field"),
    "NaN": (lambda f: rows(f, 4, 1, "nan"), "ops.csv:4: latency_ms must be a positive finite number; got nan"),
    "infinity": (lambda f: rows(f, 4, 1, "inf"), "ops.csv:4: latency_ms"),
    "a negative time": (lambda f: rows(f, 5, 1, "-1.5"), "ops.csv:5: latency_ms must be a positive finite number"),
    "a time of zero": (lambda f: rows(f, 5, 1, "0"), "ops.csv:5: latency_ms"),
    "a negative quantile": (lambda f: rows(f, 6, 2, "-0.1"), "ops.csv:6: p10_ms"),
    "quantiles out of order": (lambda f: rows(f, 6, 2, "99"), "ops.csv:6: p10_ms <= latency_ms <= p90_ms"),
    "NaN in processor time": (lambda f: rows(f, 7, 10, "nan"), "ops.csv:7: cpu_ms"),
    "negative runs": (lambda f: rows(f, 7, 5, "-4"), "ops.csv:7: runs must be a whole number"),
    "an invented provenance": (lambda f: rows(f, 3, 4, "trustworthy"), "ops.csv:3: unknown provenance"),
    "a row twice": (lambda f: (sub(f, "ops.csv", (r := (f / "ops.csv").read_text().splitlines()[2]), f"{r}\n{r}"),
                               reseal(f)), "ops.csv:4: duplicate operator, first in line 3"),
    "a row cut short": (lambda f: ((f / "ops.csv").write_bytes((f / "ops.csv").read_bytes()[:-40]), reseal(f)), "ops.csv:25"),
    "a quote that never ends": (lambda f: (sub(f, "ops.csv", "linear[", '"linear['), reseal(f)), "ops.csv"),
    "another header": (lambda f: (sub(f, "ops.csv", "latency_ms", "latency_s"), reseal(f)), "ops.csv:1: other columns"),
    "a null byte": (lambda f: (sub(f, "ops.csv", "steady", "ste\0dy"), reseal(f)), "ops.csv"),
    "a changed byte": (lambda f: sub(f, "ops.csv", ",measured,", ",imported,"), "checksum differs"),
    "no rows": (lambda f: (f / "ops.csv").unlink(), "ops.csv"),
    "rows that are a folder": (lambda f: ((f / "ops.csv").unlink(), (f / "ops.csv").mkdir()), "ops.csv"),
    "rows that are a pipe": (lambda f: ((f / "ops.csv").unlink(), os.mkfifo(f / "ops.csv")), "ops.csv"),
    "a journal of noise": (lambda f: (f / JOURNAL).write_bytes(b"\xff\x00\n" * 3), f"{JOURNAL}:1: a damaged line"),
    "a journal with NaN": (lambda f: journal(f, json.dumps({"row": GOOD}), json.dumps({"row": NAN_ROW})), f"{JOURNAL}:2"),
    "a journal of numbers": (lambda f: journal(f, "5"), f"{JOURNAL}:1"),
    "a journal that is not JSON": (lambda f: journal(f, "{row"), f"{JOURNAL}:1"),
    "a journal row that is no row": (lambda f: journal(f, '{"row": 5}'), f"{JOURNAL}:1"),
    "a journal row of numbers": (lambda f: journal(f, json.dumps({"row": [1] * 14})), f"{JOURNAL}:1"),
    "a journal nested deeply": (lambda f: journal(f, '{"row": ' + "[" * 100_000 + "]" * 100_000 + "}"), f"{JOURNAL}:1"),
    "calibration of another release": (lambda f: (f / "calibration.yaml").write_text("schema: x/9\n"), "calibration.yaml:1"),
    "calibration of noise": (lambda f: (f / "calibration.yaml").write_bytes(b"\xff\xfe"), "calibration.yaml"),
}  # fmt: skip


def bytes_in(folder: Path) -> dict[str, bytes]:
    """The content of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy", OPS)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    monkeypatch.setenv("ARCHSEARCH_CACHE", str(tmp_path / "cache"))
    yield Run(monkeypatch, capsys)
    assert not (tmp_path / "cache").exists()  # nothing was converted for a table that cannot take it


@pytest.mark.parametrize("how", DAMAGE)
def test_refused_with_file_and_line_and_left_alone(run: Run, table: Path, how: str) -> None:
    damage, message = DAMAGE[how]
    damage(table)  # type: ignore[no-untyped-call]
    before = bytes_in(table)
    commands = READ | ({"measure": MEASURE} if how in MEASURED else {})
    for name, words in commands.items():
        line = run.refused(*(str(table) if word == "T" else word for word in words))
        assert message in line, name
        assert str(table) in line, name
        assert bytes_in(table) == before, name
    code, out, _ = run("latency", "check", str(table))
    assert code == 1
    assert message in out
    assert bytes_in(table) == before


@pytest.mark.parametrize("key", [HUGE, "conv9d[1x8x8x8](k=3)@nhwc", "conv2d[1x8x8x8](bias=1,g=0,k=3,out=8,s=1)@nhwc"])
def test_keys_that_are_no_operators(run: Run, tmp_path: Path, key: str) -> None:
    """The file reads; whoever wants to predict with it is told which key is at fault."""
    from archsearch.latency.write import write_table

    wrong = row(OPS[0], 1.0)._replace(key=key, kind=key.partition("[")[0])
    write_table(tmp_path / "t", HEAD, [*(row(op, formula_ms(op)) for op in OPS), wrong])
    before = bytes_in(tmp_path / "t")
    assert key[:40] in run.refused("latency", "predict", "sd15", "--table", str(tmp_path / "t"))
    code, out, _ = run("latency", "check", str(tmp_path / "t"))
    assert code == 1
    assert f"error: {key}" in out
    assert bytes_in(tmp_path / "t") == before


MODELS_HEADER = "name,arch_id,latent,text,batch,latency_ms,p10_ms,p90_ms,runs,dropped,timing,ratio,reference_ms,cpu_ms,graph,measured_at\n"
MODEL = "sd15,abc,64x64,77,1,{ms},9,11,5,0,steady,10,1,10,CONV_2D,now\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MODELS_HEADER + MODEL.format(ms="nan"), "models.csv:2: latency_ms: must be a positive number"),
        (MODELS_HEADER + MODEL.format(ms="10") + MODEL.format(ms="-3"), "models.csv:3: latency_ms"),
        (MODELS_HEADER + MODEL.format(ms="99"), "models.csv:2: p10_ms <= latency_ms <= p90_ms"),
        (MODELS_HEADER + MODEL.format(ms="10")[:30], "models.csv:2: the last row is cut off"),
        ("name\n", "models.csv:1: other columns"),
    ],
)
def test_whole_models(run: Run, table: Path, text: str, message: str) -> None:
    (table / "models.csv").write_text(text)
    before = bytes_in(table)
    code, out, _ = run("latency", "check", str(table))
    assert (code, message in out) == (1, True), out
    assert message in run.refused("latency", "calibrate", "--table", str(table))
    assert bytes_in(table) == before
