"""Pages as text: what they hold, what they never hold, and studies without a front."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from archsearch.errors import ReportError, SearchError
from archsearch.latency.profile import profile
from archsearch.report.compare_page import compare_page
from archsearch.report.markdown import markdown, plain, study_markdown
from archsearch.report.profile_page import profile_page
from archsearch.report.render import plotly_script, script_json
from archsearch.report.study_info import study_info
from archsearch.report.study_page import study_html, study_page
from archsearch.search.study import open_study
from tests.report.studies import demo_table, make_study
from tests.search.helpers import toy_study

HOSTILE = "<script>alert(1)</script>\u2028</script>\"'><img src=x onerror=alert(2)>&lt;\u202eevil\u202c 😈"


class Page(HTMLParser):
    """Elements, texts and attributes of a page, plotly's own script left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text.replace(plotly_script(), ""))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_json_in_a_script_element_is_inert():
    text = script_json({"name": HOSTILE, "amp": "&amp;", "line": "\u2028\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)["name"] == HOSTILE


def test_the_page_is_one_file_that_loads_nothing(study, tmp_path):
    page = study_page(study.folder, tmp_path / "new" / "page.html")
    text = page.read_text("utf-8")
    found = Page(text)
    assert not {"link", "img", "iframe", "object", "base"} & set(found.tags)
    assert not [value for name, value in found.attributes if name in ("src", "href") and not value.startswith("#")]
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "default-src 'none'" in text
    assert text.count("plotly.js v") == 1
    assert len(text) < 8_000_000
    assert text.count("<template") == len(study_info(study).candidates)


def test_page_numbers_are_those_of_the_trials(study):
    data = data_of(study_html(study_info(study), str(study.folder)))
    for place, number in enumerate(data["points"]["number"]):
        trial = study.trials[number]
        for name, value in trial.values.items():
            assert data["points"]["values"][name][place] == value


def hostile_study(tmp_path, monkeypatch):
    table = demo_table(tmp_path / "table", name=HOSTILE, device="<i>device</i>", date="</script>")
    folder = tmp_path / "<b>study<i>'\"&\u202e"
    study = make_study(folder, monkeypatch, table, trials=12, population=4)
    return study


def test_hostile_names_are_text_everywhere(tmp_path, monkeypatch):
    study = hostile_study(tmp_path, monkeypatch)
    plain_tags = set(Page(study_html(study_info(study), "x")).tags)
    text = study_page(study, tmp_path / "page.html").read_text("utf-8")
    found = Page(text)
    assert found.tags.count("script") == 3
    assert not {"img", "i b", "b i"} & set(found.tags)
    assert plain_tags == set(found.tags)
    assert not any("alert" in name for name, _ in found.attributes)
    assert any("<script>alert(1)</script>" in t for t in found.texts)
    assert any("<b>study<i>" in t for t in found.texts)
    for figure in [*data_of(text)["figures"].values(), *(f for fs in data_of(text)["bars"].values() for f in fs)]:
        titles = [trace.get("name", "") for trace in figure["data"]]
        titles += [str(figure["layout"].get(a, {}).get("title", "")) for a in ("xaxis", "yaxis")]
        assert not any("<" in title for title in titles)


def test_a_name_of_ten_thousand_characters(tmp_path, monkeypatch):
    table = demo_table(tmp_path / "table", name="n" * 10_000)
    study = make_study(tmp_path / "s", monkeypatch, table, trials=6, population=4, quality=False)
    text = study_page(study, tmp_path / "page.html").read_text("utf-8")
    rest = text.replace(plotly_script(), "")
    long = [part for part in Page(rest).texts if "n" * 2000 in part and not part.startswith("{")]
    assert not long


@pytest.mark.parametrize(
    ("options", "trials", "wanted"),
    [
        ({}, 0, "no finished trial yet"),
        ({}, 1, "Suggested choice: trial 0"),
        ({"objectives": ("params",)}, 12, "With one objective"),
        ({"constraints": ("quality <= 0.0001",)}, 12, "No trial meets every constraint"),
        ({}, 12, "validation loss"),
    ],
)
def test_unusual_studies_get_a_page_that_says_so(tmp_path, monkeypatch, table, options, trials, wanted):
    study = make_study(tmp_path / "s", monkeypatch, table, trials=max(1, trials), population=4, **options)
    if trials == 0:
        (study.folder / "trials.jsonl").unlink()
        study = open_study(study.folder)
    info = study_info(study)
    text = study_page(study, tmp_path / "page.html").read_text("utf-8")
    rest = "\n".join(Page(text).texts)
    assert wanted.lower() in rest.lower()
    assert (info.chosen is None) == (trials == 0 or "constraints" in options)
    assert wanted.lower() in markdown(info).lower().replace("\\", "")
    data_of(text)


def test_scores_that_are_no_numbers_are_said(study, tmp_path):
    trials = list(study.trials)
    for i in (2, 4):
        trials[i] = dataclasses.replace(trials[i], values=dict(trials[i].values) | {"quality": None})
    sick = dataclasses.replace(study, trials=tuple(trials))
    info = study_info(sick)
    assert any("2 trials have no number" in warning for warning in info.warnings)
    assert {p.number for p in info.front.of("unscored")} == {2, 4}
    data_of(study_html(info, "x"))
    all_sick = dataclasses.replace(
        study, trials=tuple(dataclasses.replace(t, values=dict(t.values) | {"quality": None}) for t in study.trials)
    )
    text = study_html(study_info(all_sick), "x")
    assert "60 trials have no number" in "".join(Page(text).texts)


def test_a_study_without_quality_warns(tmp_path, monkeypatch, table):
    study = make_study(tmp_path / "s", monkeypatch, table, trials=6, population=4, quality=False)
    assert any("small end of the space" in warning for warning in study_info(study).warnings)


def test_a_study_that_cannot_be_decoded_still_shows_its_numbers(tmp_path):
    from tests.search.helpers import run_toy

    study = run_toy(toy_study(tmp_path / "s", trials=12))  # its space file is not one that can be loaded
    info = study_info(study)
    assert any("cannot be explained in full" in warning for warning in info.warnings)
    assert info.members
    assert not info.candidates
    assert str(study.trials[0].values["params"]) in study_html(info, "x")


def test_profile_and_comparison_pages(study, tmp_path):
    one, two = (profile(HOSTILE, study.architecture(i), study.conditions, study.tables) for i in (0, 3))
    for page in (profile_page(one, tmp_path / "p.html"), compare_page([one, two], tmp_path / "c.html")):
        text = page.read_text("utf-8")
        found = Page(text)
        assert found.tags.count("script") == 3
        assert "img" not in found.tags
        assert f"{one.totals.params:,}" in "".join(found.texts)
        data_of(text)


def test_pages_that_cannot_be_written(study, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReportError, match="cannot write the page"):
        study_page(study, tmp_path / "file" / "page.html")
    with pytest.raises(SearchError, match="not a study"):
        study_page(tmp_path, tmp_path / "page.html")
    assert not list(tmp_path.glob("*.part"))


def test_markdown_is_a_faithful_summary(study):
    text = study_markdown(study.folder)
    info = study_info(study)
    chosen = info.candidates[info.chosen]
    for fact in chosen.facts:
        assert fact.text in text
    assert f"{chosen.totals.params:,}" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) > 20
    assert text.count("(knee)") == 1


def test_markdown_shows_names_as_text():
    assert plain("a|b <script> [x](y) *z* `c` &lt;") == "a\\|b \\<script\\> \\[x\\](y) \\*z\\* \\`c\\` \\&lt;"
    assert "\n" not in plain("a\n# b")
