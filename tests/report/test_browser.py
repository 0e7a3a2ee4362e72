"""The pages in headless Chromium: nothing is loaded, nothing fails, and what is clicked is what is shown."""

import re

import pytest

from archsearch.latency.profile import profile
from archsearch.latency.profile import to_json as profile_json
from archsearch.report.compare_page import compare_page
from archsearch.report.profile_page import profile_page
from archsearch.report.study_page import study_page
from archsearch.search.front import front_json
from tests.conftest import require
from tests.report.studies import make_study
from tests.report.test_pages import hostile_study

require("chromium")

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    import shutil

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
        yield browser
        browser.close()


class Visitor:
    """Opens page files and keeps whatever the console said, was requested or popped up."""

    def __init__(self, browser):
        self.browser = browser
        self.troubles = []
        self.contexts = []

    def __call__(self, path, width=1280, height=900, scheme="light"):
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.contexts.append(context)
        page = context.new_page()
        own = path.resolve().as_uri()
        page.on("console", lambda message: self.troubles.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._requested(request.url, own))
        page.goto(own)
        page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        return page

    def _requested(self, url, own):
        if not url.startswith(("data:", "blob:")) and url != own:
            self.troubles.append(f"request: {url}")

    def close(self):
        for context in self.contexts:
            context.close()


@pytest.fixture
def visit(browser):
    visitor = Visitor(browser)
    yield visitor
    visitor.close()
    assert not visitor.troubles


@pytest.fixture(scope="module")
def page_file(study, tmp_path_factory):
    return study_page(study, tmp_path_factory.mktemp("pages") / "index.html")


@pytest.fixture(scope="module")
def opened(browser, page_file):
    """The study's page, opened once; tests bring it into the state they need."""
    visitor = Visitor(browser)
    yield visitor, visitor(page_file)
    visitor.close()


@pytest.fixture
def page(opened):
    visitor, page = opened
    yield page
    assert not visitor.troubles


def number(text):
    return float(re.sub(r"[^\d.e+-]", "", text))


def shown_facts(page, where="#panel"):
    return {
        item.get_attribute("data-fact"): (item.locator(".value").inner_text(), item.locator(".precise").inner_text())
        for item in page.locator(f"{where} [data-fact]").all()
    }


def test_the_chosen_candidate_is_shown_at_first(page, study):
    found = front_json(study)
    assert page.locator("#panel").get_attribute("data-number") == str(found["knee"])
    assert page.locator("#front-table tbody tr").count() == len(found["trials"])
    assert page.locator("tr.chosen").get_attribute("data-number") == str(found["knee"])
    assert page.locator("#panel .js-plotly-plot").count() == 2


def test_a_clicked_point_shows_its_candidate_with_the_numbers_of_the_profile(page, study):
    found = front_json(study)
    target = next(t for t in reversed(found["trials"]) if t["number"] != found["knee"])
    place = page.evaluate(
        """number => {
            const plot = document.getElementById('front-plot');
            plot.scrollIntoView({behavior: 'instant'});
            const trace = plot.data.findIndex(t => t.name === 'Pareto front');
            const points = plot.querySelectorAll('.scatterlayer .trace')[trace].querySelectorAll('path.point');
            const box = points[plot.data[trace].customdata.indexOf(number)].getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }""",
        target["number"],
    )
    page.mouse.move(*place)
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.click(*place)
    page.wait_for_function(f"document.getElementById('panel').dataset.number === '{target['number']}'")
    unet = study.architecture(target["number"])
    exact = profile_json(profile("x", unet, study.conditions, study.tables), "stage")
    facts = shown_facts(page)
    assert facts["params"][1] == f"{exact['totals']['params']:,}" == f"{target['values']['params']:,}"
    assert facts["macs"][1] == f"{exact['totals']['macs']:,}"
    assert facts["size"][1] == f"{exact['totals']['weight_bytes']:,} bytes"
    assert facts["memory"][1] == f"{exact['totals']['peak_activation_bytes']:,} bytes"
    latency = exact["latency"]["phone"]
    assert facts["latency:phone"][0] == f"{latency['total_ms']:,.3f} ms"
    assert facts["latency:phone"][1] == f"{latency['low_ms']:,.3f} to {latency['high_ms']:,.3f} ms"
    assert facts["quality"][0] == f"{target['values']['quality']:.5f}"
    rows = page.locator("#panel table").first.locator("tbody tr").all()
    assert [row.locator("td").nth(1).inner_text() for row in rows] == [f"{r['params']:,}" for r in exact["rows"]]
    assert [row.locator("td").nth(2).inner_text() for row in rows] == [f"{r['macs']:,}" for r in exact["rows"]]
    for row, plain in zip(rows, exact["rows"], strict=True):
        assert number(row.locator("td").nth(3).inner_text()) == pytest.approx(plain["latency_ms"]["phone"], abs=1e-3)
    assert page.locator("#panel .js-plotly-plot").count() == 2
    assert page.locator("#panel svg.unet rect").count() == len(profile_json(profile("x", unet), "block")["rows"])


def test_a_row_and_the_keyboard_choose_too(page, study):
    numbers = [t["number"] for t in front_json(study)["trials"]]
    page.locator(f'tr[data-number="{numbers[0]}"]').click()
    assert page.locator("#panel").get_attribute("data-number") == str(numbers[0])
    page.locator(f'tr[data-number="{numbers[-1]}"] button.pick').focus()
    page.keyboard.press("Enter")
    assert page.locator("#panel").get_attribute("data-number") == str(numbers[-1])
    assert page.locator("tr.chosen").count() == 1


def test_a_dominated_point_is_shown_in_brief(page, study):
    dominated = page.evaluate(
        "document.getElementById('front-plot').data.find(t => t.name === 'dominated').customdata[0]"
    )
    page.evaluate(
        """number => document.getElementById('front-plot').emit('plotly_click', {points: [{customdata: number}]})""",
        dominated,
    )
    text = page.locator("#panel").inner_text()
    assert f"Trial {dominated}" in text
    assert f"Parameters: {study.trials[dominated].values['params']:,}" in text
    assert f"{study.folder}#{dominated}" in text


def test_the_table_sorts_both_ways(page, study):
    for column, name in ((0, "number"), (1, "params"), (2, "latency:phone"), (3, "quality")):
        values = [t["number"] if name == "number" else t["values"][name] for t in front_json(study)["trials"]]
        order = dict(zip((t["number"] for t in front_json(study)["trials"]), values, strict=True))
        head = page.locator("#front-table th").nth(column)
        for direction, wanted in (("ascending", sorted(values)), ("descending", sorted(values, reverse=True))):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == direction
            rows = page.locator("#front-table tbody tr").all()
            assert [order[int(row.get_attribute("data-number"))] for row in rows] == wanted


def test_axes_and_colour_can_be_exchanged(page, study):
    page.select_option("#axis-x", "macs")
    page.select_option("#axis-y", "latency:phone")
    page.select_option("#axis-c", "quality")
    plot = page.evaluate(
        """() => {
            const plot = document.getElementById('front-plot');
            const t = plot.data.find(t => t.name === 'Pareto front');
            return {
                x: t.x, y: t.y, c: t.marker.color, numbers: t.customdata, title: plot.layout.xaxis.title.text,
                minus: t.error_y.arrayminus, visible: t.error_y.visible, still: t.error_x.visible,
            };
        }"""
    )
    trials = [study.trials[n] for n in plot["numbers"]]
    assert plot["x"] == [t.values["macs"] for t in trials]
    assert plot["y"] == [t.values["latency:phone"] for t in trials]
    assert plot["c"] == [t.values["quality"] for t in trials]
    assert plot["minus"] == pytest.approx([t.values["latency:phone"] - t.intervals["latency:phone"][0] for t in trials])
    assert plot["visible"]
    assert not plot["still"]
    assert plot["title"] == "MACs"


def test_phone_width_and_dark_mode(visit, page_file):
    page = visit(page_file, width=400, height=800, scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", dark)[:3])) < 60
    font = page.evaluate("document.getElementById('front-plot').layout.font.color")
    assert font == page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--fg').trim()")
    page.click("#theme")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert min(map(int, re.findall(r"\d+", light)[:3])) > 200
    assert page.evaluate("document.getElementById('front-plot').layout.font.color") != font


def test_print_is_light_and_without_controls(page):
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("#theme").is_visible()
    assert not page.locator(".controls").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen", color_scheme="light")


def test_every_control_is_reached_by_keyboard_and_named(page):
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, select, a[href]')].filter(e => !e.closest('.modebar')).filter(
            e => e.tabIndex < 0 || !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)
        ).map(e => e.outerHTML)"""
    )
    assert unnamed == []


def test_hostile_names_do_nothing(visit, tmp_path, monkeypatch):
    study = hostile_study(tmp_path, monkeypatch)
    page = visit(study_page(study, tmp_path / "page.html"))
    for row in page.locator("tr.pickable").all()[:3]:
        row.locator("button.pick").click()
    assert page.evaluate("document.querySelectorAll('img, b > i, i > b').length") == 0
    assert "<b>study<i>" in page.locator("h1").inner_text()
    page.mouse.move(*centre(page))
    title = page.locator("#front-plot .xtitle").text_content()
    assert "<script>" in title


def centre(page):
    box = page.locator("#front-plot").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize(
    "options", [{"constraints": ("quality <= 0.0001",)}, {"objectives": ("params",)}, {"trials": 1}]
)
def test_unusual_studies_open_without_errors(visit, tmp_path, monkeypatch, table, options):
    study = make_study(tmp_path / "s", monkeypatch, table, **({"trials": 10, "population": 4} | options))
    page = visit(study_page(study, tmp_path / "page.html"))
    assert page.locator("h1").inner_text() == "Study s"


def test_profile_and_comparison_pages_open(visit, study, tmp_path):
    one, two = (
        profile(name, study.architecture(i), study.conditions, study.tables) for name, i in (("one", 0), ("two", 3))
    )
    page = visit(profile_page(one, tmp_path / "profile.html"), width=400)
    assert shown_facts(page, "article")["params"][1] == f"{one.totals.params:,}"
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page = visit(compare_page([one, two], tmp_path / "compare.html"))
    assert page.locator(".js-plotly-plot").count() == 3 + 2 + 2
    cells = page.locator("#totals tbody tr").first.locator("td .sub").all_inner_texts()
    assert cells[:2] == [f"{one.totals.params:,}", f"{two.totals.params:,}"]
