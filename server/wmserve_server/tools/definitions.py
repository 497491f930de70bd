"""Tool definitions as the APIs of OpenAI and Anthropic take them."""

from typing import Any, Literal

from wmserve_server.tools import TOOLS, Tool
from wmserve_server.tools.schemas import plain, strict

Vendor = Literal["openai", "anthropic"]


def definitions(vendor: Vendor, strictly: bool = False) -> list[dict[str, Any]]:
    """What goes into `tools` of a request: OpenAI's Responses API, or Anthropic's Messages API."""
    return [definition(tool, vendor, strictly) for tool in TOOLS.values()]


def definition(tool: Tool, vendor: Vendor, strictly: bool) -> dict[str, Any]:
    """One tool."""
    schema = plain(tool.arguments)
    schema.pop("description", None)
    schema = strict(schema) if strictly else schema
    named = {"name": tool.name, "description": f"{tool.summary} {tool.description}"}
    if vendor == "openai":
        return {"type": "function", **named, "parameters": schema, "strict": strictly}
    return {**named, "input_schema": schema} | ({"strict": True} if strictly else {})
