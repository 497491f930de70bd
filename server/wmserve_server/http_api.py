"""The HTTP edge: JSON or the gRPC messages in, core, the same out; errors as problem+json (RFC 9457).

    POST /v1/<verb>         body (bounded) -> JSON or protobuf -> core's message -> core -> JSON or protobuf
    POST /v1/tools/<verb>   body (bounded) -> JSON -> a tool's arguments -> core -> JSON
    /mcp, /v2/…             edges beside this one: MCP, the Open Inference Protocol
    everything else         FastAPI: worlds, documents, probes

Verbs are answered before FastAPI sees them, and without Starlette's requests and responses: those layers cost more than
all that is done here, and FastAPI's own parser answers NaN with a 500 and reads bodies of any size.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from wmserve_server import answers, wire
from wmserve_server.answers import Keyed
from wmserve_server.asgi import MAX_JSON_NUMBERS, Answer, carried, read_body, read_json, unless_disconnected
from wmserve_server.errors import InvalidArgument, UnsupportedMedia
from wmserve_server.json_arrays import BASE64_ARRAYS, LIST_ARRAYS
from wmserve_server.metrics import Metrics
from wmserve_server.openapi import describe
from wmserve_server.problems import add_problems, answered, method_not_allowed
from wmserve_server.tools import TOOLS, Tool
from wmserve_server.world_model import WorldModel

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TRANSPORT, TOOL_TRANSPORT = "http", "tool"


@dataclass(frozen=True, slots=True)
class Asked:
    """What came before the body."""

    content_type: str
    """Without parameters; JSON where there is none."""
    content_length: int
    arrays: str
    """How the caller wants arrays in JSON: ``?arrays=list`` (default) or ``?arrays=base64``."""
    key: str | None
    """Idempotency key, if there is one."""


class HttpEdge:
    """The HTTP application over a core, as ASGI."""

    def __init__(self, core: WorldModel, metrics: Metrics, max_body_bytes: int, beside: Mapping[str, ASGIApp]) -> None:
        """Beside are applications that answer a path, ``/mcp``, or all under one, ``/v2/``."""
        self._beside = beside
        self._core = core
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._rest = FastAPI(title="wmserve", redoc_url=None, openapi_url="/v1/openapi.json")
        add_problems(self._rest)
        add_worlds(self._rest, core)
        add_operations(self._rest, core, metrics)
        describe(self._rest)
        self._verbs = {f"/v1/{verb.name}": verb for verb in wire.VERBS.values()}
        self._tools = {f"/v1/tools/{tool.verb}": tool for tool in TOOLS.values()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        verb = self._verbs.get(scope["path"]) if scope["type"] == "http" else None
        if verb is None:
            await self._answer_others(scope, receive, send)
            return
        if scope["method"] == "POST":
            response = await answered(partial(self._answer, scope, receive, verb))
        else:
            response = method_not_allowed("POST")
        await response(scope, receive, send)

    async def _answer_others(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is no verb: a tool, what is beside, or the rest."""
        path = scope["path"] if scope["type"] == "http" else ""
        tool = self._tools.get(path)
        response: ASGIApp
        if tool is None:
            response = self._beside.get(path) or self._beside.get(path[: path.find("/", 1) + 1], self._rest)
        elif scope["method"] == "POST":
            response = await answered(partial(self._answer_tool, scope, receive, tool))
        else:
            response = method_not_allowed("POST")
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, verb: wire.Verb) -> Answer:
        with self._metrics.request(TRANSPORT, verb.name, carried(scope)) as call:
            asked = head(scope)
            body = await read_body(receive, asked.content_length, self._max_body_bytes)
            call.request_bytes = len(body)
            request = parse(asked.content_type, verb, body)
            call.set_world(request.world, self._core.worlds())
            if asked.key is None or verb.name not in answers.VERBS:
                response = await unless_disconnected(receive, getattr(self._core, verb.name)(request))
                answer = render(asked, verb, response)
            else:
                keyed = Keyed.of(asked.key, TRANSPORT, verb.name, asked.content_type, asked.arrays, body)
                answer = await unless_disconnected(receive, self._once(asked, keyed, verb, request))
            call.response_bytes = len(answer.body)
            return answer

    async def _answer_tool(self, scope: Scope, receive: Receive, tool: Tool) -> Answer:
        with self._metrics.request(TOOL_TRANSPORT, tool.verb, carried(scope)) as call:
            asked = head(scope)
            body = await read_body(receive, asked.content_length, self._max_body_bytes)
            call.request_bytes = len(body)
            if asked.content_type != JSON:
                raise UnsupportedMedia(f"content type must be {JSON}")
            arguments = wire.exactly(tool.arguments, parse_json(body))
            call.set_world(getattr(arguments, "world", None) or "", self._core.worlds())
            response = await unless_disconnected(receive, tool.call(self._core, arguments))
            answer = Answer(response.model_dump_json(exclude_none=True).encode(), JSON)
            call.response_bytes = len(answer.body)
            return answer

    async def _once(self, asked: Asked, keyed: Keyed, verb: wire.Verb, request: Any) -> Answer:
        """Answer a request, or as it was answered before."""

        async def work() -> bytes:
            return render(asked, verb, await getattr(self._core, verb.name)(request)).body

        body, status = await self._core.answers.once(keyed, work)
        kind = PROTOBUF if asked.content_type == PROTOBUF else JSON
        return Answer(body, kind, headers={answers.STATUS_HEADER: status})


def for_pages(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of these origins read answers (CORS); without any, browsers let none.

    What a page may send without asking first, browsers send, and it is answered: nobody but `/mcp` looks at `Origin`.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "DELETE"),  # the last ends a session of MCP
        allow_headers=("*",),  # no answer depends on cookies, so none can be misused
        expose_headers=("retry-after", "idempotency-status", "x-request-id", "mcp-session-id"),
    )


def head(scope: Scope) -> Asked:
    """Read the headers and the query that matter to a verb; InvalidArgument names what is wrong."""
    kind, size, arrays, key = JSON, 0, LIST_ARRAYS, None
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"content-length":
            size = int(value)
        elif name == b"idempotency-key":
            key = value.decode("latin-1").strip()
    if scope["query_string"]:
        arrays = parse_qs(scope["query_string"].decode("latin-1")).get("arrays", [LIST_ARRAYS])[-1]
        if arrays not in (LIST_ARRAYS, BASE64_ARRAYS):
            raise InvalidArgument(f"must be {LIST_ARRAYS} or {BASE64_ARRAYS}", field="arrays")
    return Asked(kind, size, arrays, key)


def parse(kind: str, verb: wire.Verb, body: bytes) -> Any:
    """Parse a body into the core's message."""
    if kind == PROTOBUF:
        message = verb.proto()
        try:
            message.ParseFromString(body)
        except DecodeError:
            raise InvalidArgument("body is not the expected protobuf message") from None
        return verb.decode(message)
    if kind != JSON:
        raise UnsupportedMedia(f"content type must be {JSON} or {PROTOBUF}")
    return wire.build(verb.request, parse_json(body))


def parse_json(body: bytes) -> dict[str, Any]:
    """Parse a body that is a JSON object."""
    too_many = (
        f"a JSON body holds at most {MAX_JSON_NUMBERS} numbers in lists; send larger arrays as base64, or protobuf"
    )
    values = read_json(body, too_many)
    if not isinstance(values, dict):
        raise InvalidArgument("body must be a JSON object")
    return values


def render(asked: Asked, verb: wire.Verb, response: Any) -> Answer:
    """Answer in the caller's own format."""
    if asked.content_type == PROTOBUF:
        return Answer(verb.encode(response).SerializeToString(), PROTOBUF)
    return Answer(response.model_dump_json(exclude_none=True, context=asked.arrays).encode(), JSON)


def add_worlds(app: FastAPI, core: WorldModel) -> None:
    """Routes that tell which worlds there are."""

    @app.get("/v1/worlds")
    async def wmserve_worlds() -> Response:
        worlds = core.worlds()
        listed = ",".join(worlds[name].model_dump_json() for name in sorted(worlds))
        return Response(f'{{"worlds":[{listed}]}}', media_type=JSON)

    @app.get("/v1/worlds/{world}")
    async def wmserve_world(world: str) -> Response:
        contract = core.world(world)
        listed = MessageToDict(
            wire.versions(core.versions(contract.name)),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        return Response(f"{contract.model_dump_json()[:-1]},{json.dumps(listed)[1:]}", media_type=JSON)


def add_operations(app: FastAPI, core: WorldModel, metrics: Metrics) -> None:
    """Routes for those who run the server."""

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return Response("ok", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        reason = core.unready_reason()
        text = reason or "; ".join(["ok", *core.problems()])
        return Response(text, 503 if reason else 200, media_type="text/plain")

    @app.get("/metrics", include_in_schema=False)
    async def prometheus(request: Request) -> Response:
        text, kind = metrics.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})
