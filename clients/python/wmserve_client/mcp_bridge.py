"""``wmserve mcp``: a running server's tools over stdio, for hosts that start their tools as processes.

    host -- stdin, stdout --> this --> streamable HTTP --> /mcp of a server

Every message is passed on as it is, so whatever the server and the host can do, they can do through it. Of a message it
reads only what HTTP wants in headers.
"""

import argparse
import sys
import urllib.error
import urllib.request
from typing import Any

import anyio
from mcp.client.streamable_http import streamable_http_client
from mcp.server.stdio import stdio_server
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
)
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import JSONRPCRequest, JSONRPCResponse

DEFAULT_URL = "http://127.0.0.1:8080"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


def main(argv: list[str] | None = None) -> int:
    """Pass messages on until the host closes standard input; 1 where no server answers."""
    parser = argparse.ArgumentParser(
        prog="wmserve mcp", description="Offer a running server's tools to a host that speaks MCP over stdio."
    )
    parser.add_argument("--url", default=DEFAULT_URL, help=f"the server, as started by wmserve serve ({DEFAULT_URL})")
    url = parser.parse_args(argv).url.rstrip("/")
    try:
        with urllib.request.urlopen(f"{url}/livez", timeout=5):
            pass
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        print(f"wmserve: no server at {url} ({reason}); start one with wmserve serve", file=sys.stderr)
        return 1
    anyio.run(bridge, f"{url}/mcp")
    return 0


async def bridge(url: str) -> None:
    """Pass messages both ways until one side ends."""
    async with (
        streamable_http_client(url) as (from_server, to_server),
        stdio_server() as (from_host, to_host),
        to_server,
        to_host,  # both are closed before their transports, which wait for that
        anyio.create_task_group() as both,
    ):
        headers = Headers()

        async def requests() -> None:
            async for message in from_host:
                if isinstance(message, SessionMessage):
                    await to_server.send(headers.stamped(message))
            both.cancel_scope.cancel()

        async def answers() -> None:
            async for message in from_server:
                if isinstance(message, SessionMessage):
                    headers.learn(message)
                    await to_host.send(message)
            both.cancel_scope.cancel()

        both.start_soon(requests)
        both.start_soon(answers)


class Headers:
    """What HTTP wants to know of a message without reading it: the protocol's version, the method, what it names."""

    def __init__(self) -> None:
        self._version: str | None = None
        """That of a session, once the server has said it; in later protocols each message says it."""

    def learn(self, message: SessionMessage) -> None:
        """Take the version from the server's answer to `initialize`."""
        answer = message.message
        if isinstance(answer, JSONRPCResponse) and "serverInfo" in answer.result:
            self._version = answer.result.get("protocolVersion", self._version)

    def stamped(self, message: SessionMessage) -> SessionMessage:
        """The message with its headers."""
        request = message.message
        params: dict[str, Any] = getattr(request, "params", None) or {}
        own = (params.get("_meta") or {}).get(VERSION_KEY)
        found = {MCP_PROTOCOL_VERSION_HEADER: own or self._version}
        if own is not None and isinstance(request, JSONRPCRequest):
            named = params.get(NAME_BEARING_METHODS.get(request.method, ""))
            found[MCP_METHOD_HEADER] = request.method
            found[MCP_NAME_HEADER] = None if named is None else encode_header_value(named)
        given = {name: value for name, value in found.items() if value is not None}
        return SessionMessage(message.message, ClientMessageMetadata(headers=given))


if __name__ == "__main__":
    sys.exit(main())
