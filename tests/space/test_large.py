"""The two large spaces: members, sizes, operators, and random checks of what cannot be enumerated."""

from __future__ import annotations

import numpy as np
import pytest

from archsearch.arch import Transformer, UNet, arch_id, check, load_preset
from archsearch.cost import Conditions, Scorer, count
from archsearch.errors import SpaceError
from archsearch.files import load_yaml
from archsearch.space import Space, load_space
from tests.space import naive
from tests.space.tables import MadeUpTable


@pytest.fixture(scope="module")
def mobilediffusion() -> Space:
    return load_space("mobilediffusion")


@pytest.fixture(scope="module")
def snapfusion() -> Space:
    return load_space("snapfusion")


def preset(name: str) -> UNet:
    arch = load_preset(name).architecture
    assert isinstance(arch, UNet)
    return arch


MEMBERS = ["sd15", "mobilediffusion", "mobilediffusion-lite", "bk-sdm-tiny", "bk-sdm-base", "bk-sdm-small"]


@pytest.mark.parametrize("name", MEMBERS)
def test_members_of_mobilediffusion(mobilediffusion: Space, name: str) -> None:
    arch = preset(name)
    encoding = mobilediffusion.encode(arch)
    assert mobilediffusion.canonical(encoding) == encoding
    assert arch_id(mobilediffusion.decode(encoding)) == arch_id(arch)
    assert arch in mobilediffusion


@pytest.mark.parametrize("name", ["sd15", "snapfusion"])
def test_members_of_snapfusion(snapfusion: Space, name: str) -> None:
    arch = preset(name)
    encoding = snapfusion.encode(arch)
    assert snapfusion.canonical(encoding) == encoding
    assert arch_id(snapfusion.decode(encoding)) == arch_id(arch)


def test_the_baseline_of_both_is_sd15(mobilediffusion: Space, snapfusion: Space) -> None:
    for space in (mobilediffusion, snapfusion):
        assert arch_id(space.decode(space.defaults())) == arch_id(preset("sd15"))


def test_snapfusions_blocks_are_those_of_the_published_table(snapfusion: Space) -> None:
    """arXiv 2306.00980v3, Table 3: transformers 16 -> 14, residual blocks 22 -> 17 (0 or 2 copies of some)."""
    chosen = snapfusion.choices(snapfusion.encode(preset("snapfusion")))
    transformers = {name: times for name, times in chosen.items() if "attn" in name}
    residuals = {name: times for name, times in chosen.items() if "res" in name}
    assert (len(transformers), sum(map(int, transformers.values()))) == (16, 14)  # type: ignore[arg-type]
    assert (len(residuals), sum(map(int, residuals.values()))) == (22, 17)  # type: ignore[arg-type]
    assert sum(int(times) for name, times in transformers.items() if name.startswith("up_16")) == 6  # type: ignore[arg-type]


def test_what_is_not_a_member_departs_somewhere(mobilediffusion: Space, snapfusion: Space) -> None:
    with pytest.raises(SpaceError, match=r"the header: not a member .*text_width 768 instead of 1024"):
        mobilediffusion.encode(preset("sd21-base"))
    with pytest.raises(SpaceError, match=r"stages\[0\]\.down\[1\]: not a member .*got nothing"):
        snapfusion.encode(preset("bk-sdm-tiny"))
    assert preset("sdxl") not in mobilediffusion


def test_sizes(mobilediffusion: Space, snapfusion: Space) -> None:
    assert mobilediffusion.size() > 10**12
    # 35 blocks occur 0, 1 or 2 times.  In the middle the two residual blocks are told apart only by the transformer
    # between them: 3 * 3 ways with one or two of it, 0 to 4 residual blocks without.
    assert snapfusion.size() == 3**35 * (2 * 9 + 5)


def test_operators_can_be_measured_in_an_afternoon(mobilediffusion: Space, snapfusion: Space) -> None:
    both = {**mobilediffusion.distinct_ops(), **snapfusion.distinct_ops()}
    assert len(both) <= 1500
    for space in (mobilediffusion, snapfusion):
        keys = set(space.distinct_ops())
        from archsearch.cost import lower

        for encoding in space.sample(40, seed=2).tolist():
            assert {located.op.key for located in lower(space.decode(encoding), space.conditions).ops()} <= keys


@pytest.mark.parametrize("name", ["mobilediffusion", "snapfusion"])
def test_random_candidates(name: str, request: pytest.FixtureRequest) -> None:
    space: Space = request.getfixturevalue(name)
    data = load_yaml(space.path, SpaceError).data
    encodings = space.sample(150, seed=4)
    seen: dict[str, tuple[int, ...]] = {}
    for row in map(tuple, encodings.tolist()):
        unet = space.decode(row)
        check(unet)
        assert space.encode(unet) == row
        assert arch_id(naive.build(data, space.choices(row))) == arch_id(unet)
        assert seen.setdefault(arch_id(unet), row) == row


@pytest.mark.parametrize("name", ["mobilediffusion", "snapfusion"])
def test_one_network_has_one_canonical_encoding(name: str, request: pytest.FixtureRequest) -> None:
    """Random assignments and single changes of them: the same network if and only if the same canonical encoding."""
    space: Space = request.getfixturevalue(name)
    data = load_yaml(space.path, SpaceError).data
    rng = np.random.default_rng(7)
    radices = [len(decision.choices) for decision in space.decisions]
    by_id: dict[str, tuple[int, ...]] = {}
    merged = 0
    for _ in range(25):
        origin = rng.integers(0, radices)
        for d in range(len(radices)):
            row = origin.copy()
            row[d] = rng.integers(0, radices[d])
            encoding = tuple(row.tolist())
            chosen = {one.name: one.choices[c] for one, c in zip(space.decisions, encoding, strict=True)}
            if not naive.allowed(data, chosen):
                continue
            canonical = space.canonical(encoding)
            key = arch_id(space.decode(encoding))
            assert by_id.setdefault(key, canonical) == canonical
            assert arch_id(space.decode(canonical)) == key
            merged += canonical != encoding
    assert len(set(by_id.values())) == len(by_id) > 100
    assert merged > 0


@pytest.mark.parametrize("name", ["mobilediffusion", "snapfusion"])
@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        Conditions(latent=(96, 64), text=40, batch=2, passes=2, precision="fp16", attention="fused"),
    ],
)
def test_batch_scores_equal_the_full_lowering(
    name: str, conditions: Conditions, request: pytest.FixtureRequest
) -> None:
    space: Space = request.getfixturevalue(name)
    table = MadeUpTable()
    encodings = space.sample(60, seed=9)
    batch = space.batch_scorer(conditions, [table]).score(encodings)
    scorer = Scorer(conditions, [table])
    for i, row in enumerate(encodings.tolist()):
        unet = space.decode(row)
        exact = count(unet, conditions)
        assert (batch.params[i], batch.macs[i], batch.macs_without_attention[i]) == exact[:3]
        assert (batch.weight_bytes[i], batch.peak_activation_bytes[i]) == exact[4:]
        assert scorer.score(unet).latency_ms == (batch.latency_ms[0, i],)


def test_ranges_are_reached_and_not_left(snapfusion: Space) -> None:
    ranges = snapfusion.ranges()
    scores = snapfusion.batch_scorer().score(snapfusion.sample(20_000, seed=1))
    for name, extent in ranges.items():
        values = getattr(scores, name)
        assert extent.low <= values.min() <= values.max() <= extent.high
        for value, encoding in ((extent.low, extent.low_encoding), (extent.high, extent.high_encoding)):
            assert getattr(count(snapfusion.decode(encoding), snapfusion.conditions), name) == value
    every = snapfusion.decode(ranges["params"].high_encoding)
    blocks = [block for stage in every.stages for layer in (*stage.down, *stage.up) for block in layer]
    assert sum(isinstance(block, Transformer) for block in (*blocks, *every.middle)) == 32


def test_encodings_that_a_rule_forbids_are_marked(mobilediffusion: Space) -> None:
    row = dict(zip([d.name for d in mobilediffusion.decisions], mobilediffusion.defaults(), strict=True))
    for decision in mobilediffusion.decisions:
        if decision.name.endswith("_attention"):
            row[decision.name] = decision.index("none")
    row["middle_depth"] = 0
    batch = np.array([mobilediffusion.defaults(), tuple(row.values())])
    scores = mobilediffusion.batch_scorer().score(batch)
    assert scores.valid.tolist() == [True, False]
    assert scores.params.tolist() == [859_520_964, 0]
    with pytest.raises(SpaceError, match="the text has no way in"):
        mobilediffusion.decode(tuple(row.values()))
