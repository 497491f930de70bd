"""State that gateways share, in a Redis-compatible server (Redis or Valkey, from 6.2 on).

A value is one key, written whole, with a time to live; `swap` is a script that compares and sets, which the server runs
in one step and in one round trip (WATCH and MULTI would take three, and a connection for each). A call has TIMEOUT_S,
and one more try where its connection was gone; while the server does not answer, nobody waits for it: calls fail at
once, and a task looks every LOOK_S whether it is back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from wmserve_server.errors import StateUnavailable
from wmserve_server.metrics import Metrics
from wmserve_server.store import MAX_VALUE_BYTES, State

log = logging.getLogger(__name__)

PREFIX = "wmserve:1"
"""Of all keys; a version, so that another form of them would not meet this one's."""
KINDS = ("latents", "decisions", "sessions", "answers")
TIMEOUT_S = 1.0
LOOK_S = 1.0
RETRY_AFTER_S = 1.0
MAX_CONNECTIONS = 32
GONE = (NoConnection, NoAnswer, OSError)
"""Signs that nobody is there; others are the server's refusals, as for want of memory."""
T = TypeVar("T")
SWAP = """
local found = redis.call('GET', KEYS[1])
if (ARGV[1] == '0' and found) or (ARGV[1] == '1' and found ~= ARGV[2]) then return 0 end
if ARGV[3] == '1' then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) else redis.call('DEL', KEYS[1]) end
return 1
"""


class SharedState:
    """The server; ``start`` before the first call, ``stop`` after the last."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        """URL as ``redis://host:port/database``, or ``rediss://`` for TLS; ValueError if it is none."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1, supported_errors=(NoConnection,)),
        )
        self.client = Redis.from_pool(pool)
        # Of its own: that all others are busy is no sign that nobody is there.
        self._pinging = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        self._metrics = metrics
        self._down = False
        self._look_now = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def state(self) -> State:
        """A store for each kind of thing."""
        latents, decisions, sessions, answers = (RedisStore(self, kind) for kind in KINDS)
        return State(latents, decisions, sessions, answers, self.problem)

    def problem(self) -> str | None:
        """Why what is shared cannot be reached; None when it can."""
        return "handles, sessions and idempotency keys cannot be reached" if self._down else None

    async def start(self) -> None:
        """Begin to look whether the server is there."""
        await self._look()
        self._looking = asyncio.create_task(self._look_forever())

    async def stop(self) -> None:
        """Stop looking and hang up."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await self.client.aclose()
        await self._pinging.aclose()

    async def ask(self, operation: str, command: Callable[[], Awaitable[T]]) -> T:
        """What a command answers; StateUnavailable where nobody answers, or the server refuses."""
        if self._down:
            self._metrics.state_failures.labels(operation).inc()
            raise unavailable()
        started = perf_counter()
        try:
            answer = await command()
        except (RedisError, OSError) as error:
            self._metrics.state_failures.labels(operation).inc()
            log.warning("the state store failed: %s: %s", type(error).__name__, error)
            if isinstance(error, GONE):
                self._look_now.set()  # it may be busy, or one value too large: what a ping says counts
            raise unavailable() from None
        self._metrics.state_seconds.labels(operation).observe(perf_counter() - started)
        return answer

    async def _look(self) -> None:
        try:
            await self._pinging.ping()
        except (RedisError, OSError) as error:
            if not self._down:
                log.warning("the state store does not answer: %s: %s", type(error).__name__, error)
            self._set_down(True)
        else:
            self._set_down(False)

    async def _look_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), LOOK_S)
            self._look_now.clear()
            await self._look()

    def _set_down(self, down: bool) -> None:
        if self._down and not down:
            log.info("the state store answers again")
        self._down = down
        self._metrics.state_up.set(not down)


class RedisStore:
    """A store in that server: the keys of one kind."""

    def __init__(self, shared: SharedState, kind: str) -> None:
        self._shared = shared
        self._kind = kind
        self._swap = shared.client.register_script(SWAP)

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """What is there."""
        client, name = self._shared.client, self._name(key)
        if renew_s is None:
            found = await self._shared.ask("get", lambda: client.get(name))
        else:
            found = await self._shared.ask("get", lambda: client.getex(name, px=milliseconds(renew_s)))
        return as_bytes(found)

    async def put(self, key: str, value: bytes, lifetime_s: float) -> None:
        """Keep a value."""
        must_fit(value)
        client, name = self._shared.client, self._name(key)
        await self._shared.ask("put", lambda: client.set(name, value, px=milliseconds(lifetime_s)))

    async def swap(self, key: str, old: bytes | None, new: bytes | None, lifetime_s: float) -> bool:
        """Compare and set."""
        must_fit(new or b"")
        said: list[bytes | int] = [int(old is not None), old or b"", int(new is not None), new or b""]
        said.append(milliseconds(lifetime_s))
        return bool(await self._shared.ask("swap", lambda: self._swap([self._name(key)], said)))

    def _name(self, key: str) -> str:
        return f"{PREFIX}:{self._kind}:{key}"


def must_fit(value: bytes) -> None:
    """Refuse what is larger than any store takes."""
    if len(value) > MAX_VALUE_BYTES:
        raise StateUnavailable("this is more than can be kept")


def milliseconds(seconds: float) -> int:
    """As Redis counts time to live."""
    return max(1, round(seconds * 1000))


def as_bytes(found: object) -> bytes | None:
    """What was found, as it was put."""
    assert found is None or isinstance(found, bytes), "the client decodes nothing"
    return found


def unavailable() -> StateUnavailable:
    """What callers are told: no address, and what they may do."""
    return StateUnavailable("what is kept for later calls cannot be reached; try again", retry_after_s=RETRY_AFTER_S)
