"""What outlives a call: bytes behind keys, each for a time; in this process, or in a store that all gateways share.

    latents, decisions, sessions, answers  ->  records (bytes)  ->  Store  ->  InProcess | RedisStore

Whatever is kept here may be gone at the next look, for want of room or time, and every caller of a store says so.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from wmserve_server.errors import StateUnavailable

MAX_VALUE_BYTES = 64 << 20
"""Largest value that any store takes."""
ENTRY_BYTES = 256
"""What an entry costs besides its value: its key, its time, its place."""


class Store(Protocol):
    """Keeps bytes behind keys. Raises :class:`StateUnavailable` where it cannot be reached, or has no room for one."""

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """What is there, None if nothing; with `renew_s` it lives that long from now on."""

    async def put(self, key: str, value: bytes, lifetime_s: float) -> None:
        """Keep a value, whatever was there."""

    async def swap(self, key: str, old: bytes | None, new: bytes | None, lifetime_s: float) -> bool:
        """Put `new` where `old` is, None being nothing, in one step; False, and nothing done, where `old` is not."""


@dataclass(frozen=True)
class State:
    """A store for each kind of thing, so that none takes the room of another."""

    latents: Store
    decisions: Store
    sessions: Store
    answers: Store
    problem: Callable[[], str | None] = lambda: None
    """Why they cannot be reached now; None when they can."""


class InProcess:
    """A store in this process: bounded in bytes, least recently used first out."""

    def __init__(self, capacity_bytes: int, clock: Callable[[], float] = monotonic) -> None:
        self._capacity_bytes = capacity_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._used_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """What is there; what is renewed is used."""
        value = self._look(key)
        if value is not None and renew_s is not None:
            self._insert(key, value, renew_s)
        return value

    async def put(self, key: str, value: bytes, lifetime_s: float) -> None:
        """Keep a value; older ones go when room is needed."""
        if len(value) + ENTRY_BYTES > min(self._capacity_bytes, MAX_VALUE_BYTES):
            raise StateUnavailable("this is more than can be kept")
        self._insert(key, value, lifetime_s)
        self._evict()

    async def swap(self, key: str, old: bytes | None, new: bytes | None, lifetime_s: float) -> bool:
        """Nothing else runs between the look and the change."""
        if self._look(key) != old:
            return False
        if new is not None:
            await self.put(key, new, lifetime_s)
        elif old is not None:
            self._remove(key)
        return True

    def _look(self, key: str) -> bytes | None:
        expires_at, value = self._entries.get(key, (0.0, None))
        return value if expires_at > self._clock() else None

    def _insert(self, key: str, value: bytes, lifetime_s: float) -> None:
        if key in self._entries:
            self._remove(key)
        self._entries[key] = (self._clock() + lifetime_s, value)
        self._used_bytes += len(value) + ENTRY_BYTES

    def _remove(self, key: str) -> None:
        _, value = self._entries.pop(key)
        self._used_bytes -= len(value) + ENTRY_BYTES

    def _evict(self) -> None:
        # Every use moves an entry to the end, so the first is the one unused for longest.
        now = self._clock()
        while self._entries:
            oldest, (expires_at, _) = next(iter(self._entries.items()))
            if self._used_bytes <= self._capacity_bytes and expires_at > now:
                return
            self._remove(oldest)


def in_process(latents: InProcess) -> State:
    """State of a gateway that shares none."""
    return State(latents, InProcess(64 << 20), InProcess(4 << 20), InProcess(64 << 20))
