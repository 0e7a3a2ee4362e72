"""A made-up latency table for tests: any positive function of an operator, in whole quanta so that sums are exact."""

from __future__ import annotations

from archsearch.cost import Op
from archsearch.cost.block import BlockOp


class MadeUpTable:
    """Not a measurement: tests only need a table whose sums can be checked."""

    def op_latency_ms(self, op: Op) -> float:
        return (1 + sum(map(ord, op.key)) + op.macs // 1000) * 2.0**-20

    def between_ms(self, block: BlockOp) -> float:
        return (len(block.key) % 7 - 2) * 2.0**-20
