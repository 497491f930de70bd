"""The definitions: within the vendors' rules, described to the last property, and the same wherever they are shown."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate
from wmserve_server.errors import CALLER_ERRORS
from wmserve_server.openapi import tools_document
from wmserve_server.tools import TOOLS
from wmserve_server.tools.definitions import definitions
from wmserve_server.tools.schemas import plain, strict

from tests.tools import vendor_rules

BOUNDS = ("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems")


def test_definitions_keep_the_rules_of_strict_modes() -> None:
    """Both vendors' APIs would take the strict definitions."""
    assert vendor_rules.openai(definitions("openai", strictly=True)) == []
    assert vendor_rules.anthropic(definitions("anthropic", strictly=True)) == []


def broken(at: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set what stands at a path."""

    def change(tool: dict[str, Any]) -> None:
        *path, last = at.split("/")
        for part in path:
            tool = tool[part]
        tool[last] = value

    return change


DEEP: dict[str, Any] = {"type": "string"}
for _ in range(11):
    DEEP = {"type": "object", "properties": {"a": DEEP}, "required": ["a"], "additionalProperties": False}
UNIONS = {f"u{number}": {"type": ["string", "null"]} for number in range(17)}
PLAIN = {"type": "string"}


@pytest.mark.parametrize(
    ("rule", "at", "value"),
    [
        ("bad name", "name", "wmserve rollout"),
        ("bad name", "name", "w" * 65),
        ("not a strict function", "strict", False),
        ("the root must be an object", "parameters/type", "array"),
        ("additionalProperties must be false", "parameters/additionalProperties", True),
        ("additionalProperties must be false", "parameters/properties/goal_readouts/items/additionalProperties", {}),
        ("all properties must be required", "parameters/required", ["world"]),
        ("required names what is no property", "parameters/required", ["other"]),
        ("minLength is not supported", "parameters/properties/world/minLength", 1),
        ("default is not supported", "parameters/properties/images/default", []),
        ("oneOf is not supported", "parameters/properties/world/oneOf", []),
        ("unknown format", "parameters/properties/world/format", "byte"),
        ("unknown type", "parameters/properties/world/type", "bytes"),
        ("too deep", "parameters/properties/world", DEEP),
        ("too many values of enums", "parameters/properties/world/enum", list(range(1001))),
        ("too many properties", "parameters/properties", {str(number): PLAIN for number in range(5001)}),
        ("names and values are too long", "parameters/properties/world/enum", ["w" * 120_001]),
    ],
)
def test_the_checker_sees_what_openai_refuses(rule: str, at: str, value: Any) -> None:
    """Each rule, broken once."""
    tools = copy.deepcopy(definitions("openai", strictly=True))
    broken(at, value)(tools[3])
    assert rule in vendor_rules.openai(tools)


@pytest.mark.parametrize(
    ("rule", "at", "value"),
    [
        ("bad name", "name", "wmserve.rollout"),
        ("not strict", "strict", False),
        ("the root must be an object", "input_schema/type", "array"),
        ("additionalProperties must be false", "input_schema/additionalProperties", True),
        ("minimum is not supported", "input_schema/properties/seed/minimum", 0),
        ("maxLength is not supported", "input_schema/properties/world/maxLength", 64),
        ("maxItems is not supported", "input_schema/properties/images/maxItems", 64),
        ("minItems must be 0 or 1", "input_schema/properties/images/minItems", 2),
        ("unknown format", "input_schema/properties/world/format", "byte"),
        ("enums hold no objects", "input_schema/properties/world/enum", [{}]),
        ("too many optional properties", "input_schema/properties", {str(number): PLAIN for number in range(25)}),
        ("too many unions", "input_schema/properties", UNIONS),
    ],
)
def test_the_checker_sees_what_anthropic_refuses(rule: str, at: str, value: Any) -> None:
    """Each rule, broken once."""
    tools = copy.deepcopy(definitions("anthropic", strictly=True))
    broken(at, value)(tools[3])
    assert rule in vendor_rules.anthropic(tools)
    assert "too many strict tools" in vendor_rules.anthropic(tools * 5)


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    """All properties that a model may fill in."""
    for tool in TOOLS.values():
        for schema, _ in vendor_rules.schemas(plain(tool.arguments)):
            yield from schema.get("properties", {}).items()


def test_every_property_is_described_with_its_bounds() -> None:
    """Each has words; each bound that the schema knows stands in them too, since strict schemas know none."""
    for name, schema in properties():
        words = schema["description"]
        assert len(words) > 20, name
        numbers = {schema[bound] for bound in BOUNDS if bound in schema} - {0, 1}
        for number in numbers:
            assert re.search(rf"\b{number}\b", words), (name, number, words)


def test_names_and_summaries() -> None:
    """Names are short, summaries are one line that says when to use the tool."""
    for tool in TOOLS.values():
        assert re.fullmatch(r"wmserve_[a-z]{1,56}", tool.name)
        assert tool.summary.startswith("Use ")
        assert "\n" not in tool.summary
        assert len(tool.summary) <= 120, tool.summary


@pytest.mark.parametrize("strictly", [False, True])
def test_openapi_of_the_tools(strictly: bool) -> None:
    """The document is valid, closed throughout, has every error, and holds the same schemas as the definitions."""
    document = tools_document(strictly)
    validate(document)
    assert len(document["paths"]) == len(TOOLS)
    for operation in (path["post"] for path in document["paths"].values()):
        tool, content = TOOLS[operation["operationId"]], operation["requestBody"]["content"]["application/json"]
        schema = plain(tool.arguments)
        assert content["schema"] == (strict(schema) if strictly else schema)
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        for one in (content["schema"], answer):
            assert not [problem for part, _ in vendor_rules.schemas(one) for problem in vendor_rules.closed(part)]
        for error in CALLER_ERRORS:
            assert f"`{error.reason}`" in operation["responses"][str(error.http_status)]["description"]


def test_command_prints_them() -> None:
    """`wmserve tools` prints the definitions as JSON, without a server."""
    command = [sys.executable, "-m", "wmserve_client.cli", "tools", "--format", "openai", "--strict"]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout)
    assert printed == definitions("openai", strictly=True)
