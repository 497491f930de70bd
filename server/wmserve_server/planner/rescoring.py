"""Scores a population with two cost functions: all of it with a coarse, fast one, the best again with the exact one.

    candidates -> coarse -> the best, and a sample -> exact -> are elites to be expected among the rest? -> no
                               ^                                 |
                               `---------- the next best <-------'- yes

A search keeps its elites and forgets the rest, so only the order at the top matters, and rounding moves a candidate by
a few places only. How far is measured on a sample that the coarse costs had no part in choosing: those which come out
best are those that rounding favours. Candidates are independent draws, so the first of them are such a sample.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .search import Cost, Details, Floats

SAMPLED = 8


def coarse_to_fine(coarse: Cost, exact: Cost, elite_count: int) -> Cost:
    """A cost function whose `elite_count` cheapest candidates, and what it says of them, are those of ``exact``.

    That is: fewer than one in twenty of them are to be expected elsewhere. Both are asked for whole costs, so it serves
    any goal and any horizon.
    """

    def cost(candidates: Floats) -> tuple[Floats, Details]:
        count = rescored(len(candidates), elite_count)
        if 2 * (count + SAMPLED) > len(candidates):  # the coarse cost would take longer than it saves
            return exact(candidates)
        found = Scores(*coarse(candidates))
        chosen, more = found.first_and_best(count), count // 2
        while True:
            found.put(chosen, *exact(candidates[chosen]))
            if found.settled(elite_count):
                return found.ranked(), found.details
            chosen, more = found.next_best(more), 2 * more

    return cost


def rescored(candidate_count: int, elite_count: int) -> int:
    """Candidates that are scored exactly at least, besides the sample: a third more than elites, and 2 in 15 of all.

    40 of 300, where the exporter's rank gate holds the outcome to 30 elites. In a larger population more lie as close
    to the last elite, hence the part of all.
    """
    return max(math.ceil(4 * elite_count / 3), math.ceil(2 * candidate_count / 15))


class Scores:
    """Costs `[S]` and details of a population, coarse at first, of which more and more become exact."""

    def __init__(self, rough: Floats, details: Details) -> None:
        self._rough, self._costs = rough, rough.copy()
        self._order = np.argsort(rough, kind="stable")
        self._known = np.zeros(len(rough), bool)
        self.details = {name: array.copy() for name, array in details.items()}

    def put(self, rows: NDArray[np.intp], costs: Floats, details: Details) -> None:
        """Put exact costs and details of some rows in the place of coarse ones."""
        self._costs[rows], self._known[rows] = costs, True
        for name, array in details.items():
            self.details[name][rows] = array

    def first_and_best(self, count: int) -> NDArray[np.intp]:
        """The sample, and the best `count`."""
        return np.union1d(np.arange(SAMPLED), self._order[:count])

    def next_best(self, count: int) -> NDArray[np.intp]:
        """The best `count` of those that were scored coarsely only."""
        return self._order[~self._known[self._order]][:count]

    def settled(self, elite_count: int) -> bool:
        """Whether fewer than one elite in twenty is to be expected among those whose exact costs are not known.

        Errors of the coarse cost are taken to be normal, with the mean and the spread that they have in the sample.
        """
        if self._known.all():
            return True
        errors = (self._rough - self._costs)[:SAMPLED].astype(np.float64)
        last_elite = np.partition(self._costs[self._known], elite_count - 1)[elite_count - 1]
        behind = self._rough[~self._known] - errors.mean() - last_elite
        scale = math.sqrt(2) * max(float(errors.std(ddof=1)), 1e-30)
        return sum(math.erfc(one / scale) / 2 for one in behind.tolist()) < elite_count / 20

    def ranked(self) -> Floats:
        """Costs in which those that are coarse come after all that are exact: none of them is taken for the best."""
        last = np.nextafter(self._costs[self._known].max(), np.float32(np.inf))
        self._costs[~self._known] = np.maximum(self._costs[~self._known], last)
        return self._costs
