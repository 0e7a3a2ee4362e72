"""Latency: tables of measured operators, predictions from them, and how they are measured.

Tables and predictions import no framework; measuring imports what it needs when it is called.
"""

from archsearch.latency.predict import Estimate, Prediction, estimate, predict
from archsearch.latency.rows import OpRow
from archsearch.latency.table import LatencyTable, load_table, table_names

__all__ = ["Estimate", "LatencyTable", "OpRow", "Prediction", "estimate", "load_table", "predict", "table_names"]
