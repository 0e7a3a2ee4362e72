import json
import math
import re
import shlex
from html.parser import HTMLParser

import pytest

from archsearch.amounts import apportioned
from archsearch.arch import load_preset, walk
from archsearch.cost import Conditions
from archsearch.latency.profile import profile
from archsearch.report.candidate import Quality, candidate_info
from archsearch.report.compare_page import comparison_info
from archsearch.report.figures_decisions import decisions_figure
from archsearch.report.figures_front import default_axes, front_figure, front_info, history_figure, history_info
from archsearch.report.figures_stages import StageBars, network_bars_info, stage_bars_figure, stage_bars_info
from archsearch.report.figures_unet import BAR, bar_height, drawing_info, drawing_svg
from archsearch.report.numbers import change, percent, shortened, when
from archsearch.report.palette import CIVIDIS, STEPS, blend, step
from archsearch.report.study_info import study_info
from archsearch.search.front import front, knee

PRESETS = ["sd15", "bk-sdm-tiny", "sdxl", "sd-decoder", "clip-vit-l14"]


@pytest.fixture(scope="module")
def info(study):
    return study_info(study)


def profile_of(name, *tables):
    preset = load_preset(name)
    return profile(name, preset.architecture, Conditions(latent=preset.latent, text=preset.text), tables)


# ---- numbers ----


def test_printed_columns_add_up():
    for values in ([0.1234, 0.1234, 0.1234], [1 / 3] * 7, [1e-9] * 5, []):
        texts = apportioned(values, 3)
        assert sum(round(float(t) * 1000) for t in texts) == round(sum(values) * 1000)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (0.0004, "< 0.1%"), (0.0123, "1.2%"), (0.0994, "9.9%"), (0.0996, "10%"), (0.5, "50%"), (1, "100%")],
)
def test_percent(share, text):
    assert percent(share) == text


def test_change():
    assert change(1.2, 1.0) == "+20.0%"
    assert change(0.5, 1.0) == "−50.0%"
    assert change(1.0, 1.0) == "same"
    assert change(1.0, 0.0) == ""


def test_when_and_shortened():
    assert when("2026-11-21T03:48:07+00:00") == "2026-11-21 03:48 UTC"
    assert when("2026-11-21T03:48:07+02:00") == "2026-11-21 01:48 UTC"
    assert when("<b>") == "<b>"
    assert shortened("a\n b" + "c" * 500, 10) == "a bcccccc…"


def test_colours():
    assert [step(s) for s in (0, STEPS[0], 0.02, 0.13, 0.131, 1)] == [0, 0, 3, 7, 8, 8]
    assert blend(0) == CIVIDIS[0]
    assert blend(1) == CIVIDIS[-1]
    assert blend(0.5) == CIVIDIS[4]


# ---- drawing ----


@pytest.mark.parametrize("name", PRESETS)
def test_every_block_is_drawn_once_with_its_share(name):
    found = profile_of(name)
    drawing = drawing_info(found)
    rows = found.by("block")
    assert [(b.stage, b.block) for b in drawing.boxes if b.kind != "join"] != []
    assert sorted((b.stage, b.block) for b in drawing.boxes) == sorted((r.stage, r.block) for r in rows)
    assert sum(b.share for b in drawing.boxes) == pytest.approx(1)
    assert len(drawing.skips) == sum(s.role == "join" for s in walk(found.arch))


@pytest.mark.parametrize("name", PRESETS)
def test_boxes_lie_inside_and_apart_and_widths_follow_channels(name):
    drawing = drawing_info(profile_of(name))
    bars = [b for b in drawing.boxes if b.kind not in ("join", "embed")]
    scale = max(b.width for b in bars) / max(b.channels for b in bars)
    for box in bars:
        assert box.width == pytest.approx(max(4.0, box.channels * scale))
    for i, a in enumerate(drawing.boxes):
        assert a.x >= 0
        assert a.x + a.width <= drawing.width
        assert a.y >= 0
        assert a.y + BAR <= drawing.height
        for b in drawing.boxes[:i]:
            apart = (
                a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + bar_height(a) <= b.y or b.y + bar_height(b) <= a.y
            )
            assert apart, (a, b)


def test_skips_pair_the_first_push_with_the_last_join():
    drawing = drawing_info(profile_of("sd15"))
    joins = sorted(drawing.skips, key=lambda s: s.y1)
    assert len(joins) == 12
    starts = [s.y0 for s in joins]
    assert starts == sorted(starts)  # the higher a join stands, the earlier what it takes was pushed


def test_texts_in_the_drawing_are_escaped():
    drawing = drawing_info(profile_of("bk-sdm-tiny"))
    svg = drawing_svg(drawing, '"><script>alert(1)</script>')
    assert "<script" not in svg

    class Counter(HTMLParser):
        boxes = 0

        def handle_starttag(self, tag, attrs):
            assert tag in ("svg", "path", "text", "g", "title", "rect")
            self.boxes += tag == "rect"

    counter = Counter()
    counter.feed(svg)
    assert counter.boxes == len(drawing.boxes)


# ---- bars ----


def test_stage_bars_add_up(study):
    found = profile("x", study.architecture(0), study.conditions, study.tables)
    params, latency = stage_bars_info(found)
    assert sum(map(sum, params.values.values())) == found.totals.params
    assert sum(map(sum, latency.values.values())) == pytest.approx(found.predictions[0].total_ms)
    assert latency.unit == "ms"
    names = [bars.title for bars in stage_bars_info(profile_of("bk-sdm-tiny"))]
    assert names == ["Parameters", "MACs"]


def test_networks_of_one_name_stay_apart():
    found = profile_of("bk-sdm-tiny")
    bars = network_bars_info([found, found, found])
    assert bars[0].stages == ("bk-sdm-tiny", "bk-sdm-tiny (2)", "bk-sdm-tiny (3)")
    assert sum(map(sum, bars[0].values.values())) == 3 * found.totals.params


# ---- candidate ----


def test_candidate_numbers_are_those_of_the_profile(study):
    found = profile("x", study.architecture(5), study.conditions, study.tables)
    candidate = candidate_info("x", "s#5", "id", found)
    exact = {fact.name: fact.exact for fact in candidate.facts}
    assert shlex.split(candidate.command)[:3] == ["archsearch", "profile", "s#5"]
    assert shlex.split(candidate.command)[-1] == str(study.tables[0].folder)
    assert exact["params"] == f"{found.totals.params:,}"
    assert exact["macs"] == f"{found.totals.macs:,}"
    assert sum(row.params for row in candidate.stages) == candidate.totals.params == found.totals.params
    assert sum(row.macs for row in candidate.stages) == candidate.totals.macs == found.totals.macs
    printed = sum(round(float(row.latency[0].replace(",", "")) * 1000) for row in candidate.stages)
    assert printed == round(float(candidate.totals.latency[0]) * 1000) == round(found.predictions[0].total_ms * 1000)
    shares = [op.share for op in candidate.expensive]
    assert shares == sorted(shares, reverse=True)
    assert all(op.provenance == "measured" for op in candidate.expensive)


@pytest.mark.parametrize(
    ("value", "paired", "word"),
    [
        (0.05, 0.001, "worse."),
        (0.01, 0.001, "better."),
        (0.0301, 0.001, "cannot tell them apart"),
        (0.05, math.nan, "0.03000."),
    ],
)
def test_quality_is_only_judged_by_paired_errors(study, value, paired, word):
    base = profile("x", study.architecture(0), study.conditions)
    other = profile("x", study.architecture(3), study.conditions)
    candidate = candidate_info("x", "x", "x", other, base, Quality(value, 0.01, paired), Quality(0.03, 0.01))
    assert word in candidate.words[-1]
    assert ("same samples" in candidate.words[-1]) is not math.isnan(paired)


def test_without_a_table_shares_are_of_macs():
    candidate = candidate_info("x", "x", "x", profile_of("bk-sdm-tiny"))
    assert candidate.drawing.measure == "MACs"
    assert not candidate.tables
    assert not any("ms" in sentence for sentence in candidate.words)
    assert sum(op.macs for op in candidate.expensive) < candidate.totals.macs


# ---- study ----


def test_front_info_sorts_candidates_by_status(study):
    found = front_info(study)
    names = study.config.objectives
    assert {p.number for p in found.of("front")} == {t.number for t in front(study.trials, names)}
    assert {p.number for p in found.of("infeasible")} == {t.number for t in study.trials if not t.feasible}
    assert found.knee == knee(front(study.trials, names), names).number
    assert len(found.points) == len({t.encoding for t in study.trials})
    assert [a.name for a in found.axes][:3] == list(names)
    assert {a.name for a in found.axes} == set(study.trials[0].values)
    assert default_axes(found) == ("latency:phone", "quality", "params")


def test_bounds_surround_values(study):
    for point in front_info(study).points:
        for name in ("latency:phone", "quality"):
            assert point.low[name] < point.values[name] < point.high[name]


def test_thinning_leaves_the_front_whole(study):
    whole, thin = front_info(study), front_info(study, max_dominated=5)
    assert thin.of("front") == whole.of("front")
    crowd = len(thin.of("dominated")) + len(thin.of("infeasible"))
    assert crowd <= 6
    assert thin.thinned == len(whole.points) - len(thin.points) > 0


def test_study_info_explains_its_members(study, info):
    assert info.chosen in info.candidates
    assert {m.number for m in info.members} == set(info.candidates)
    for number, candidate in info.candidates.items():
        trial = study.trials[number]
        facts = {fact.name: fact for fact in candidate.facts}
        assert facts["params"].exact == f"{trial.values['params']:,}"
        assert facts["latency:phone"].text == f"{trial.values['latency:phone']:,.3f} ms"
        assert facts["quality"].text == f"{trial.values['quality']:.5f}"
        changed = {c.decision for c in candidate.changes}
        differs = {
            d.name
            for d, a, b in zip(study.space.decisions, study.trials[0].encoding, trial.encoding, strict=True)
            if a != b
        }
        assert changed == differs


def test_candidates_in_full_are_limited_and_hold_the_chosen_one(study):
    few = study_info(study, max_candidates=4)
    assert len(few.candidates) <= 4
    assert few.chosen in few.candidates
    assert [m.number for m in few.members if m.full] == [m.number for m in few.members if m.number in few.candidates]


def test_decisions_split_into_varied_and_agreed(study, info):
    decisions = info.decisions
    assert {d.name for d in decisions.varied} | {d.name for d in decisions.agreed} == {
        d.name for d in study.space.decisions
    }
    for decided in decisions.agreed:
        assert len(set(decided.chosen)) == 1
    for i, number in enumerate(decisions.members):
        assert decisions.values[i] == study.trials[number].values["quality"]


def test_provenance_names_everything(study, info):
    text = "\n".join(f"{origin.what}: {origin.how}" for origin in info.origins)
    for wanted in (
        "phone",
        "2026-11-21",
        "made-up loss",
        "seed 1",
        "nsga2",
        "optuna",
        "sha256",
        "32×32",
        "latency:phone <= 90%",
    ):
        assert wanted in text


# ---- figures are what plotly accepts ----


def test_figures_are_valid_plotly(study, info):
    import plotly.graph_objects as go

    found = info.front
    figures = [
        front_figure(found, *default_axes(found)),
        history_figure(history_info(study)),
        decisions_figure(info.decisions),
    ]
    figures += [stage_bars_figure(bar) for bar in next(iter(info.candidates.values())).bars]
    for figure in figures:
        go.Figure(figure)
        json.dumps(figure, allow_nan=False)
    members = {p.number for p in found.of("front")}
    drawn = [set(trace["customdata"]) for trace in figures[0]["data"]]
    assert members in drawn
    assert len(figures[2]["data"]) == len(info.members)


def test_names_in_figures_are_text():
    hostile = StageBars("<b>x</b><a href='javascript:1'>y</a>", "", ("<i>stage</i>",), {"other": (1.0,)})
    figure = stage_bars_figure(hostile)
    assert "<" not in figure["layout"]["title"]["text"]
    assert "<" not in figure["data"][0]["y"][0]


def test_comparison_is_against_the_first(study):
    a, b = (profile(name, study.architecture(i), study.conditions, study.tables) for name, i in (("a", 0), ("b", 7)))
    info = comparison_info([a, b])
    params = info.figures[0]
    assert params[0].versus == ""
    assert params[1].versus == change(b.totals.params, a.totals.params)
    assert [re.sub(r"\D", "", fact.exact) for fact in params] == [str(a.totals.params), str(b.totals.params)]
