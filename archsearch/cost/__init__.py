"""What an architecture costs: operators, lowering, parameters, MACs, memory.  Imports no framework."""

from archsearch.cost.conditions import Conditions
from archsearch.cost.count import Totals, count, totals
from archsearch.cost.lowering import LocatedOp, Lowering, Piece, lower
from archsearch.cost.op import Op
from archsearch.cost.scorer import Score, Scorer

__all__ = [
    "Conditions",
    "LocatedOp",
    "Lowering",
    "Op",
    "Piece",
    "Score",
    "Scorer",
    "Totals",
    "count",
    "lower",
    "totals",
]
