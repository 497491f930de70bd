"""Remembers what was decided, so that callers can say later what came of it: bounded in number and in time."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from wmserve.world import World

from wmserve_server.backend import Floats, Start
from wmserve_server.errors import DecisionNotFound

CAPACITY = 10_000


@dataclass(frozen=True)
class Decision:
    """Actions `[N, A]` that a world was to be moved by, from where on."""

    world: str
    checkpoint: str
    start: Start
    actions: Floats


class Decisions:
    """Handles and what they stand for, in this process; the oldest go first."""

    def __init__(self, lifetime_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, Decision]] = OrderedDict()

    def put(self, world: World, start: Start, actions: Floats) -> str:
        """Keep a decision and return its handle."""
        decision_id = f"dec_{secrets.token_urlsafe(16)}"
        kept = Decision(world.name, world.digests.checkpoint, start, actions)
        self._entries[decision_id] = (self._clock() + self._lifetime_s, kept)
        while self._entries and (len(self._entries) > CAPACITY or self._oldest() <= self._clock()):
            self._entries.popitem(last=False)
        return decision_id

    def get(self, world: World, decision_id: str) -> Decision:
        """Return a decision; DecisionNotFound if it is gone or another world's."""
        expires_at, kept = self._entries.get(decision_id, (0.0, None))
        if kept is None or expires_at <= self._clock():
            raise DecisionNotFound("unknown or expired; send `acted` instead", field="decision_id")
        if (kept.world, kept.checkpoint) != (world.name, world.digests.checkpoint):
            raise DecisionNotFound(f"was not made by world {world.name} as it is served now", field="decision_id")
        return kept

    def _oldest(self) -> float:
        return next(iter(self._entries.values()))[0]
