"""Uniform sampling under upper limits on costs.

Plain rejection is uniform but starves where few candidates meet the limits.  So candidates are drawn with a weight
exp(-tilt * cost), which the chain allows exactly, and one that meets the limits is kept with the probability that
undoes its weight: what is kept is uniform again, at any tilt.  A limit on the peak of memory is a limit on every
edge and simply closes edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from archsearch.errors import SpaceError
from archsearch.space.chain import Ints
from archsearch.space.costs import Costs
from archsearch.space.paths import Paths, find_edges
from archsearch.space.ranges import Column, columns, extreme

BATCH = 4096
MAX_DRAWS = 100 * BATCH
ROUNDS = 40


class Limit(NamedTuple):
    """``name <= most``; ``column`` holds its values on edges, divided by ``most``."""

    name: str
    most: float
    column: Column


def sample_within(
    paths: Paths,
    costs: Costs,
    names: Sequence[str],
    limits: Mapping[str, float],
    n: int,
    rng: np.random.Generator,
) -> Ints:
    """``n`` independent paths, uniform over the candidates that meet all limits.

    Raises:
        SpaceError: an unknown cost; a limit that cannot be met, alone or with the others, with the nearest reachable
            value; too few candidates found within ``MAX_DRAWS`` + 100 n draws.
    """
    known = columns(costs, names)
    masks = [paths.alive(t) for t in range(len(paths.chain.steps))]
    for name, most in limits.items():
        if name not in known:
            raise SpaceError("unknown cost", where=name, allowed=", ".join(known))
        if not most > 0 or not np.isfinite(most):
            raise SpaceError("a limit is a positive number", where=name, got=most)
        _check_reachable(paths, known[name], masks, name, most, "")
    peaks = {name: most for name, most in limits.items() if known[name].is_peak}
    for name, most in peaks.items():
        column = known[name]
        masks = [m & (v * column.factor <= most) for m, v in zip(masks, column.values, strict=True)]
    sums = {name: most for name, most in limits.items() if name not in peaks}
    beside = ", ".join(f"{name} <= {most:.12g}" for name, most in peaks.items())
    additive = []
    for name, most in sums.items():
        column = known[name]
        _check_reachable(paths, column, masks, name, most, beside)
        additive.append(Limit(name, most, Column(tuple(v * (column.factor / most) for v in column.values), 1, False)))
    return _Sampler(paths, masks, additive, {name: known[name] for name in sums}).draw(n, rng)


def _check_reachable(paths: Paths, column: Column, masks: Sequence[Any], name: str, most: float, beside: str) -> None:
    low = extreme(paths, column, masks, -1)[0] * column.factor
    if low > most:
        together = f" together with {beside}" if beside else ""
        raise SpaceError(f"no candidate of the space meets this constraint{together}", where=f"{name} <= {most:.12g}",
                         allowed=f"at least {low:.12g} (the nearest reachable value)")  # fmt: skip


class _Sampler:
    def __init__(
        self, paths: Paths, masks: Sequence[Any], limits: Sequence[Limit], exact: Mapping[str, Column]
    ) -> None:
        self.paths = paths
        self.masks = masks
        self.limits = limits
        self.exact = exact
        self.weights = self._direction()
        self.combined = [
            sum((w * limit.column.values[t] for w, limit in zip(self.weights, limits, strict=True)), 0.0 * mask)
            for t, mask in enumerate(masks)
        ]

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Raise the tilt while that keeps more, then draw."""
        kept: list[Ints] = []
        nearest: tuple[float, Ints] = (np.inf, np.zeros((1, len(self.masks)), dtype=np.int64))
        tilt, best_rate, draws = 0.0, -1.0, 0
        tilted = _Tilted(self.paths, self.masks, self.combined, tilt)
        climbing = bool(self.limits)
        while sum(map(len, kept)) < n:
            if draws >= MAX_DRAWS + 100 * n:
                raise self._starved(draws, sum(map(len, kept)), nearest[1])
            found = tilted.draw(BATCH, rng)
            draws += BATCH
            excess, score = self._excess(found)
            keep = (excess <= 0) & (rng.random(len(found)) < np.exp(np.minimum(tilted.tilt * (score - 1), 0)))
            kept.append(found[keep])
            if excess.min() < nearest[0]:
                nearest = (float(excess.min()), found[[int(excess.argmin())]])
            if climbing:
                rate = float(np.mean((excess <= 0) * np.exp(np.minimum(tilted.tilt * (score - 1), 0))))
                if rate < best_rate or rate > 0.2 or tilt > 1e6:
                    climbing = False
                    tilt = tilt if rate >= best_rate else tilt / 2
                else:
                    best_rate = rate
                    tilt = max(1.0, 2 * tilt)
                if tilt != tilted.tilt:
                    tilted = _Tilted(self.paths, self.masks, self.combined, tilt)
        return np.concatenate(kept)[:n]

    def _direction(self) -> list[float]:
        """Weights of the limits, by the multiplicative-weights method; finding that they exclude each other."""
        count = len(self.limits)
        if count < 2:
            return [1.0] * count
        weights = np.full(count, 1 / count)
        average = np.zeros(count)
        for _ in range(ROUNDS):
            values = tuple(
                sum(w * limit.column.values[t] for w, limit in zip(weights, self.limits, strict=True))
                for t in range(len(self.masks))
            )
            low, path = extreme(self.paths, Column(values, 1, False), self.masks, -1)
            shares = np.array([self._value(limit.column, path)[0] for limit in self.limits])
            if low > 1 + 1e-9:  # a weighted sum of the limits is beyond reach, so they are, together
                raise self._excluded(path, shares)
            if (shares <= 1).all():
                return list(weights)
            average += weights
            weights = weights * np.exp(np.clip(2 * (shares - 1), -2, 2))
            weights /= weights.sum()
        return list(average / average.sum())

    def _value(self, column: Column, path: Ints) -> Any:
        return sum(values[path[:, t]] for t, values in enumerate(column.values)) * column.factor

    def _excess(self, path: Ints) -> tuple[Any, Any]:
        """How far each path is beyond its worst limit (as a share of it), and its weighted sum of shares."""
        closed = np.zeros(len(path), dtype=bool)
        for t, mask in enumerate(self.masks):
            closed |= ~mask[path[:, t]]
        excess = np.where(closed, np.inf, -np.inf)
        score = np.zeros(len(path))
        for weight, limit in zip(self.weights, self.limits, strict=True):
            value = self._value(self.exact[limit.name], path)
            excess = np.maximum(excess, np.where(value <= limit.most, np.minimum(value / limit.most - 1, 0),
                                                 np.maximum(value / limit.most - 1, 1e-300)))  # fmt: skip
            score = score + weight * (value / limit.most)
        return excess, score

    def _excluded(self, path: Ints, shares: Any) -> SpaceError:
        worst = self.limits[int(np.argmax(shares))]
        others = ", ".join(f"{limit.name} <= {limit.most:.12g}" for limit in self.limits if limit is not worst)
        got = ", ".join(f"{limit.name} {self._value(self.exact[limit.name], path)[0]:.12g}" for limit in self.limits)
        return SpaceError(f"no candidate of the space meets this constraint together with {others}",
                          where=f"{worst.name} <= {worst.most:.12g}", allowed=f"nearest together: {got}")  # fmt: skip

    def _starved(self, draws: int, found: int, nearest: Ints) -> SpaceError:
        got = ", ".join(f"{limit.name} {self._value(self.exact[limit.name], nearest)[0]:.12g}" for limit in self.limits)
        return SpaceError(
            "too few candidates meet the constraints",
            where=", ".join(f"{limit.name} <= {limit.most:.12g}" for limit in self.limits),
            got=f"{found} found in {draws} draws",
            allowed=f"nearest together: {got}",
            next_step="loosen one of them",
        )


class _Tilted:
    """Draws paths with probability proportional to exp(-tilt * sum of values)."""

    def __init__(self, paths: Paths, masks: Sequence[Any], values: Sequence[Any], tilt: float) -> None:
        self.paths = paths
        self.tilt = tilt
        self.before: list[Any] = []
        after = np.zeros(1)
        for step, mask, value in zip(reversed(paths.chain.steps), reversed(masks), reversed(values), strict=True):
            log = np.where(mask, after[step.edge_next] - tilt * value, -np.inf)
            start = step.edge_start[:-1]
            top = np.maximum.reduceat(np.append(log, -np.inf), start)
            top = np.where((np.diff(step.edge_start) == 0) | ~np.isfinite(top), 0.0, top)
            group = np.repeat(np.arange(len(start)), np.diff(step.edge_start))
            share = np.exp(log - top[group])
            # Sums over all edges: a group's own are differences, exact to about 1e-10 of its largest edge.
            running = np.concatenate(([0.0], np.cumsum(share)))
            total = running[step.edge_start[1:]] - running[start]
            with np.errstate(divide="ignore", invalid="ignore"):
                after = np.where(total > 0, top + np.log(total), -np.inf)
                self.before.append((running[:-1] - running[start][group]) / total[group])
        self.before.reverse()

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """``n`` paths [n, steps]."""
        path = np.empty((n, len(self.before)), dtype=np.int64)
        group = np.zeros(n, dtype=np.int64)
        for t, step in enumerate(self.paths.chain.steps):
            edge = find_edges(step, self.before[t], group, rng.random(n))
            path[:, t] = edge
            group = step.edge_next[edge]
        return path
