"""Search spaces: sets of UNets declared in YAML, with exact counts, uniform sampling and exact cost ranges."""

from archsearch.space.decisions import Choice, Decision, Rule
from archsearch.space.load import load_space, space_names
from archsearch.space.space import Space

__all__ = ["Choice", "Decision", "Rule", "Space", "load_space", "space_names"]
