"""The HTTP edge: JSON or the gRPC messages in, core, the same out; errors as problem+json (RFC 9457).

    POST /v1/<verb>   body (bounded) -> JSON or protobuf -> core's message -> core -> JSON or protobuf
    everything else   FastAPI: worlds, documents, probes

Verbs are answered before FastAPI sees them: its layers cost more than all that is done here, and its own parser answers
NaN with a 500 and reads bodies of any size.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from google.protobuf.message import DecodeError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from wmserve_server import wire
from wmserve_server.errors import Cancelled, InvalidArgument, PayloadTooLarge, UnsupportedMedia
from wmserve_server.json_arrays import BASE64_ARRAYS, LIST_ARRAYS
from wmserve_server.metrics import Metrics
from wmserve_server.openapi import describe
from wmserve_server.problems import add_problems, answered, method_not_allowed
from wmserve_server.world_model import WorldModel

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TRANSPORT = "http"
MAX_JSON_NUMBERS = 160_000
"""Numbers in a JSON body, counted by its commas. So many, a frame of 224 x 224, take 20 to 40 ms to read, and nobody
else is served meanwhile."""


class HttpEdge:
    """The HTTP application over a core, as ASGI."""

    def __init__(self, core: WorldModel, metrics: Metrics, max_body_bytes: int) -> None:
        self._core = core
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._rest = FastAPI(title="wmserve", redoc_url=None)
        add_problems(self._rest)
        add_worlds(self._rest, core)
        add_operations(self._rest, core, metrics)
        describe(self._rest)
        self._verbs = {f"/v1/{verb.name}": verb for verb in wire.VERBS.values()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        verb = self._verbs.get(scope["path"]) if scope["type"] == "http" else None
        if verb is None:
            await self._rest(scope, receive, send)
            return
        request = Request(scope, receive)
        if request.method == "POST":
            response = await answered(partial(self._answer, request, verb))
        else:
            response = method_not_allowed("POST")
        await response(scope, receive, send)

    async def _answer(self, request: Request, verb: wire.Verb) -> Response:
        with self._metrics.request(TRANSPORT, verb.name) as call:
            arrays = array_format(request)
            body = await read_body(request, self._max_body_bytes)
            call.request_bytes = len(body)
            asked = parse(request, verb, body)
            call.set_world(asked.world, self._core.worlds())
            answer = await unless_disconnected(request, getattr(self._core, verb.name)(asked))
            response = render(request, verb, answer, arrays)
            call.response_bytes = len(response.body)
            return response


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body, and stop at the limit whether or not its length was announced."""
    too_large = PayloadTooLarge(f"body is larger than {limit} bytes")
    if int(request.headers.get("content-length", "0")) > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:
        raise Cancelled("the caller has gone") from None
    return bytes(body)


def media_type(request: Request) -> str:
    """The request's content type without parameters; JSON where there is none."""
    return request.headers.get("content-type", JSON).split(";")[0].strip().lower()


def parse(request: Request, verb: wire.Verb, body: bytes) -> Any:
    """Parse a body into the core's message."""
    kind = media_type(request)
    if kind == PROTOBUF:
        message = verb.proto()
        try:
            message.ParseFromString(body)
        except DecodeError:
            raise InvalidArgument("body is not the expected protobuf message") from None
        return verb.decode(message)
    if kind != JSON:
        raise UnsupportedMedia(f"content type must be {JSON} or {PROTOBUF}")
    if body.count(b",") > MAX_JSON_NUMBERS:
        raise PayloadTooLarge(
            f"a JSON body holds at most {MAX_JSON_NUMBERS} numbers in lists; send larger arrays as base64, or protobuf"
        )
    try:
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidArgument(f"body is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise InvalidArgument("body must be a JSON object")
    return wire.build(verb.request, values)


def array_format(request: Request) -> str:
    """How the caller wants arrays in JSON: ``?arrays=list`` (default) or ``?arrays=base64``."""
    wanted = request.query_params.get("arrays", LIST_ARRAYS)
    if wanted not in (LIST_ARRAYS, BASE64_ARRAYS):
        raise InvalidArgument(f"must be {LIST_ARRAYS} or {BASE64_ARRAYS}", field="arrays")
    return wanted


def render(request: Request, verb: wire.Verb, answer: Any, arrays: str) -> Response:
    """Answer in the caller's own format."""
    if media_type(request) == PROTOBUF:
        return Response(verb.encode(answer).SerializeToString(), media_type=PROTOBUF)
    return Response(answer.model_dump_json(exclude_none=True, context=arrays), media_type=JSON)


async def unless_disconnected(request: Request, call: Awaitable[Any]) -> Any:
    """Await the core, and cancel it if the caller goes away first."""
    working = asyncio.current_task()
    assert working is not None, "a coroutine runs in a task"
    gone = False

    async def watch() -> None:
        nonlocal gone
        await disconnected(request)
        gone = True
        working.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await call
    except asyncio.CancelledError:
        if not gone:
            raise
        working.uncancel()
        raise Cancelled("the caller has gone") from None
    finally:
        watcher.cancel()


async def disconnected(request: Request) -> None:
    """Return when the caller hangs up; its body has been read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def add_worlds(app: FastAPI, core: WorldModel) -> None:
    """Routes that tell which worlds there are."""

    @app.get("/v1/worlds")
    async def wmserve_worlds() -> Response:
        worlds = core.worlds()
        listed = ",".join(worlds[name].model_dump_json() for name in sorted(worlds))
        return Response(f'{{"worlds":[{listed}]}}', media_type=JSON)

    @app.get("/v1/worlds/{world}")
    async def wmserve_world(world: str) -> Response:
        return Response(core.world(world).model_dump_json(), media_type=JSON)


def add_operations(app: FastAPI, core: WorldModel, metrics: Metrics) -> None:
    """Routes for those who run the server."""

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return Response("ok", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        reason = core.unready_reason()
        return Response(reason or "ok", 503 if reason else 200, media_type="text/plain")

    @app.get("/metrics", include_in_schema=False)
    async def prometheus(request: Request) -> Response:
        text, kind = metrics.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})
