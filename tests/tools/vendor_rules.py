"""The published rules of strict tools, as of November 2026, as a checker: what it finds is what a vendor would refuse.

OpenAI: Structured Outputs, supported schemas. Anthropic: Structured outputs, JSON Schema limitations, and Define tools.
Where one vendor's documents leave a keyword open, it counts as refused.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
OPENAI_KEYWORDS = {
    *("type", "description", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "items"),
    *("$ref", "$defs", "pattern", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum"),
    *("exclusiveMinimum", "minItems", "maxItems"),
}
OPENAI_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
ANTHROPIC_KEYWORDS = {
    *("type", "description", "enum", "const", "anyOf", "allOf", "properties", "required", "additionalProperties"),
    *("items", "$ref", "$defs", "default", "minItems", "format"),
}
ANTHROPIC_FORMATS = OPENAI_FORMATS | {"uri"}
MAX_PROPERTIES, MAX_DEPTH, MAX_ENUM_VALUES, MAX_LETTERS = 5000, 10, 1000, 120_000
MAX_STRICT_TOOLS, MAX_OPTIONAL, MAX_UNIONS = 20, 24, 16


def schemas(schema: Schema, depth: int = 0) -> Iterator[tuple[Schema, int]]:
    """A schema and all in it, each with the number of objects around it."""
    yield schema, depth
    inside = depth + ("properties" in schema)
    for one in (*schema.get("properties", {}).values(), *schema.get("anyOf", [])):
        yield from schemas(one, inside)
    if isinstance(schema.get("items"), dict):
        yield from schemas(schema["items"], inside)


def types(schema: Schema) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else list(found)


def closed(schema: Schema) -> Iterator[str]:
    """What both vendors want of objects."""
    if "object" in types(schema) and schema.get("additionalProperties") is not False:
        yield "additionalProperties must be false"
    if set(schema.get("required", [])) - set(schema.get("properties", {})):
        yield "required names what is no property"
    if set(types(schema)) - TYPES:
        yield "unknown type"


def openai(tools: list[dict[str, Any]]) -> list[str]:
    """What OpenAI would refuse in strict function tools."""
    found: list[str] = []
    for tool in tools:
        found += [] if tool["type"] == "function" and tool["strict"] is True else ["not a strict function"]
        found += [] if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]) else ["bad name"]
        root = tool["parameters"]
        found += [] if root.get("type") == "object" and "anyOf" not in root else ["the root must be an object"]
        every = list(schemas(root))
        for schema, depth in every:
            found += closed(schema)
            found += [f"{keyword} is not supported" for keyword in set(schema) - OPENAI_KEYWORDS]
            found += ["unknown format"] if schema.get("format", "date") not in OPENAI_FORMATS else []
            found += ["too deep"] if depth > MAX_DEPTH else []
            if set(schema.get("properties", {})) != set(schema.get("required", [])):
                found.append("all properties must be required")
        names = [name for schema, _ in every for name in schema.get("properties", {})]
        values = [value for schema, _ in every for value in schema.get("enum", [])]
        found += ["too many properties"] if len(names) > MAX_PROPERTIES else []
        found += ["too many values of enums"] if len(values) > MAX_ENUM_VALUES else []
        found += ["names and values are too long"] if sum(map(len, map(str, names + values))) > MAX_LETTERS else []
    return found


def anthropic(tools: list[dict[str, Any]]) -> list[str]:
    """What Anthropic would refuse in strict tools of one request."""
    found = ["too many strict tools"] if len(tools) > MAX_STRICT_TOOLS else []
    optional = unions = 0
    for tool in tools:
        found += [] if tool["strict"] is True else ["not strict"]
        found += [] if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]) else ["bad name"]
        root = tool["input_schema"]
        found += [] if root.get("type") == "object" else ["the root must be an object"]
        for schema, _ in schemas(root):
            found += closed(schema)
            found += [f"{keyword} is not supported" for keyword in set(schema) - ANTHROPIC_KEYWORDS]
            found += ["unknown format"] if schema.get("format", "date") not in ANTHROPIC_FORMATS else []
            found += ["minItems must be 0 or 1"] if schema.get("minItems", 0) > 1 else []
            found += ["enums hold no objects"] if "{" in json.dumps(schema.get("enum", [])) else []
            optional += len(set(schema.get("properties", {})) - set(schema.get("required", [])))
            unions += len(types(schema)) > 1 or "anyOf" in schema
    found += ["too many optional properties"] if optional > MAX_OPTIONAL else []
    return found + (["too many unions"] if unions > MAX_UNIONS else [])
