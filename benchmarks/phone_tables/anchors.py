"""Published whole-network latencies against what the written tables say, through ``latency.predict``."""

from __future__ import annotations

from typing import NamedTuple

from archsearch.latency.phones.model import load_model
from archsearch.latency.predict import predict
from archsearch.latency.table import LatencyTable
from benchmarks.phone_tables.networks import CONTROLNET, EFFICIENT, lowering
from benchmarks.phone_tables.npu import SD21_TEXT, Anchor, network_ops

CLOCKWORK = "Clockwork, arXiv 2312.08128 Table 1, Galaxy S23 in 2023"
CLOCKWORK_RATIO = 1960 / 3968
BK_SDM = ("bk-sdm-base", "bk-sdm-small", "bk-sdm-tiny")
RTX_3080 = {"bk-sdm-base": 348 / 454, "bk-sdm-small": 336 / 454, "bk-sdm-tiny": 313 / 454}


class Check(NamedTuple):
    """An anchor and what the table says, in ms of one pass."""

    anchor: Anchor
    predicted_ms: float

    @property
    def error(self) -> float:
        """Relative error."""
        return self.predicted_ms / self.anchor.latency_ms - 1


def total_ms(table: LatencyTable, network: str) -> float:
    """One pass of a network; networks whose operators no table holds are summed from the table's own model."""
    if network not in (CONTROLNET, SD21_TEXT):
        return predict(lowering(network), table).total_ms
    assert table.folder is not None
    model = load_model(table.folder)
    return sum(model.row(op).latency_ms for op in network_ops(network))


def check(table: LatencyTable, anchors: tuple[Anchor, ...]) -> list[Check]:
    """What the table says about every anchor."""
    return [Check(anchor, total_ms(table, anchor.network)) for anchor in anchors]


def ratio_to_sd15(table: LatencyTable, network: str) -> float:
    """A network's latency over SD 1.5's."""
    return total_ms(table, network) / total_ms(table, "sd15")


def fitted_share(table: LatencyTable, network: str) -> float:
    """The part of a network's latency that rests on classes fitted to this phone's own operator timings."""
    found = [table.rows[located.op.key] for located in lowering(network).ops()]
    return sum(row.latency_ms for row in found if row.graph.endswith(": fitted")) / sum(row.latency_ms for row in found)


def drop_of_flops() -> float:
    """How many of SD 1.5's FLOPs go with its 64x64 transformers, attention products included."""
    macs = {name: sum(located.op.macs for located in lowering(name).ops()) for name in ("sd15", EFFICIENT)}
    return 1 - macs[EFFICIENT] / macs["sd15"]
