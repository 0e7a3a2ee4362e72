"""Search spaces: sets of UNets declared in YAML, with exact counts, uniform sampling and exact cost ranges."""

from archsearch.space.decisions import Choice, Decision, Rule
from archsearch.space.load import load_space, space_names
from archsearch.space.ranges import Extent, Statistics
from archsearch.space.space import Space

__all__ = ["Choice", "Decision", "Extent", "Rule", "Space", "Statistics", "load_space", "space_names"]
