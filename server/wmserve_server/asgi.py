"""What the edges that speak HTTP share: bodies that are bounded, answers, and callers that go away."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from starlette.types import Receive, Scope, Send

from wmserve_server.errors import Cancelled, InvalidArgument, PayloadTooLarge
from wmserve_server.telemetry import CARRIED, REQUEST_ID, request_id

MAX_JSON_NUMBERS = 160_000
"""Numbers in a JSON body, counted by its commas. So many, a frame of 224 x 224, take 20 to 40 ms to read, and nobody
else is served meanwhile."""
WATCH_AFTER_S = 0.05
"""A call that is answered sooner is over before it would pay to look whether its caller is still there."""


CARRIED_HEADERS = frozenset(name.encode() for name in CARRIED)


def read_json(text: bytes, too_many: str) -> Any:
    """Parse JSON of at most MAX_JSON_NUMBERS numbers; PayloadTooLarge with these words where it has more."""
    if text.count(b",") > MAX_JSON_NUMBERS:
        raise PayloadTooLarge(too_many)
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidArgument(f"body is not valid JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as ASGI."""

    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it."""
        size = str(len(self.body)).encode()
        headers = [(b"content-type", self.content_type.encode()), (b"content-length", size)]
        headers += [(name.encode(), value.encode()) for name, value in self.headers.items()]
        if (known := request_id()) is not None:
            headers.append((REQUEST_ID.encode(), known.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def carried(scope: Scope) -> dict[str, str]:
    """Headers that say what a request belongs to."""
    return {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in CARRIED_HEADERS}


async def read_body(receive: Receive, announced: int, limit: int) -> bytes:
    """Read the body, and stop at the limit whether or not its length was announced."""
    body, more = bytearray(), announced <= limit
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the caller has gone")
        body += message.get("body", b"")
        more = message.get("more_body", False) and len(body) <= limit
    if max(announced, len(body)) > limit:
        raise PayloadTooLarge(f"body is larger than {limit} bytes")
    return bytes(body)


async def unless_disconnected(receive: Receive, call: Awaitable[Any]) -> Any:
    """Await the core, and cancel it if the caller goes away first; begins to look after WATCH_AFTER_S."""
    working, watching = asyncio.current_task(), None
    assert working is not None, "a coroutine runs in a task"
    gone = False

    async def watch() -> None:
        nonlocal gone
        await disconnected(receive)
        gone = True
        working.cancel()

    def begin() -> None:
        nonlocal watching
        watching = asyncio.create_task(watch())

    beginning = asyncio.get_running_loop().call_later(WATCH_AFTER_S, begin)
    try:
        return await call
    except asyncio.CancelledError:
        if not gone:
            raise
        working.uncancel()
        raise Cancelled("the caller has gone") from None
    finally:
        beginning.cancel()
        if watching is not None:
            watching.cancel()


async def disconnected(receive: Receive) -> None:
    """Return when the caller hangs up; its body has been read, so nothing else can come."""
    while (await receive())["type"] != "http.disconnect":
        pass
