"""Scores a population with two cost functions: all of it with a coarse, fast one, the best again with the exact one.

    candidates -> sample -> coarse, exact -> does rounding drown their differences? -> yes: all exactly
                                                |
                                                `-> no: coarse -> the best -> exact -> are the elites known?
                                                                    ^                      |
                                                                    `-- the next best <----'- no

A search keeps its elites and forgets the rest, so only the order at the top matters, and rounding moves a candidate by
a few places only. But populations narrow until candidates differ by less than rounding does, and then nothing but exact
costs can tell them apart. How much rounding does is measured on a sample that it had no part in choosing: those which
come out best are those it favours. Candidates are independent draws, so the first of them are such a sample.
"""

import numpy as np
from numpy.typing import NDArray

from .search import Cost, Details, Floats

DROWNED = 0.5
"""Spread of the coarse cost's errors, in parts of the costs' own, over which most would have to be scored again."""


def coarse_to_fine(coarse: Cost, exact: Cost, elite_count: int) -> Cost:
    """A cost function whose `elite_count` cheapest candidates, and what it says of them, are those of ``exact``.

    Both are asked for whole costs, so it serves any goal and any horizon.
    """

    def cost(candidates: Floats) -> tuple[Floats, Details]:
        count, sampled = rescored(len(candidates), elite_count), max(10, len(candidates) // 20)
        if 2 * (count + sampled) > len(candidates):  # the coarse cost would take longer than it saves
            return exact(candidates)
        sample = exact(candidates[:sampled])
        errors = coarse(candidates[:sampled])[0] - sample[0]
        if not errors.std() < DROWNED * sample[0].std():
            return joined(sample, exact(candidates[sampled:]))
        found = Scores(*coarse(candidates))
        found.put(np.arange(sampled), *sample)
        while True:
            chosen = found.next_best(count)
            found.put(chosen, *exact(candidates[chosen]))
            if found.settled(elite_count):
                return found.ranked(), found.details

    return cost


def rescored(candidate_count: int, elite_count: int) -> int:
    """Candidates that are scored exactly at least, besides the sample: twice the elites, and a fifth of all.

    60 of 300, where the exporter's rank gate holds the outcome to 30 elites. In a larger population more lie as close
    to the last elite, hence the fifth.
    """
    return max(2 * elite_count, candidate_count // 5)


def joined(one: tuple[Floats, Details], other: tuple[Floats, Details]) -> tuple[Floats, Details]:
    """What was said of two parts of a population, as one."""
    details = {name: np.concatenate([array, other[1][name]]) for name, array in one[1].items()}
    return np.concatenate([one[0], other[0]]), details


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

    def next_best(self, count: int) -> NDArray[np.intp]:
        """The best `count` of those that were scored coarsely."""
        return self._order[~self._known[self._order]][:count]

    def settled(self, elite_count: int) -> bool:
        """Whether the elites are very probably among those whose exact costs are known.

        They are if the cheapest of the rest stays behind them, even were it overestimated as much as any of those.
        """
        if self._known.all():
            return True
        costs, rough = self._costs[self._known], self._rough
        last_elite = np.partition(costs, elite_count - 1)[elite_count - 1]
        return bool(rough[~self._known].min() - (rough[self._known] - costs).max() > last_elite)

    def ranked(self) -> Floats:
        """Costs in which those that are coarse come after all that are exact: none of them is taken for the best."""
        last = np.nextafter(self._costs[self._known].max(), np.float32(np.inf))
        self._costs[~self._known] = np.maximum(self._costs[~self._known], last)
        return self._costs
