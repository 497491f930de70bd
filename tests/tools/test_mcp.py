"""MCP through the official client: both transports, the protocols with sessions and without, and people asked."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from wmserve.world import World
from wmserve_client import mcp_bridge
from wmserve_server.tools import EXAMPLE_IMAGE, TOOLS
from wmserve_server.tools.schemas import plain

from tests.conftest import Server, running

WAYS = [(transport, mode) for transport in ("http", "stdio") for mode in ("auto", "legacy")]
REFUSED = {
    "world": "two_room",
    "images": [EXAMPLE_IMAGE],
    "goal_readouts": [{"readout": "agent_x", "value": 60}],
    "keep_in": [{"readout": "agent_x", "low": 10, "high": 20}],
    "seed": 0,
}
APPROVE = types.ElicitResult(action="accept", content={"approve": True, "why": "it is a test"})
REPLIES = {
    "approved": APPROVE,
    "not approved": types.ElicitResult(action="accept", content={"approve": False}),
    "not a word": types.ElicitResult(action="accept", content={"approve": "yes"}),
    "declined": types.ElicitResult(action="decline", content={"approve": True}),
    "cancelled": types.ElicitResult(action="cancel"),
}


@asynccontextmanager
async def connected(
    server: Server, transport: str = "http", mode: str = "auto", reply: types.ElicitResult | None = None
) -> AsyncIterator[tuple[Client, list[str]]]:
    """A client, and what it was asked to put before a person; without a reply it can ask nobody."""
    asked: list[str] = []

    async def ask(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        assert reply is not None
        return reply

    command = StdioServerParameters(
        command=sys.executable, args=["-m", "wmserve_client.cli", "mcp", "--url", server.http]
    )
    target: Any = f"{server.http}/mcp" if transport == "http" else command
    async with Client(target, mode=mode, elicitation_callback=None if reply is None else ask) as client:
        yield client, asked


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that answers; the client holds the answer against the tool's schema."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    content: dict[str, Any] = result.structured_content
    return content


@pytest.mark.parametrize(("transport", "mode"), WAYS)
async def test_tools_over_every_transport(server: Server, transport: str, mode: str) -> None:
    """Tools are listed as they are defined, and work from a picture to what came of a plan."""
    async with connected(server, transport, mode) as (client, _):
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == list(TOOLS)
        for tool in listed:
            assert tool.input_schema == plain(TOOLS[tool.name].arguments)
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint == (tool.name != "wmserve_observe")
            assert tool.annotations.idempotent_hint == (tool.name in ("wmserve_worlds", "wmserve_rollout"))
        seen = await call(client, "wmserve_encode", world="two_room", images=[EXAMPLE_IMAGE])
        start = {"world": "two_room", "latents_id": seen["latents_id"]}
        plan = await call(client, "wmserve_plan", **start, goal_readouts=REFUSED["goal_readouts"], seed=1)
        assert plan["status"] == "ok"
        predicted = await call(client, "wmserve_rollout", **start, actions=plan["actions"])
        assert predicted["model_steps"] == 1
        outcome = await call(
            client, "wmserve_observe", world="two_room", decision_id=plan["decision_id"], images=[EXAMPLE_IMAGE]
        )
        assert "changed" in outcome


async def test_mcp_and_http_say_the_same(server: Server) -> None:
    """One core, one definition: the same arguments give the same answer."""
    arguments = dict(TOOLS["wmserve_rollout"].example)
    async with connected(server) as (client, _):
        result = await client.call_tool("wmserve_rollout", arguments)
    over_http = httpx.post(f"{server.http}/v1/tools/rollout", json=arguments, timeout=30)
    assert result.structured_content == over_http.json()
    assert isinstance(result.content[0], types.TextContent)
    assert result.content[0].text == over_http.text


@pytest.mark.parametrize(("transport", "mode"), WAYS[:3])
async def test_a_person_is_asked_about_a_refused_plan(server: Server, transport: str, mode: str) -> None:
    """Where a person allows a refused plan, and only there, its actions are handed out."""
    async with connected(server, transport, mode, APPROVE) as (client, asked):
        plan = await call(client, "wmserve_plan", **REFUSED)
    assert len(asked) == 1
    assert "Refused" in asked[0]
    assert plan["status"] == "approved"
    assert len(plan["actions"]) == plan["execute_steps"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("reply", [reply for reply in REPLIES if reply != "approved"])
async def test_whatever_is_no_yes_hands_nothing_out(server: Server, mode: str, reply: str) -> None:
    """A refused plan stays refused unless a person has said yes."""
    async with connected(server, mode=mode, reply=REPLIES[reply]) as (client, asked):
        plan = await call(client, "wmserve_plan", **REFUSED)
    assert len(asked) == 1
    assert plan["status"] == "refused"
    assert "actions" not in plan


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_can_ask_nobody_gets_a_refusal(server: Server, mode: str) -> None:
    """Nobody is asked through a client that has not said that it can ask."""
    async with connected(server, mode=mode) as (client, _):
        plan = await call(client, "wmserve_plan", **REFUSED)
    assert plan["status"] == "refused"
    assert "actions" not in plan


async def test_a_yes_that_nobody_asked_for_is_worth_nothing(server: Server) -> None:
    """Replies count once, and only to a question that this server has asked about this very plan."""
    async with connected(server, reply=APPROVE) as (client, _):
        session = client.session
        question = await session.call_tool("wmserve_plan", REFUSED, allow_input_required=True)
        assert isinstance(question, types.InputRequiredResult)
        replies = {"approval": APPROVE}

        async def reply(state: str | None, arguments: dict[str, Any]) -> Any:
            return await session.call_tool(
                "wmserve_plan", arguments, input_responses=replies, request_state=state, allow_input_required=True
            )

        with pytest.raises(MCPError, match="requestState"):
            await reply("made up", REFUSED)
        with pytest.raises(MCPError, match="requestState"):
            await reply(question.request_state, REFUSED | {"seed": 2})
        assert isinstance(await reply(None, REFUSED), types.InputRequiredResult)
        assert (await reply(question.request_state, REFUSED)).structured_content["status"] == "approved"
        assert (await reply(question.request_state, REFUSED)).is_error


async def test_input_errors_are_answers(server: Server) -> None:
    """What is wrong with arguments is told to the model, by the field's name; an unknown tool is the host's error."""
    async with connected(server) as (client, _):
        for name, arguments, said in (
            ("wmserve_worlds", {"world": "nowhere"}, "world_not_found, field world"),
            ("wmserve_rollout", {"world": "two_room", "images": [EXAMPLE_IMAGE], "actions": [[1, 0]]}, "field actions"),
            ("wmserve_plan", {"world": "two_room", "images": 1}, "field images"),
            ("wmserve_plan", {"speed": 1}, "field world"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert isinstance(result.content[0], types.TextContent)
            assert said in result.content[0].text
        with pytest.raises(MCPError, match="no such tool"):
            await client.call_tool("wmserve_dance", {})


async def test_contracts_are_resources(server: Server) -> None:
    """Each world's contract can be read, short of the tables of its calibration."""
    async with connected(server) as (client, _):
        (resource,) = (await client.list_resources()).resources
        (template,) = (await client.list_resource_templates()).resource_templates
        assert resource.uri == template.uri_template.format(world="two_room")
        (content,) = (await client.read_resource(resource.uri)).contents
        assert isinstance(content, types.TextResourceContents)
        assert len(content.text) < 6000
        contract = json.loads(content.text)
        assert contract.pop("calibration")["tolerance"] > 0
        assert World.model_validate(contract).name == "two_room"
        for other in ("wmserve://worlds/nowhere", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="no such resource"):
                await client.read_resource(other)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example:80"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_origin_and_host_are_checked(server: Server, headers: dict[str, str], status: int) -> None:
    """Pages of other origins, and names that are not this machine's, get no answer from /mcp."""
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    accept = {"accept": "application/json, text/event-stream"}
    answer = httpx.post(f"{server.http}/mcp", json=hello, headers=accept | headers, timeout=10)
    assert answer.status_code == status, answer.text


async def test_an_open_session_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    """A host that listens is told goodbye: the server stops cleanly, and at once."""
    with running(tmp_path / "log", triton_threads="1") as own:
        own.wait_ready()
        async with connected(own, mode="legacy") as (client, _):
            await client.list_tools()
            own.process.terminate()
            assert await asyncio.to_thread(own.process.wait, 20) == 0
    assert "Traceback" not in own.log.read_text()


def test_bodies_are_bounded(server: Server) -> None:
    """A body that would keep others waiting is refused before it is parsed."""
    body = b"[" + b"0," * (3 << 20) + b"0]"
    answer = httpx.post(f"{server.http}/mcp", content=body, headers={"content-type": "application/json"}, timeout=10)
    assert answer.status_code == 413


def test_bridge_says_that_there_is_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    """`wmserve mcp` without a server ends at once and says what to start."""
    assert mcp_bridge.main(["--url", "http://127.0.0.1:9"]) == 1
    assert "start one with wmserve serve" in capsys.readouterr().err
