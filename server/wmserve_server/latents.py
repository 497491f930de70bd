"""Keeps latents behind handles: bounded in bytes and in time, least recently used first out."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

from wmserve.world import World

from wmserve_server.backend import Floats
from wmserve_server.errors import LatentsNotFound


@dataclass(frozen=True)
class Entry:
    """Latents `[T, D]` of one world, made by the engines with these digests."""

    world: str
    checkpoint: str
    latents: Floats
    ood: Floats | None
    """How unlike others their frames were `[T]`, if that is known."""
    expires_at: float


class LatentsStore:
    """Handles and what they stand for, in this process."""

    def __init__(self, capacity_bytes: int, lifetime_s: float, clock: Callable[[], float] = monotonic) -> None:
        self.lifetime_s = lifetime_s
        self._capacity_bytes = capacity_bytes
        self._clock = clock
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._used_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, world: World, latents: Floats, ood: Floats | None = None) -> str:
        """Keep latents, and scores of their frames, and return their handle; older ones go when room is needed."""
        latents_id = f"lat_{secrets.token_urlsafe(16)}"
        # A copy: what arrives is a view of everything that travelled with it.
        scores = None if ood is None else ood.copy()
        expires_at = self._clock() + self.lifetime_s
        entry = Entry(world.name, world.digests.checkpoint, latents.copy(), scores, expires_at)
        self._insert(latents_id, entry)
        self._evict()
        return latents_id

    def get(self, world: World, latents_id: str, field: str) -> Entry:
        """Return latents, and let them live on; LatentsNotFound if they are gone or another world's."""
        self._evict()
        entry = self._entries.get(latents_id)
        if entry is None:
            raise LatentsNotFound("unknown or expired; encode the observation again", field=field)
        if (entry.world, entry.checkpoint) != (world.name, world.digests.checkpoint):
            raise LatentsNotFound(f"was not made by world {world.name} as it is served now", field=field)
        self._remove(latents_id)
        self._insert(latents_id, replace(entry, expires_at=self._clock() + self.lifetime_s))
        return entry

    def _insert(self, latents_id: str, entry: Entry) -> None:
        self._entries[latents_id] = entry
        self._used_bytes += entry.latents.nbytes

    def _remove(self, latents_id: str) -> None:
        self._used_bytes -= self._entries.pop(latents_id).latents.nbytes

    def _evict(self) -> None:
        # Every use moves an entry to the end and renews it, so the first is the oldest and expires first.
        now = self._clock()
        while self._entries:
            oldest, entry = next(iter(self._entries.items()))
            if self._used_bytes <= self._capacity_bytes and entry.expires_at > now:
                return
            self._remove(oldest)
