"""JSON Schemas of tools: the plain one says all; the strict one is what vendors can hold a model to word by word.

Strict schemas follow the rules of both OpenAI's and Anthropic's strict modes: every object is closed and requires all
its properties, what may be left out is null (or [], where it is a list), and bounds stand in the descriptions alone.
"""

from typing import Any

from pydantic import BaseModel, TypeAdapter

Schema = dict[str, Any]
KEPT = ("type", "description", "enum", "properties", "required", "items", "additionalProperties")
"""What of a schema is kept in a strict one."""
UNSAID = ("$defs", "title", "anyOf")
"""What of a schema says nothing to a model."""


def plain(model: type[BaseModel], mode: Any = "validation") -> Schema:
    """The schema of a model: without references and titles, and with types in lists where null is one."""
    schema = TypeAdapter(model).json_schema(mode=mode)
    tidied: Schema = tidy(schema, schema.get("$defs", {}))
    return tidied


def tidy(schema: Any, definitions: Schema) -> Any:
    """Put what is referred to in its place, and null into the type."""
    if isinstance(schema, list):
        return [tidy(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        more = {key: value for key, value in schema.items() if key != "$ref"}
        return tidy(definitions[schema["$ref"].rsplit("/", 1)[-1]] | more, definitions)
    if "anyOf" in schema:
        schema = nullable(schema)
    said = {
        key: value for key, value in schema.items() if key not in UNSAID and not (key == "default" and value is None)
    }
    if "properties" in said:  # their names are no keywords
        said["properties"] = {name: tidy(one, definitions) for name, one in said["properties"].items()}
    return {key: value if key == "properties" else tidy(value, definitions) for key, value in said.items()}


def nullable(schema: Schema) -> Schema:
    """One of a type and null, as one schema; the only union that tools have."""
    kind, null = schema["anyOf"]
    assert null == {"type": "null"}, "tools know no other union"
    one = kind | {key: value for key, value in schema.items() if key != "anyOf"} | {"type": [kind["type"], "null"]}
    return one | {"enum": [*kind["enum"], None]} if "enum" in kind else one


def strict(schema: Schema) -> Schema:
    """The strict variant of a plain schema."""
    kept = {key: value for key, value in schema.items() if key in KEPT}
    if "items" in kept:
        kept["items"] = strict(kept["items"])
    if "properties" in kept:
        kept["properties"] = {name: strict(one) for name, one in kept["properties"].items()}
        kept["required"] = list(kept["properties"])
    return kept
