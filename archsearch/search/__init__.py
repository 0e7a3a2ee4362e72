"""Search for the Pareto front of a space.

``objectives`` what is minimised and limited; ``study`` the folder that keeps a search; ``setup`` from words to a study;
``run`` the loop; ``strategy`` and ``nsga2`` what proposes candidates; ``front`` Pareto front, knee and hypervolume.
"""
