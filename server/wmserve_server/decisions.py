"""Remembers what was decided, so that callers can say later what came of it: bounded in number and in time."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from wmserve.world import World

from wmserve_server.backend import Floats, Start
from wmserve_server.errors import DecisionNotFound

CAPACITY, CAPACITY_BYTES = 10_000, 64 << 20


@dataclass(frozen=True)
class Decision:
    """Actions `[N, A]` that a world was to be moved by, from where on."""

    world: str
    checkpoint: str
    start: Start
    actions: Floats

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        history = self.start.action_history
        return self.start.latents.nbytes + self.actions.nbytes + (0 if history is None else history.nbytes)


class Decisions:
    """Handles and what they stand for, in this process; the oldest go first."""

    def __init__(self, lifetime_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, Decision]] = OrderedDict()
        self._used_bytes = 0

    def put(self, world: World, start: Start, actions: Floats) -> str:
        """Keep a decision and return its handle."""
        decision_id = f"dec_{secrets.token_urlsafe(16)}"
        # Copies: what arrives are views of everything that travelled with it.
        begun = Start(start.latents.copy(), start.action_history)
        kept = Decision(world.name, world.digests.checkpoint, begun, actions.copy())
        self._entries[decision_id] = (self._clock() + self._lifetime_s, kept)
        self._used_bytes += kept.nbytes
        while self._entries and self._too_much():
            _, (_, gone) = self._entries.popitem(last=False)
            self._used_bytes -= gone.nbytes
        return decision_id

    def get(self, world: World, decision_id: str) -> Decision:
        """Return a decision; DecisionNotFound if it is gone or another world's."""
        expires_at, kept = self._entries.get(decision_id, (0.0, None))
        if kept is None or expires_at <= self._clock():
            raise DecisionNotFound("unknown or expired; send `acted` instead", field="decision_id")
        if (kept.world, kept.checkpoint) != (world.name, world.digests.checkpoint):
            raise DecisionNotFound(f"was not made by world {world.name} as it is served now", field="decision_id")
        return kept

    def _too_much(self) -> bool:
        expires_at, _ = next(iter(self._entries.values()))
        too_many = len(self._entries) > CAPACITY or self._used_bytes > CAPACITY_BYTES
        return too_many or expires_at <= self._clock()
