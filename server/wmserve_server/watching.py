"""Watches what comes of predictions: does the radius hold in the long run, and is this still the world it was?

    whether the radius held -> adaptive conformal inference -> the miss rate that the next radius allows
    p-value of a surprise   -> conformal test martingale    -> evidence that what surrounds the agent has changed

Adaptive conformal inference (Gibbs & Candes, 2021): ``a <- a + g (a_wanted - missed)``; in the long run the radius
covers as often as it should, whatever happens, if there is none at all, and so nothing missed, while `a` is about 0.

The martingale (Vovk et al., 2021) bets against p-values being even: its capital exceeds 100 with a chance of at most
1 % (Ville) while they are even and do not depend on each other. Those of one episode do a little; `make trust` counts
how often healthy episodes are called changed. It bets several stakes at once, and a little of its capital moves between
them at each step, so that it has some left for a change that comes late.
"""

from collections import OrderedDict

import numpy as np

GAMMA = 0.02
"""How fast the miss rate adapts."""
STAKES = np.array([0.25, 0.5, 0.75, 1.0])
"""Powers `e` of the bets `e p^(e - 1)`; 1 bets nothing. Under 0.25 a single outlier would be enough."""
JUMP = 0.01
"""Part of the capital that moves between stakes."""
CHANGED = 100.0
"""Capital at which a change is said to have happened."""
CAPACITY = 4096


class Watch:
    """What one session has seen of a world, at one level."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted
        """Part of the outcomes that the radius may miss in the long run."""
        self.miss_rate = wanted
        """Part that it is to miss now; under 0 it may miss nothing."""
        self.observed = 0
        self.covered = 0
        self.changed = False
        """Stays once it is said."""
        self._capital = np.full(len(STAKES), 1 / len(STAKES))

    def learn(self, p_value: float, covered: bool) -> None:
        """Take an outcome in."""
        self.miss_rate += GAMMA * (self.wanted - (not covered))
        self.observed += 1
        self.covered += covered
        shared = (1 - JUMP) * self._capital + JUMP * self._capital.sum() / len(STAKES)
        # Bounded, for numbers end: so much evidence is never undone.
        self._capital = np.minimum(shared * STAKES * p_value ** (STAKES - 1), 1e100)
        self.changed = self.changed or self.evidence >= CHANGED

    @property
    def evidence(self) -> float:
        """Capital of a bettor against nothing having changed, who began with 1."""
        return float(self._capital.sum())

    @property
    def coverage(self) -> float:
        """Part of the outcomes that were covered."""
        return self.covered / max(self.observed, 1)


class Watches:
    """Watches by world, calibration and session, and each level, in this process; unused ones go first."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[tuple[str, str, str], dict[float, Watch]] = OrderedDict()

    def of(self, world: str, calibration: str, session: str, wanted: float) -> Watch:
        """The watch of a session, a new one if there is none; outcomes without a session stand alone."""
        if not session:
            return Watch(wanted)
        key = (world, calibration, session)
        by_level = self._sessions.setdefault(key, {})
        self._sessions.move_to_end(key)
        if len(self._sessions) > CAPACITY:
            self._sessions.popitem(last=False)
        return by_level.setdefault(wanted, Watch(wanted))

    def changed(self, world: str, calibration: str, session: str) -> bool:
        """Whether a session has seen its world change."""
        return any(watch.changed for watch in self._sessions.get((world, calibration, session), {}).values())
