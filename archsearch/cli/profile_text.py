"""A profile as a terminal table, Markdown and CSV, and the views beside the rows."""

from __future__ import annotations

from archsearch.amounts import apportioned, apportioned_macs, scaled
from archsearch.cli.columns import TableText, csv_text
from archsearch.latency.profile import By, Profile
from archsearch.latency.roofline import roofline
from archsearch.latency.stages import stage_shares


def conditions_line(profile: Profile) -> str:
    """The conditions in words; every output states them."""
    c = profile.conditions
    passes = f"{c.passes} guidance pass{'es' if c.passes > 1 else ''}"
    return (
        f"latent {c.latent[0]}x{c.latent[1]}, text {c.text} tokens, batch {c.batch}, {passes}; "
        f"bytes at {c.precision}, {c.attention} attention"
    )


def headline(profile: Profile) -> list[str]:
    """What a reader wants first."""
    t = profile.totals
    lines = [
        f"{profile.name}: {conditions_line(profile)}",
        f"  parameters  {t.params:,} ({scaled(t.params)}), {t.weight_bytes / 2**20:,.1f} MiB of weights",
        f"  MACs        {t.macs:,} ({scaled(t.macs)}), {t.macs_without_attention:,} without the attention products",
        f"  memory      {t.peak_activation_bytes / 2**20:,.1f} MiB of activations at the peak",
    ]
    for table, prediction in zip(profile.tables, profile.predictions, strict=True):
        parts = "operators and what blocks add" if any(prediction.between_ms) else "operators"
        kind = f"sum of {parts}, {'calibrated' if prediction.calibrated else 'not calibrated'}"
        lines.append(
            f"  latency     {prediction.total_ms:,.1f} ms on {table.name} ({prediction.low_ms:,.1f} to "
            f"{prediction.high_ms:,.1f}): {prediction.provenance}, {prediction.measured_share:.0%} of it from "
            f"measured rows; {kind}"
        )
    return lines


def rows_table(profile: Profile, by: By) -> TableText:
    """The rows with a closing line of totals; printed columns add up to the printed totals."""
    rows = profile.by(by)
    names = {"stage": ("stage",), "block": ("stage", "block"), "op": ("stage", "block", "operator")}[by]
    name = [f"{row.name} {row.op.key}" if row.op else row.name for row in rows]
    labels = [(row.stage, row.block, name[i])[: len(names)] for i, row in enumerate(rows)]
    params = apportioned([row.params / 1e6 for row in rows], 3)
    macs, plain = apportioned_macs([row.macs / 1e9 for row in rows], [row.macs_without_attention / 1e9 for row in rows])
    latency = [apportioned([row.latency_ms[i] for row in rows], 3) for i in range(len(profile.tables))]
    total = _totals(len(names), params, macs, plain, *latency)
    columns = [params, macs, plain]
    header = [*names, "params M", "MACs G", "without att. G"]
    for i, table in enumerate(profile.tables):
        header += [f"ms {table.name}", "from"]
        columns += [latency[i], [row.provenance[i] for row in rows]]
        total.insert(len(header) - 1, "")
    cells = tuple((*label, *(column[i] for column in columns)) for i, label in enumerate(labels))
    numeric = frozenset(i for i, name in enumerate(header) if i >= len(names) and name != "from")
    return TableText(tuple(header), cells, tuple(total), numeric, f"by {by}")


def _totals(labels: int, *columns: list[str]) -> list[str]:
    return (
        ["total"] + [""] * (labels - 1) + [f"{sum(round(float(c) * 1000) for c in col) / 1000:.3f}" for col in columns]
    )


def stages_table(profile: Profile) -> TableText:
    """SnapFusion's figure 2: attention and residual blocks apart, per stage."""
    shares = stage_shares(profile)
    params = apportioned([s.params / 1e6 for s in shares], 2)
    macs = apportioned([s.macs / 1e9 for s in shares], 2)
    header = ["stage", "group", "blocks", "params M", "", "MACs G", ""]
    columns: list[list[str]] = [
        [s.stage for s in shares],
        [s.group for s in shares],
        [str(s.blocks) for s in shares],
        params,
        _bars([float(s.params) for s in shares]),
        macs,
        _bars([float(s.macs) for s in shares]),
    ]
    for i, table in enumerate(profile.tables):
        header += [f"ms {table.name}", ""]
        columns += [
            apportioned([s.latency_ms[i] for s in shares], 2),
            _bars([s.latency_ms[i] for s in shares]),
        ]
    rows = tuple(zip(*columns, strict=True))
    numeric = frozenset(i for i, name in enumerate(header) if i > 1 and name)
    what = "parameters, MACs and latency" if profile.tables else "parameters and MACs"
    return TableText(tuple(header), rows, None, numeric, f"{what} per stage (as SnapFusion's figure 2)")


def _bars(values: list[float], width: int = 14) -> list[str]:
    top = max(values, default=0.0) or 1.0
    return ["█" * round(width * value / top) for value in values]


def roofline_table(profile: Profile, top: int | None) -> TableText:
    """Distinct operators, most expensive first, with their place under the table's empirical roof."""
    index = 0 if profile.tables else None
    header = ["operator", "times", "MACs each", "MACs per byte"]
    points = roofline(profile, index)
    if index is not None:
        header += ["ms each", "ms all", "from", "GMAC/s", "bound by", "of the roof"]
    rows = []
    for point in points[:top]:
        row = [point.op.key, str(point.count), scaled(point.op.macs), f"{point.intensity:.1f}"]
        if point.latency_ms is not None:
            row += [
                f"{point.latency_ms:.3f}",
                f"{point.latency_ms * point.count:.3f}",
                point.provenance,
                f"{point.gmacs_per_s:.1f}" if point.gmacs_per_s else "",
                point.bound,
                f"{point.share:.0%}" if point.share is not None else "",
            ]
        rows.append(tuple(row))
    title = f"the {len(rows)} most expensive of {len(points)} distinct operators"
    if index is not None:
        title += f"; the roof is the best rate that any row of {profile.tables[0].name} reaches"
    numeric = frozenset(i for i, name in enumerate(header) if name not in ("operator", "from", "bound by"))
    return TableText(tuple(header), tuple(rows), None, numeric, title)


def profile_csv(profile: Profile, by: By) -> str:
    """All rows, unrounded."""
    header = ["stage", "block", "kind", "name", "op", "params", "macs", "macs_without_attention"]
    for table in profile.tables:
        header += [f"latency_ms:{table.name}", f"provenance:{table.name}"]
    rows = []
    for row in profile.by(by):
        cells: list[object] = [row.stage, row.block, row.kind, row.name, row.op.key if row.op else "", row.params,
                               row.macs, row.macs_without_attention]  # fmt: skip
        for latency_ms, provenance in zip(row.latency_ms, row.provenance, strict=True):
            cells += [latency_ms, provenance]
        rows.append(cells)
    return csv_text(header, rows)
