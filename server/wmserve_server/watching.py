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

import asyncio
import hashlib
import json
import random
import secrets
from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np

from wmserve_server.errors import StateUnavailable
from wmserve_server.store import Store

T = TypeVar("T")

GAMMA = 0.02
"""How fast the miss rate adapts."""
STAKES = np.array([0.25, 0.5, 0.75, 1.0])
"""Powers `e` of the bets `e p^(e - 1)`; 1 bets nothing. Under 0.25 a single outlier would be enough."""
JUMP = 0.01
"""Part of the capital that moves between stakes."""
CHANGED = 100.0
"""Capital at which a change is said to have happened."""
LIFETIME_S = 86_400.0
"""Seconds for which a session that is not used is remembered."""
VERSION = 1
ATTEMPTS, LONGEST_PAUSE_S = 32, 0.01
"""Tries to be the one that writes a session, where several write to it at once, and the pause between two."""


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

    def dump(self) -> dict[str, Any]:
        """All that it knows, as JSON."""
        return vars(self) | {"_capital": self._capital.tolist()}

    @classmethod
    def load(cls, fields: dict[str, Any]) -> Self:
        """The watch that was dumped so."""
        watch = cls(fields["wanted"])
        vars(watch).update(fields | {"_capital": np.array(fields["_capital"])})
        return watch

    @property
    def evidence(self) -> float:
        """Capital of a bettor against nothing having changed, who began with 1."""
        return float(self._capital.sum())

    @property
    def coverage(self) -> float:
        """Part of the outcomes that were covered."""
        return self.covered / max(self.observed, 1)


class Watches:
    """Watches by world, calibration and session, and each level; outcomes without a session stand alone."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def update(self, world: str, calibration: str, session: str, wanted: float, take: Callable[[Watch], T]) -> T:
        """Have `take` change the watch of a session, a new one if there is none, and return what it returns.

        None that is taken at the same time elsewhere is lost: who was not first takes again, from what that one left.
        """
        if not session:
            return take(Watch(wanted))
        key = name(world, calibration, session)
        for _ in range(ATTEMPTS):
            kept = await self._store.get(key)
            by_level = read(kept)
            taken = take(by_level.setdefault(wanted, Watch(wanted)))
            written = write(by_level)
            if await self._store.swap(key, kept, written, LIFETIME_S):
                return taken
            if await self._store.get(key) == written:  # it was done, and the answer was lost
                return taken
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_S))
        raise StateUnavailable("too many observe this session at once; try again", field="session", retry_after_s=1.0)

    async def changed(self, world: str, calibration: str, session: str) -> bool:
        """Whether a session has seen its world change."""
        if not session:
            return False
        kept = await self._store.get(name(world, calibration, session), LIFETIME_S)
        return any(watch.changed for watch in read(kept).values())


def name(world: str, calibration: str, session: str) -> str:
    """Key of a session: a digest, for callers name sessions as they like."""
    return hashlib.sha256(json.dumps([world, calibration, session]).encode()).hexdigest()


def write(by_level: dict[float, Watch]) -> bytes:
    """Watches as JSON; by `by` no two writings are equal, so that each gateway knows its own."""
    watches = [watch.dump() for watch in by_level.values()]
    return json.dumps({"version": VERSION, "by": secrets.token_hex(8), "watches": watches}).encode()


def read(kept: bytes | None) -> dict[float, Watch]:
    """Watches by level; none where there is nothing; StateUnavailable where another version wrote what is there."""
    if kept is None:
        return {}
    found = json.loads(kept)
    if found["version"] != VERSION:
        raise StateUnavailable("another version of the server keeps this session; begin another", field="session")
    watches = [Watch.load(fields) for fields in found["watches"]]
    return {watch.wanted: watch for watch in watches}
