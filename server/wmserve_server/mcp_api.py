"""The MCP edge: the tools over streamable HTTP, worlds' contracts as resources, a person asked where a plan is refused.

    tools/call   arguments -> tool's arguments -> core -> structured answer, also as text; errors as `isError`
    plan         refused -> elicitation -> a yes -> the same plan with its actions
                     protocol 2026-07-28: the answer is the question, and the call is repeated with the reply
                     before it:           the question is sent while the call waits
    resources    wmserve://worlds/<world> -> the contract, without the tables of its calibration

Pages of other origins are refused, and names of hosts that are not this one's: browsers on this machine reach it too.
"""

import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Message, Receive, Scope, Send

from wmserve_server import messages as m
from wmserve_server import wire
from wmserve_server.errors import DecisionNotFound, WmserveError
from wmserve_server.metrics import Metrics
from wmserve_server.problems import internal
from wmserve_server.telemetry import CARRIED
from wmserve_server.tools import TOOLS, Tool, calls, telling
from wmserve_server.tools.answers import PlanAnswer
from wmserve_server.tools.arguments import PlanArguments
from wmserve_server.tools.schemas import plain
from wmserve_server.world_model import WorldModel

log = logging.getLogger(__name__)

NAME, TRANSPORT = "wmserve", "mcp"
PREFIX = "wmserve://worlds/"
TABLES = {"quantiles", "planned", "levels", "engines", "files", "distance_scale", "disagreement_scale"}
"""Of a calibration: what is for computing with, and long."""
MAX_BODY_BYTES = 4 << 20
"""The SDK parses a body in one go, and nobody else is served meanwhile."""
MAX_SESSIONS = 1000
MAX_QUESTIONS = 1000
ASKED_S = 600.0
"""How long a person is waited for, where the protocol has a call wait."""
"""Refused plans that wait for a person; the oldest are forgotten."""
ASKED_WITHIN = "2026-07-28"
"""From this protocol on, questions are answers."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
QUESTION = "approval"
INSTRUCTIONS = (
    "Tools to predict with learned world models. Begin with wmserve_worlds. To reach a goal: wmserve_plan, execute "
    "execute_steps of it, wmserve_observe, and again from its latents_id."
)

Context = ServerRequestContext[Any, Any]


class Approval(BaseModel):
    """What a person says to a refused plan."""

    model_config = ConfigDict(extra="ignore", strict=True)

    approve: bool = Field(description="Whether the plan may be executed all the same.")
    why: str = Field("", max_length=200, description="Why, for the server's log.")


class McpEdge:
    """The MCP server over a core, as ASGI; it runs within `running`."""

    def __init__(self, core: WorldModel, metrics: Metrics, max_body_bytes: int, origins: tuple[str, ...] = ()) -> None:
        self._core = core
        self._metrics = metrics
        self._waiting: OrderedDict[str, tuple[PlanArguments, m.PlanResponse]] = OrderedDict()
        """Refused plans that a person is asked about; of the arguments only what the answer needs."""
        self._open: set[anyio.CancelScope] = set()
        self._tools = [described(tool) for tool in TOOLS.values()]
        server: Server[Any] = Server(
            NAME,
            version=version("wmserve"),
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )
        server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
        self._sessions = StreamableHTTPSessionManager(
            server,
            security_settings=allowed(origins),
            max_request_body_size=min(max_body_bytes, MAX_BODY_BYTES),
            max_sessions=MAX_SESSIONS,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the block runs."""
        async with self._sessions.run():
            yield

    def stop(self) -> None:
        """End what is open: a host that listens would keep the server from stopping."""
        for one in self._open:
            one.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        answering = False

        async def sent(message: Message) -> None:
            nonlocal answering
            answering = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as one:
            self._open.add(one)
            try:
                await self._sessions.handle_request(scope, receive, sent)
            finally:
                self._open.discard(one)
        if one.cancelled_caught and answering:
            await send({"type": "http.response.body", "body": b""})

    async def _list_tools(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self._tools)

    async def _call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"no such tool; there are {', '.join(TOOLS)}")
        try:
            if params.request_state is not None:
                return self._replied(params.request_state, params.input_responses or {})
            with self._metrics.request(TRANSPORT, tool.verb, carried(context)) as call:
                arguments = wire.exactly(tool.arguments, params.arguments or {})
                call.set_world(getattr(arguments, "world", None) or "", self._core.worlds())
                if not isinstance(arguments, PlanArguments):
                    return told(await tool.call(self._core, arguments))
                found = await calls.search(self._core, arguments)
            return await self._planned(context, arguments, found)
        except WmserveError as error:
            return failed(error)
        except Exception as error:
            return failed(internal(error))

    async def _planned(
        self, context: Context, arguments: PlanArguments, found: m.PlanResponse
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Hand a plan out; ask a person first where it is refused, if this client can."""
        answer = self._answer(arguments, found, approved=False)
        if found.status != "refused" or not can_ask(context):
            return told(answer)
        question = asking(answer)
        if is_version_at_least(context.protocol_version, ASKED_WITHIN):
            state = self._remember(arguments, found)
            asked = {QUESTION: types.ElicitRequest(params=question)}
            return types.InputRequiredResult(input_requests=asked, request_state=state)
        with anyio.move_on_after(ASKED_S):
            reply = await context.session.elicit_form(question.message, question.requested_schema, context.request_id)
            return told(self._answer(arguments, found, approval(reply, found)))
        return told(answer)

    def _replied(self, state: str, replies: types.InputResponses) -> types.CallToolResult:
        """Hand a refused plan out as a person has decided."""
        if state not in self._waiting:
            raise DecisionNotFound("this plan has been decided about, or forgotten; plan again")
        arguments, found = self._waiting.pop(state)
        reply = replies.get(QUESTION)
        approved = isinstance(reply, types.ElicitResult) and approval(reply, found)
        return told(self._answer(arguments, found, approved))

    def _answer(self, arguments: PlanArguments, found: m.PlanResponse, approved: bool) -> PlanAnswer:
        world = self._core.world(arguments.world)
        return telling.plan(world, found, arguments.detail == "full", approved)

    def _remember(self, arguments: PlanArguments, found: m.PlanResponse) -> str:
        """Keep a refused plan until a person has been asked."""
        state = secrets.token_urlsafe(16)
        self._waiting[state] = arguments.model_copy(update={"images": []}), found
        if len(self._waiting) > MAX_QUESTIONS:
            self._waiting.popitem(last=False)
        return state

    async def _list_resources(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        worlds = self._core.worlds()
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=f"{PREFIX}{name}", name=name, description=worlds[name].description, mime_type="application/json"
                )
                for name in sorted(worlds)
            ]
        )

    async def _list_templates(
        self, _: Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            uri_template=f"{PREFIX}{{world}}",
            name="world",
            description="A world's contract: observations, actions, readouts, limits, digests.",
            mime_type="application/json",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def _read_resource(self, _: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        world = self._core.worlds().get(uri.removeprefix(PREFIX)) if uri.startswith(PREFIX) else None
        if world is None:
            raise MCPError(types.INVALID_PARAMS, f"no such resource; worlds are at {PREFIX}<world>", {"uri": uri})
        contract = world.model_dump_json(exclude={"calibration": TABLES})
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, mime_type="application/json", text=contract)]
        )


def allowed(origins: tuple[str, ...]) -> TransportSecuritySettings:
    """Loopback by any name, and these origins: pages from there may ask, under those names."""
    hosts = [*LOOPBACK, *(f"{name}:*" for name in LOOPBACK), *(urlsplit(origin).netloc for origin in origins)]
    pages = [f"{scheme}://{name}{port}" for scheme in ("http", "https") for name in LOOPBACK for port in ("", ":*")]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[*pages, *origins])


def described(tool: Tool) -> types.Tool:
    """A tool as MCP describes it."""
    return types.Tool(
        name=tool.name,
        title=tool.summary,
        description=f"{tool.summary} {tool.description}",
        input_schema=plain(tool.arguments),
        output_schema=plain(tool.answer, "serialization"),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.read_only,
            destructive_hint=False,
            idempotent_hint=tool.idempotent,
            open_world_hint=False,
        ),
    )


def told(answer: BaseModel) -> types.CallToolResult:
    """An answer, structured and as the same in text."""
    content = answer.model_dump(mode="json", exclude_none=True)
    text = types.TextContent(text=json.dumps(content, ensure_ascii=False, separators=(",", ":")))
    return types.CallToolResult(content=[text], structured_content=content)


def carried(context: Context) -> dict[str, str]:
    """Headers of the HTTP request that say what a call belongs to."""
    headers = getattr(context.request, "headers", {})
    return {name: headers[name] for name in CARRIED if name in headers}


def failed(error: WmserveError) -> types.CallToolResult:
    """What went wrong, in words that a model can act on."""
    where = f", field {error.field}" if error.field else ""
    later = "" if error.retry_after_s is None else f" Try again in {max(1, round(error.retry_after_s))} s."
    said = f"{error.title} ({error.reason}{where}): {error.message}.{later}"
    return types.CallToolResult(content=[types.TextContent(text=said)], is_error=True)


def can_ask(context: Context) -> bool:
    """Whether the client can put a form before a person."""
    known = context.session.client_capabilities
    if known is None or known.elicitation is None:
        return False
    return known.elicitation.form is not None or known.elicitation.url is None


def asking(answer: PlanAnswer) -> types.ElicitRequestFormParams:
    """The question whether a refused plan may be executed."""
    schema = plain(Approval)
    return types.ElicitRequestFormParams(
        message=f"{answer.summary} Shall its actions be handed out all the same?",
        requested_schema={key: schema[key] for key in ("type", "properties", "required")},
    )


def approval(reply: types.ElicitResult, found: m.PlanResponse) -> bool:
    """Whether a person has said yes; what was said goes to the log."""
    if reply.action != "accept":
        return False
    try:
        said = Approval.model_validate(reply.content or {})
    except ValidationError:
        return False
    if said.approve:
        log.warning("plan %s, refused (%s), was approved: %r", found.decision_id, ", ".join(found.reasons), said.why)
    return said.approve
