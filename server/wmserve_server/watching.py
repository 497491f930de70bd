"""Watches what comes of predictions: does the radius hold in the long run, and is this still the world it was?

    p-value of a surprise -+-> adaptive conformal inference -> the level that is asked of the radius next
                           `-> conformal test martingale    -> evidence that the world has changed

Adaptive conformal inference (Gibbs & Candes, 2021): ``a <- a + g (a_wanted - missed)``; in the long run the radius
covers as often as it should, whatever the world does. The martingale (Vovk et al., 2021) bets against p-values being
even: its capital exceeds 100 with a chance of at most 1 % while they are, however long it is watched (Ville). It bets
several stakes at once, and a little of its capital moves between them at each step, so that it has some left for a
change that comes late.
"""

from collections import OrderedDict

import numpy as np

GAMMA = 0.02
"""How fast the level adapts."""
STAKES = np.array([0.1, 0.25, 0.5, 0.75, 1.0])
"""Powers `e` of the bets `e p^(e - 1)`; 1 bets nothing."""
JUMP = 0.01
"""Part of the capital that moves between stakes."""
CHANGED = 100.0
"""Capital at which the world is said to have changed: 1 % of worlds that have not ever get there."""
CAPACITY = 4096


class Watch:
    """What one session, or all of them, has seen of a world."""

    def __init__(self) -> None:
        self.observed = 0
        self.covered = 0
        self.changed = False
        """Stays once it is said: the session's world is another."""
        self._miss: dict[float, float] = {}
        self._capital = np.full(len(STAKES), 1 / len(STAKES))

    def miss_rate(self, wanted: float) -> float:
        """The miss rate in force where `wanted` is wanted in the long run; under 0 nothing may be missed."""
        return self._miss.get(wanted, wanted)

    def learn(self, p_value: float, wanted: float) -> bool:
        """Take an outcome in; return whether the radius in force covered it."""
        rate = self.miss_rate(wanted)
        covered = p_value > rate
        self._miss[wanted] = rate + GAMMA * (wanted - (not covered))
        self.observed += 1
        self.covered += covered
        shared = (1 - JUMP) * self._capital + JUMP * self._capital.sum() / len(STAKES)
        # Bounded, for numbers end: so much evidence no healthy world ever undoes.
        self._capital = np.minimum(shared * STAKES * p_value ** (STAKES - 1), 1e100)
        self.changed = self.changed or self.evidence >= CHANGED
        return covered

    @property
    def evidence(self) -> float:
        """Capital of a bettor against this being the world it was, who began with 1."""
        return float(self._capital.sum())

    @property
    def coverage(self) -> float:
        """Part of the outcomes that were covered."""
        return self.covered / max(self.observed, 1)


class Watches:
    """Watches by world, calibration and session, in this process; those not used for longest go first."""

    def __init__(self) -> None:
        self._watches: OrderedDict[tuple[str, ...], Watch] = OrderedDict()

    def of(self, *key: str) -> Watch:
        """The watch of a session, a new one if there is none."""
        watch = self._watches.pop(key, None) or Watch()
        self._watches[key] = watch
        if len(self._watches) > CAPACITY:
            self._watches.popitem(last=False)
        return watch
