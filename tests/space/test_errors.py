"""Malformed and hostile space files: one line that names file, line and key, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from archsearch.errors import SpaceError
from archsearch.space import load_space, space_names

GOOD = """\
schema: archsearch.space/1
name: good
conditions: {latent: [8, 8], text: 4}
decisions:
  width: {choices: [16, 32], default: 32}
  kind: {choices: [none, full], default: full}
  depth: {range: [1, 2], when: {kind: full}}
rules:
  - forbid: {width: 16, kind: none}
    because: it would be too small
unet:
  conv_in_channels: 16
  text_width: 8
  norm_groups: 8
  time: {input_width: 8, width: 16}
templates:
  residual: {kind: residual, channels: $channels}
  transformer:
    kind: transformer
    width: $channels
    depth: $depth
    block:
      first: {to: self, head_dim: 8}
      feed_forward: {}
stages:
  - let: {channels: $width}
    layers:
      - down: [residual, {use: transformer, when: {kind: full}}]
        up: [residual]
    outer: [residual]
    downsample: {channels: $width}
  - when: {width: 32}
    let: {channels: 32}
    layers: []
    outer: [residual]
    upsample: {channels: 32}
"""


def load(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return load_space(path)


def test_the_good_one_is_good(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    # width 16: full at two depths; width 32: none, or full at two depths.
    assert space.size() == 2 + 3


# What is replaced in the good file, by what, the line that the error names, and what it says.
# fmt: off
MALFORMED = [
    ("archsearch.space/1", "archsearch.space/9", 1, "schema: another schema version; got archsearch.space/9"),
    ("name: good", "name: Good Name", 2, "name: not a name"),
    ("name: good", "name: [1]", 2, "name: must be a string"),
    ("latent: [8, 8]", "latent: [8]", 3, r"conditions.latent: must be \[height, width\]"),
    ("latent: [8, 8]", "latent: [8, 0]", 3, r"conditions.latent\[1\]: must be a whole number; got 0"),
    ("text: 4", "text: 0", 3, "conditions.text: must be a whole number; got 0; allowed: 1 to 4096"),
    ("text: 4", "text: .nan", 3, "conditions.text: must be a whole number; got nan"),
    ("text: 4", "tokens: 4", 3, "conditions.tokens: unknown key 'tokens'"),
    ("text: 4", "text: 4, precision: fp64", 3, "conditions: unknown precision; got fp64"),
    ("  width: {choices: [16, 32], default: 32}", "  Width: {choices: [16, 32]}", 5, "decisions.Width: not a name"),
    ("choices: [16, 32], default: 32", "choices: [16, 32], default: 24", 5,
     "width.default: the default must be one"),
    ("choices: [16, 32], default: 32", "choices: [16, 32], default: 32.0", 5, "width.default: the default must be"),
    ("choices: [16, 32], default: 32", "choices: []", 5, "width.choices: a decision needs at least one choice"),
    ("choices: [16, 32], default: 32", "choices: [16, 16]", 5, r"width.choices\[1\]: the same choice twice"),
    ("choices: [16, 32], default: 32", "choices: [1, '1']", 5, r"width.choices\[1\]: the same choice twice"),
    ("choices: [16, 32], default: 32", "choices: [16, .inf]", 5, r"width.choices\[1\]: a choice must be finite"),
    ("choices: [16, 32], default: 32", "choices: [16, [32]]", 5, r"width.choices\[1\]: a choice is a number"),
    ("choices: [16, 32], default: 32", "choices: 16", 5, "width.choices: must be a list; got an integer"),
    ("choices: [16, 32], default: 32", "defaults: 3", 5, "width.defaults: unknown key 'defaults'"),
    ("choices: [16, 32], default: 32", "default: 3", 5,
     "decisions.width: a decision has either choices or a range"),
    ("range: [1, 2]", "range: [2, 1]", 7, r"depth.range: a range is \[low, high\]"),
    ("range: [1, 2]", "range: [1, 2.5]", 7, r"depth.range: a range is \[low, high\]"),
    ("range: [1, 2]", "range: [1, 5000000000]", 7, "depth.range: too many choices; got 5000000000"),
    ("range: [1, 2]", "range: [1, 9, 0]", 7, "step >= 1"),
    ("when: {kind: full}}\nrules", "when: {knid: full}}\nrules", 7, "unknown decision 'knid'. Did you mean 'kind'"),
    ("when: {kind: full}}\nrules", "when: {kind: half}}\nrules", 7, "kind: not a choice of kind; got half"),
    ("when: {kind: full}}\nrules", "when: {}}\nrules", 7, "when: a condition must not be empty"),
    ("when: {kind: full}}\nrules", "when: {depth: 1}}\nrules", 4,
     "decisions: conditions run in a circle; got depth"),
    ("forbid: {width: 16, kind: none}", "forbid: {width: 24}", 9,
     r"rules\[0\].forbid.width: not a choice of width"),
    ("forbid: {width: 16, kind: none}", "forbid: {width: 32}", 9, r"rules\[0\]: the defaults break this rule"),
    ("    because: it would be too small\n", "", 9,
     r"rules\[0\]: a rule says what it forbids and why; got no because"),
    ("conv_in_channels: 16", "conv_in_channels: sixteen", 12, "unet.conv_in_channels: must be an integer"),
    ("conv_in_channels: 16", "conv_in_channels: .nan", 12, "unet.conv_in_channels: must be an integer"),
    ("conv_in_channels: 16", "conv_in_channels: $widht", 12, "unknown name 'widht'. Did you mean 'width'"),
    ("conv_in_channels: 16", "conv_in: 16", 12, "unet.conv_in: unknown key 'conv_in'"),
    ("conv_in_channels: 16", "conv_in_channels: 16\n  stages: []", 13,
     "unet.stages: this key does not belong here"),
    ("norm_groups: 8", "norm_groups: 5", 28, "a candidate is inconsistent: norm_groups must divide the channels"),
    ("kind: residual,", "kind: residuum,", 17, "templates.residual.kind: unknown kind 'residuum'"),
    ("depth: $depth", "depth: many", 21, "templates.transformer.depth: must be a number of blocks; got 'many'"),
    ("head_dim: 8", "head_dim: 7", 23, "head_dim: must divide the width; got 7"),
    ("head_dim: 8", "dim: 8", 23, "block.first.heads: a key is missing"),
    ("feed_forward: {}", "feed_forward: {expansion: .nan}", 24, "block.feed_forward.expansion: out of range"),
    ("down: [residual,", "down: [residua1,", 28, r"unknown template 'residua1'. Did you mean 'residual'"),
    ("        up: [residual]\n", "", 28,
     r"stages\[0\].layers\[0\]: layers come in pairs of down and up; got no up"),
    ("    outer: [residual]\n    downsample", "    downsample", 26, r"stages\[0\]: a stage has an outer up layer"),
    ("    downsample: {channels: $width}\n", "", 26, r"stages\[0\]: this stage needs its downsample"),
    ("    upsample: {channels: 32}\n", "", 32, r"stages\[1\]: this stage needs its upsample"),
    ("upsample: {channels: 32}", "upsample: {channels: 0}", 36,
     r"stages\[1\].upsample.channels: out of range; got 0"),
    ("  - when: {width: 32}", "  - when: {width: 64}", 32,
     r"stages\[1\].when.width: width never has this value; got 64"),
    ("  - let: {channels: $width}", "  - let: {width: 16}", 26, "let.width: this name is taken by a decision"),
    ("  - let: {channels: $width}", "  - let: {channels: $channels}", 26, "unknown name 'channels'"),
    ("  - let: {channels: $width}", "  - when: {width: 16}\n    let: {channels: $width}", 26, "always present"),
    ("    layers: []", "    layers: []\n    colour: red", 35, r"stages\[1\].colour: unknown key 'colour'"),
    ("      - down: [residual,",
     "      - when: {kind: none}\n        down: []\n        up: [residual]\n      - down: [residual,",
     31, r"stages\[0\].layers\[1\]: optional layers come last"),
]
# fmt: on


@pytest.mark.parametrize(("old", "new", "line", "message"), MALFORMED)
def test_malformed(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert GOOD.count(old) == 1, old
    with pytest.raises(SpaceError, match=message) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path / 'space.yaml'}:{line}: "), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "top level must be a mapping"),
        ("- 1", "top level must be a mapping"),
        ("a: [", "not valid YAML"),
        ("schema: archsearch.space/1\nschema: archsearch.space/1\n", "duplicate key"),
        ("schema: !!python/object/apply:os.system [ls]\n", "tags are not allowed"),
        ("schema: archsearch.space/1\nname: good\n", "a key is missing; got no conditions"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\n" + "".join(
            f"{chr(c + 1)}: &{chr(c + 1)} [{', '.join(['*' + chr(c)] * 9)}]\n" for c in range(ord('b'), ord('j'))
        ), "too many values once aliases are unfolded"),
    ],
)  # fmt: skip
def test_hostile(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load(tmp_path, text)


def test_too_many_decisions_in_one_value(tmp_path: Path) -> None:
    names = [f"d{i}" for i in range(12)]
    decisions = "".join(f"  {name}: {{choices: [1, 2, 3, 4]}}\n" for name in names)
    text = GOOD.replace("decisions:\n", "decisions:\n" + decisions)
    text = text.replace(
        "channels: 32}\n    layers: []", f"channels: [{', '.join('$' + n for n in names)}]}}\n    layers: []"
    )
    with pytest.raises(SpaceError, match=r"too many decisions meet here \(d0, .*got 16777216 combinations"):
        load(tmp_path, text)


def test_too_entangled_over_the_whole_network(tmp_path: Path) -> None:
    """Each layer of the down half shares a decision with one of the up half: all of them stay open in between."""
    layers = "".join(
        f"      - {{down: [{{use: residual, repeat: $e{i}}}], up: [residual, {{use: residual, repeat: $e{i}}}]}}\n"
        for i in range(14)
    )
    decisions = "".join(f"  e{i}: {{choices: [0, 1, 2, 3]}}\n" for i in range(14))
    text = GOOD.replace("decisions:\n", "decisions:\n" + decisions).replace("    layers:\n", "    layers:\n" + layers)
    with pytest.raises(SpaceError, match=r"stages\[0\]\.layers\[\d+\]\.down: too many decisions depend on each other"):
        load(tmp_path, text)


def test_undefined_choice_of_a_present_block(tmp_path: Path) -> None:
    text = GOOD.replace("feed_forward: {}", "feed_forward: {expansion: {switch: $width, cases: {16: 2}}}")
    with pytest.raises(SpaceError, match=r"down: no case for this choice \(switch at .*expansion\); got 32"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "up: [residual]",
            "up: [residual, {use: residual, repeat: $times}]",
            r"up\[1\]\.repeat: no case for this choice",
        ),
        (
            "up: [residual]",
            "up: [residual, {use: residual, when: {times: 2}}]",
            r"when\.times: no case for this choice",
        ),
    ],
)
def test_undefined_numbers_and_conditions(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = GOOD.replace("unet:\n", "let: {times: {switch: $width, cases: {16: 2}}}\nunet:\n").replace(old, new)
    with pytest.raises(SpaceError, match=message + r".*got 32"):
        load(tmp_path, text)


@pytest.mark.parametrize(("n", "seed"), [(-1, 0), (1, -1)])
def test_negative_numbers_of_samples_and_seeds(tmp_path: Path, n: int, seed: int) -> None:
    space = load(tmp_path, GOOD)
    with pytest.raises(SpaceError, match="must not be negative; got -1"):
        space.sample(n, seed)
    assert space.sample(0, 0).shape == (0, 3)


def test_rules_that_leave_nothing_but_the_defaults_do_work(tmp_path: Path) -> None:
    text = GOOD.replace("forbid: {width: 16, kind: none}", "forbid: [{width: 16}, {kind: none}, {depth: 2}]")
    space = load(tmp_path, text)
    assert space.size() == 1
    assert list(space.enumerate()) == [space.defaults()]
    assert space.neighbours(space.defaults()) == []


def test_widths_beyond_counting(tmp_path: Path) -> None:
    text = (
        GOOD.replace("latent: [8, 8]", "latent: [4096, 4096]")
        .replace("batch", "")
        .replace("text: 4}", "text: 4096, batch: 4096}")
    )
    text = text.replace("forbid: {width: 16, kind: none}", "forbid: {width: 32, kind: none}")
    space = load(tmp_path, text.replace("choices: [16, 32], default: 32", "choices: [32, 65536], default: 65536"))
    with pytest.raises(SpaceError, match="cannot be summed exactly"):
        space.ranges()


@pytest.mark.parametrize("ref", ["nope", "no/such.yaml", "no_such.yaml", "bad\0name", "x" * 5000])
def test_unknown_spaces(ref: str) -> None:
    with pytest.raises(SpaceError, match=r"no such file|unknown search space"):
        load_space(ref)


def test_shipped_spaces_load_by_name() -> None:
    assert space_names() == ["demo", "mobilediffusion", "snapfusion"]
