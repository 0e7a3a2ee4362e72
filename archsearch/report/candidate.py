"""One network explained: its figures and where they come from, what changed, where time goes, in numbers and words."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from archsearch.amounts import apportioned, binary, scaled
from archsearch.latency.profile import Profile
from archsearch.latency.roofline import roofline
from archsearch.latency.stages import stage_shares
from archsearch.report.figures_stages import StageBars, stage_bars_info
from archsearch.report.figures_unet import Drawing, drawing_info
from archsearch.report.numbers import change, percent

EXPENSIVE = 10


@dataclass(frozen=True, slots=True)
class Quality:
    """A validation loss with its standard error, and that of its difference from the baseline's (NaN: unknown).

    Candidates are scored on the same samples, so their differences are known far better than their losses.
    """

    value: float
    standard_error: float
    paired_error: float = math.nan


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure: for people, to the last digit, against the baseline, and where it comes from.

    ``source`` is ``exact`` (counted), ``measured``, ``mixed`` or ``modelled`` (latency), or ``scored`` (quality).
    """

    name: str
    label: str
    text: str
    exact: str
    versus: str
    source: str
    note: str

    @property
    def badge(self) -> str:
        """The source in a word or two."""
        return {"measured": "from measurements", "mixed": "partly measured"}.get(self.source, self.source)


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage.  Latencies are printed so that each column adds up to the total."""

    stage: str
    params: int
    macs: int
    latency: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ExpensiveOp:
    """One distinct operator with all its uses together.  ``share`` is of the latency, of the MACs without a table."""

    op: str
    count: int
    macs: int
    latency: str
    share: float
    provenance: str
    bound: str


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that differs from the baseline."""

    decision: str
    help: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Everything that a page says of one network.

    ``tables`` are names; the first one gives colours and shares.  ``command`` is what prints every operator.
    """

    title: str
    command: str
    arch_id: str
    conditions: str
    tables: tuple[str, ...]
    facts: tuple[Fact, ...]
    changes: tuple[Change, ...]
    words: tuple[str, ...]
    drawing: Drawing
    bars: tuple[StageBars, ...]
    stages: tuple[StageRow, ...]
    totals: StageRow
    expensive: tuple[ExpensiveOp, ...]


def candidate_info(
    title: str,
    reference: str,
    arch_id: str,
    profile: Profile,
    baseline: Profile | None = None,
    quality: Quality | None = None,
    baseline_quality: Quality | None = None,
    changes: Sequence[Change] = (),
) -> Candidate:
    """Explain a profiled network, against a baseline where one is given."""
    main = 0 if profile.tables else None
    stages, totals = _stages(profile)
    return Candidate(
        title=title,
        command=_command(reference, profile),
        arch_id=arch_id,
        conditions=conditions_text(profile),
        tables=tuple(table.name for table in profile.tables),
        facts=_facts(profile, baseline, quality, baseline_quality),
        changes=tuple(changes),
        words=_words(profile, baseline, quality, baseline_quality),
        drawing=drawing_info(profile, main),
        bars=stage_bars_info(profile),
        stages=stages,
        totals=totals,
        expensive=_expensive(profile, main),
    )


def _command(reference: str, profile: Profile) -> str:
    """The command line that prints every operator of this network."""
    from archsearch.latency.table import tables_folder

    words = ["archsearch", "profile", reference, "--by", "op"]
    for table in profile.tables:
        shipped = table.folder is None or table.folder.parent == tables_folder()
        words += ["--table", table.name if shipped else str(table.folder)]
    return shlex.join(words)


def conditions_text(profile: Profile) -> str:
    """The conditions in words."""
    c = profile.conditions
    passes = f"{c.passes} guidance passes" if c.passes > 1 else "1 guidance pass"
    return (
        f"latent {c.latent[0]}×{c.latent[1]}, {c.text} text tokens, batch {c.batch}, {passes}; "
        f"bytes at {c.precision}, {c.attention} attention"
    )


def _facts(
    profile: Profile, baseline: Profile | None, quality: Quality | None, baseline_quality: Quality | None
) -> tuple[Fact, ...]:
    now, base = profile.totals, baseline.totals if baseline else None

    def fact(name: str, label: str, value: int, text: str, unit: str, before: int | None) -> Fact:
        versus = change(value, before) if before is not None else ""
        return Fact(name, label, text, f"{value:,}{unit}", versus, "exact", "counted exactly")

    facts = [
        fact("params", "Parameters", now.params, scaled(now.params), "", base and base.params),
        fact("macs", "MACs", now.macs, scaled(now.macs), "", base and base.macs),
        fact("size", "Model size", now.weight_bytes, binary(now.weight_bytes), " bytes", base and base.weight_bytes),
        fact("memory", "Peak activation memory", now.peak_activation_bytes, binary(now.peak_activation_bytes),
             " bytes", base and base.peak_activation_bytes),
    ]  # fmt: skip
    for i, (table, found) in enumerate(zip(profile.tables, profile.predictions, strict=True)):
        versus = change(found.total_ms, baseline.predictions[i].total_ms) if baseline else ""
        parts = "operators and of what blocks add" if any(found.between_ms) else "operators"
        calibrated = f"the sum of {parts}, {'' if found.calibrated else 'not '}calibrated on whole networks"
        facts.append(
            Fact(
                f"latency:{table.name}",
                f"Latency on {table.name}",
                f"{found.total_ms:,.3f} ms",
                f"{found.low_ms:,.3f} to {found.high_ms:,.3f} ms",
                versus,
                found.provenance,
                f"{percent(found.measured_share)} of it from measured operators; {calibrated}",
            )
        )
    if quality is not None and not math.isnan(quality.value):
        error = "" if math.isnan(quality.standard_error) else f"± {quality.standard_error:.5f} (standard error)"
        versus = change(quality.value, baseline_quality.value) if baseline_quality else ""
        note = "lower is better; scored with shared weights, not after a full training"
        facts.append(Fact("quality", "Validation loss", f"{quality.value:.5f}", error, versus, "scored", note))
    return tuple(facts)


def _stages(profile: Profile) -> tuple[tuple[StageRow, ...], StageRow]:
    rows = profile.by("stage")
    columns = [apportioned([row.latency_ms[i] for row in rows], 3, grouped=True) for i in range(len(profile.tables))]
    sums = [sum(row.latency_ms[i] for row in rows) for i in range(len(profile.tables))]
    stages = tuple(
        StageRow(
            row.stage,
            row.params,
            row.macs,
            tuple(column[k] for column in columns),
            tuple(row.latency_ms[i] / total if total else 0.0 for i, total in enumerate(sums)),
        )
        for k, row in enumerate(rows)
    )
    latency = tuple(f"{sum(float(cell.replace(',', '')) for cell in column):,.3f}" for column in columns)
    params, macs = sum(row.params for row in rows), sum(row.macs for row in rows)
    return stages, StageRow("total", params, macs, latency, tuple(1.0 for _ in sums))


def _expensive(profile: Profile, table: int | None) -> tuple[ExpensiveOp, ...]:
    points = roofline(profile, table)
    total = profile.predictions[table].total_ms if table is not None else profile.totals.macs
    found = []
    for point in points[:EXPENSIVE]:
        amount = (point.latency_ms or 0.0) * point.count if table is not None else point.op.macs * point.count
        latency = f"{amount:,.3f}" if table is not None else ""
        bound = "" if point.bound == "unknown" else point.bound
        found.append(
            ExpensiveOp(
                point.op.key, point.count, point.op.macs * point.count, latency, amount / total if total else 0.0,
                point.provenance, bound,
            )
        )  # fmt: skip
    return tuple(found)


def _words(
    profile: Profile, baseline: Profile | None, quality: Quality | None, baseline_quality: Quality | None
) -> tuple[str, ...]:
    now = profile.totals
    against = ""
    if baseline is not None and baseline.arch != profile.arch:
        base = baseline.totals
        against = (
            f", against the baseline's {scaled(base.params)} ({change(now.params, base.params)}) "
            f"and {scaled(base.macs)} ({change(now.macs, base.macs)})"
        )
    words = [f"{scaled(now.params)} parameters and {scaled(now.macs)} multiply-accumulates a run{against}."]
    words += [_latency_words(profile, baseline, i) for i in range(len(profile.tables))]
    words.append(_where_words(profile))
    if quality is not None and not math.isnan(quality.value):
        words.append(_quality_words(quality, baseline_quality if against else None))
    return tuple(words)


def _latency_words(profile: Profile, baseline: Profile | None, i: int) -> str:
    table, found = profile.tables[i], profile.predictions[i]
    interval = f"{found.low_ms:,.3f} to {found.high_ms:,.3f} ms"
    text = f"On {table.name} it is predicted to take {found.total_ms:,.3f} ms ({interval})"
    if baseline is not None and baseline.arch != profile.arch:
        text += f", {change(found.total_ms, baseline.predictions[i].total_ms)} against the baseline"
    kind = "figures of that device" if found.provenance == "measured" else "modelled figures"
    if found.provenance == "mixed":
        kind = f"figures, {percent(found.measured_share)} of them (by time) from that device and the rest modelled"
    text += f". The prediction adds up {kind}, operator by operator"
    if any(found.between_ms):
        share = found.overhead_ms / found.total_ms
        text += f" and block by block (blocks take {percent(share)} of it beyond their operators)"
    else:
        text += "; what a runtime adds between operators is not in it"
    return text + (", and is calibrated on whole networks." if found.calibrated else ".")


def _where_words(profile: Profile) -> str:
    """Which stage and which kind of block cost most."""
    what = f"latency on {profile.tables[0].name}" if profile.tables else "MACs"
    stages: dict[str, float] = {}
    groups: dict[str, float] = {}
    for share in stage_shares(profile):
        amount = share.latency_ms[0] if profile.tables else share.macs
        stages[share.stage] = stages.get(share.stage, 0.0) + amount
        groups[share.group] = groups.get(share.group, 0.0) + amount
    total = sum(stages.values()) or 1.0
    stage = max(stages, key=lambda name: stages[name])
    names = {"attention": "attention blocks", "residual": "residual blocks", "other": "samplers, joins and ends"}
    parts = [f"{names[g]} {percent(amount / total)}" for g, amount in sorted(groups.items(), key=lambda p: -p[1])]
    return f"Of the {what}, {stage} takes the most ({percent(stages[stage] / total)}); by kind: {', '.join(parts)}."


def _quality_words(quality: Quality, baseline: Quality | None) -> str:
    text = f"Its validation loss (lower is better) is {quality.value:.5f}"
    if not math.isnan(quality.standard_error):
        text += f" ± {quality.standard_error:.5f}"
    if baseline is None or math.isnan(baseline.value):
        return f"{text}."
    difference = quality.value - baseline.value
    text += f", the baseline's {baseline.value:.5f}"
    if math.isnan(quality.paired_error):
        return f"{text}."
    text += f". On the same samples they differ by {difference:+.5f} ± {quality.paired_error:.5f}".replace("-", "−")
    if abs(difference) <= 2 * quality.paired_error:
        return f"{text}: less than two standard errors, so this score cannot tell them apart."
    return f"{text}: {'better' if difference < 0 else 'worse'}."
