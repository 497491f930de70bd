"""Answers a request that is repeated with its idempotency key with the first answer, byte for byte.

    nobody has it   -> claim -> work -> answer kept             for LIFETIME_S
    claimed         -> wait for its answer, for PATIENCE_S      then KeyInUse (409, as the IETF's draft has it)
    claim expired   -> whoever held it is gone: claim anew      at most LEASE_S after that
    answered        -> that answer                              KeyReused (422) where the request was another

A claim is renewed while its holder lives, so that a request whose gateway died is soon taken over by the next one that
hears it again. What failed is not kept. Where nothing can be kept, the request is answered all the same, and said so:
draft-ietf-httpapi-idempotency-key-header leaves that open, and a plan that is made twice does no harm.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from wmserve_server import telemetry
from wmserve_server.errors import InvalidArgument, KeyInUse, KeyReused, StateUnavailable
from wmserve_server.metrics import Metrics
from wmserve_server.store import Store

HEADER = "idempotency-key"
STATUS_HEADER = "idempotency-status"
VERBS = frozenset({"plan", "observe"})
"""Those that take keys: a plan is to be made once, and a session is to learn once. The others are as good repeated."""
MAX_KEY = 255
LIFETIME_S = 600.0
LEASE_S = 2.0
PATIENCE_S = 3.0
POLL_S = 0.05
CLAIMED, ANSWERED = b"wma1c", b"wma1a"
Status = Literal["first", "replayed", "not_kept"]


@dataclass(frozen=True, slots=True)
class Keyed:
    """An idempotency key, and a digest of the request that came with it."""

    key: str
    fingerprint: bytes

    @classmethod
    def of(cls, key: str, *request: str | bytes) -> "Keyed":
        """A key and all that its request says; InvalidArgument where it is no key. Quotes around it are no part of it.

        How the answer is to be written is part of what a request says.
        """
        bare = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
        if not 0 < len(bare) <= MAX_KEY or not bare.isascii() or not bare.isprintable():
            raise InvalidArgument(f"must be 1 to {MAX_KEY} printable ASCII characters", field=HEADER)
        digest = hashlib.sha256()
        for part in request:
            said = part.encode() if isinstance(part, str) else part
            digest.update(len(said).to_bytes(8, "little"))
            digest.update(said)
        return cls(hashlib.sha256(bare.encode()).hexdigest(), digest.digest())


class Answers:
    """Answers by idempotency key."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def once(self, asked: Keyed, work: Callable[[], Awaitable[bytes]]) -> tuple[bytes, Status]:
        """The answer that was given to this request, or that of `work`, which is kept; KeyReused or KeyInUse."""
        answer, status = await self._once(asked, work)
        self._metrics.keyed.labels(status).inc()
        telemetry.note(idempotency=status)
        return answer, status

    async def _once(self, asked: Keyed, work: Callable[[], Awaitable[bytes]]) -> tuple[bytes, Status]:
        claim = CLAIMED + asked.fingerprint + secrets.token_bytes(16)
        try:
            kept = await self._claim(asked, claim)
        except StateUnavailable:
            return await work(), "not_kept"
        if kept is not None:
            return kept, "replayed"
        async with self._held(asked.key, claim):
            answer = await work()
        return await self._keep(asked, claim, answer)

    async def _claim(self, asked: Keyed, claim: bytes) -> bytes | None:
        """Claim a key and return None, or the answer that it has."""
        give_up = monotonic() + PATIENCE_S
        while not await self._store.swap(asked.key, None, claim, LEASE_S):
            found = await self._store.get(asked.key)
            if found == claim:  # it was done, and the answer was lost
                return None
            if found is not None:
                state, fingerprint, rest = found[:5], found[5:37], found[37:]
                if fingerprint != asked.fingerprint:
                    raise KeyReused("came with another request before", field=HEADER)
                if state == ANSWERED:
                    return rest
            if monotonic() > give_up:
                raise KeyInUse("its request is still being answered; try again", field=HEADER, retry_after_s=1.0)
            await asyncio.sleep(POLL_S)
        return None

    @asynccontextmanager
    async def _held(self, key: str, claim: bytes) -> AsyncIterator[None]:
        """Keep a claim while the block runs, and let it go where that fails."""
        renewing = asyncio.create_task(self._renew(key, claim))
        try:
            yield
        except BaseException:
            with contextlib.suppress(StateUnavailable):
                await self._store.swap(key, claim, None, 0.0)
            raise
        finally:
            renewing.cancel()

    async def _renew(self, key: str, claim: bytes) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            with contextlib.suppress(StateUnavailable):
                await self._store.swap(key, claim, claim, LEASE_S)

    async def _keep(self, asked: Keyed, claim: bytes, answer: bytes) -> tuple[bytes, Status]:
        """Put an answer in the place of its claim; where somebody else took that over and was faster, take theirs."""
        try:
            if await self._store.swap(asked.key, claim, ANSWERED + asked.fingerprint + answer, LIFETIME_S):
                return answer, "first"
            found = await self._store.get(asked.key)
        except StateUnavailable:
            return answer, "not_kept"
        theirs = ANSWERED + asked.fingerprint
        return (found[len(theirs) :], "replayed") if found and found.startswith(theirs) else (answer, "not_kept")
