"""The HTTP edge: JSON or the gRPC messages in, core, the same out; errors as problem+json (RFC 9457).

    body (bounded) -> JSON or protobuf -> core's message -> core -> JSON or protobuf

FastAPI routes and documents. It does not parse: its own parser answers NaN with a 500 and reads bodies of any size.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from google.protobuf.message import DecodeError
from pydantic_core import from_json

from wmserve_server import wire
from wmserve_server.errors import Cancelled, InvalidArgument, PayloadTooLarge, UnsupportedMedia
from wmserve_server.json_arrays import BASE64_ARRAYS, LIST_ARRAYS
from wmserve_server.metrics import Metrics
from wmserve_server.openapi import describe
from wmserve_server.problems import add_problems
from wmserve_server.world_model import WorldModel

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TRANSPORT = "http"


def create_app(core: WorldModel, metrics: Metrics, max_body_bytes: int) -> FastAPI:
    """Build the HTTP application over a core."""
    app = FastAPI(title="wmserve", redoc_url=None)
    add_problems(app)
    for verb in wire.VERBS.values():
        app.add_api_route(f"/v1/{verb.name}", verb_route(verb, core, metrics, max_body_bytes), methods=["POST"])
    add_worlds(app, core)
    add_operations(app, core, metrics)
    describe(app)
    return app


def verb_route(
    verb: wire.Verb, core: WorldModel, metrics: Metrics, max_body_bytes: int
) -> Callable[[Request], Awaitable[Response]]:
    """The handler of one verb."""

    async def handle(request: Request) -> Response:
        with metrics.request(TRANSPORT, verb.name) as call:
            arrays = array_format(request)
            body = await read_body(request, max_body_bytes)
            call.request_bytes = len(body)
            asked = parse(request, verb, body)
            call.set_world(asked.world, core.worlds())
            answer = await unless_disconnected(request, getattr(core, verb.name)(asked))
            response = render(request, verb, answer, arrays)
            call.response_bytes = len(response.body)
            return response

    handle.__name__ = f"wmserve_{verb.name}"
    return handle


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body, and stop at the limit whether or not its length was announced."""
    too_large = PayloadTooLarge(f"body is larger than {limit} bytes")
    if int(request.headers.get("content-length", "0")) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
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
    task = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Cancelled("the caller has gone")
        return await task
    finally:
        gone.cancel()
        task.cancel()


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
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")
