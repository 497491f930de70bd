"""The one point at which a request is let in: bounded by the work in flight, and closed while the gateway drains.

    open -> leaving: says so, lets in as before -> draining: lets nobody in, waits for those inside

Work is counted in requests: an encode is one, and whatever rolls candidates out is one more for every MODEL_STEPS.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from wmserve_server.errors import Overloaded, Unavailable

RETRY_AFTER_S = 1.0
MODEL_STEPS = 10_000
"""Candidates x iterations x horizon that weigh as much as a request."""


def weight(model_steps: int) -> int:
    """Weight of a request that rolls so many model steps out, in requests."""
    return 1 + model_steps // MODEL_STEPS


def going_away() -> Unavailable:
    """What who comes too late is told."""
    return Unavailable("the server is shutting down; try another", retry_after_s=RETRY_AFTER_S)


class Admission:
    """Counts what is in flight; sheds what is over the bound before any work is done on it."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._leaving = False
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Work that is inside, in requests."""
        return self._in_flight

    @property
    def leaving(self) -> bool:
        """Whether the gateway is going away, though it may still let requests in."""
        return self._leaving or self.draining

    def leave(self) -> None:
        """Say from now on that the gateway is going away."""
        self._leaving = True

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the gateway is going away."""
        return self._draining.is_set()

    async def drained(self) -> None:
        """Wait until the gateway goes away."""
        await self._draining.wait()

    @contextmanager
    def admit(self, weight: int = 1) -> Iterator[None]:
        """Hold `weight` places while the block runs; Overloaded or Unavailable if there are none.

        What is heavier than all places together is let in where nothing else is.
        """
        if self.draining:
            raise going_away()
        if self._in_flight and self._in_flight + weight > self._max_in_flight:
            raise Overloaded(
                f"work of {self._in_flight} requests is in flight, this one weighs {weight}, "
                f"{self._max_in_flight} are let in",
                retry_after_s=RETRY_AFTER_S,
            )
        self._in_flight += weight
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= weight
            if self._in_flight == 0:
                self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Let nobody in any more and wait for those inside; False if some were still there at the end."""
        self._draining.set()
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
