"""The one point at which a request is let in: bounded, and closed while the gateway drains."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from wmserve_server.errors import Overloaded, Unavailable

RETRY_AFTER_S = 1.0


class Admission:
    """Counts what is in flight; sheds what is over the bound before any work is done on it."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the gateway is going away."""
        return self._draining

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place while the block runs; Overloaded or Unavailable if there is none."""
        if self._draining:
            raise Unavailable("the server is shutting down; try another", retry_after_s=RETRY_AFTER_S)
        if self._in_flight >= self._max_in_flight:
            raise Overloaded(f"{self._max_in_flight} requests are in flight already", retry_after_s=RETRY_AFTER_S)
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Let nobody in any more and wait for those inside; False if some were still there at the end."""
        self._draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
