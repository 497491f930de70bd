"""The OpenAPI 3.1 documents: bodies from the core's messages and the tools, errors from the error tree.

/openapi.json, /openapi.strict.json    the tools, for models that call them: flat, small, closed
/v1/openapi.json, /docs                the verbs, for programs; routes from FastAPI
"""

from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic.json_schema import models_json_schema
from wmserve.world import World

from wmserve_server import messages as m
from wmserve_server.answers import MAX_KEY, VERBS
from wmserve_server.errors import CALLER_ERRORS, WmserveError
from wmserve_server.problems import PROBLEM
from wmserve_server.tools import TOOLS, Tool
from wmserve_server.tools.schemas import plain, strict

REF = "#/components/schemas/{model}"
SUMMARIES = {
    "encode": "Encode observations into latents: what state is this?",
    "rollout": "Predict what candidate actions will do, and how much the model's members disagree.",
    "plan": "Search for the actions that bring a goal about.",
    "observe": "Tell what came of actions, and learn how much of a surprise that was.",
    "worlds": "List the worlds that are served, with their contracts.",
    "world": "Describe one world: observations, actions, readouts, limits.",
}
MESSAGES: dict[str, tuple[type[m.Message], type[m.Message]]] = {
    "encode": (m.EncodeRequest, m.EncodeResponse),
    "rollout": (m.RolloutRequest, m.RolloutResponse),
    "plan": (m.PlanRequest, m.PlanResponse),
    "observe": (m.ObserveRequest, m.ObserveResponse),
}
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "Names the bound that was broken."},
        "reason": {
            "type": "string",
            "enum": [*(error.reason for error in CALLER_ERRORS), WmserveError.reason],
            "description": "Stable, for programs.",
        },
        "field": {"type": "string", "description": "The field that is wrong, where there is one."},
    },
    "required": ["type", "title", "status"],
}


def ref(model: str) -> dict[str, Any]:
    """A reference to a schema."""
    return {"$ref": REF.format(model=model)}


VERSIONS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "description": "Versions of the world that are served.",
    "items": {
        "type": "object",
        "properties": {
            "version": {"type": "integer"},
            "part": {"type": "string", "enum": ["live", "previous", "canary", "shadow", ""]},
            "share": {"type": "number", "description": "Of sessions for a canary, of requests for a shadow."},
            "created": {"type": "string", "description": "When it was written, UTC."},
            "calibrated": {"type": "boolean"},
            "calibration_created": {"type": "string"},
            "digests": ref("Digests"),
        },
        "required": ["version", "part", "calibrated", "digests"],
    },
}
RETRIED = ("429", "503")
"""Statuses whose answers say when to come back."""


def describe(app: FastAPI) -> None:
    """Make the application serve these documents."""
    for path, strictly in (("/openapi.json", False), ("/openapi.strict.json", True)):
        app.add_api_route(path, partial(tools_answer, strictly), include_in_schema=False)
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(build(app))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


async def tools_answer(strictly: bool) -> JSONResponse:
    """The tools' document, served."""
    return JSONResponse(tools_document(strictly))


def build(app: FastAPI) -> dict[str, Any]:
    """Put the document together."""
    document = get_openapi(
        title="wmserve",
        version="1",
        openapi_version="3.1.0",
        summary="Prediction with world models: encode, rollout, plan.",
        routes=app.routes,
    )
    document["components"] = {"schemas": schemas()}
    paths = [*(f"/v1/{verb}" for verb in MESSAGES), *document["paths"]]
    document["paths"] = {path: operations(path) for path in paths}
    return document


def schemas() -> dict[str, Any]:
    """Schemas of all messages, of a world and of a problem."""
    models: list[Any] = [(World, "serialization")]
    for request, answer in MESSAGES.values():
        models += [(request, "validation"), (answer, "serialization")]
    _, definitions = models_json_schema(models, ref_template=REF)
    known = definitions["$defs"]
    world = known["World"]
    listed = {
        "title": "WorldInVersions",
        "properties": {**world["properties"], "versions": VERSIONS_SCHEMA},
        "required": [*world.get("required", ()), "versions"],
    }
    return {**known, "WorldInVersions": world | listed, "Problem": PROBLEM_SCHEMA}


def operations(path: str) -> dict[str, Any]:
    """The operations of one path."""
    name = path.rsplit("/", 1)[-1].strip("{}")
    if name in MESSAGES:
        return {"post": verb_operation(name)}
    answer: dict[str, Any] = ref("WorldInVersions")
    parameters: list[dict[str, Any]] = []
    if name == "worlds":
        worlds = {"type": "array", "items": ref("World")}
        answer = {"type": "object", "properties": {"worlds": worlds}, "required": ["worlds"]}
    else:
        parameters = [{"name": "world", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {"get": operation(name, answer) | {"parameters": parameters}}


def verb_operation(verb: str) -> dict[str, Any]:
    """The operation of a verb: its body, its answer and how arrays are written in it."""
    request, answer = MESSAGES[verb]
    arrays = {
        "name": "arrays",
        "in": "query",
        "description": "How arrays are written in the answer.",
        "schema": {"type": "string", "enum": ["list", "base64"], "default": "list"},
    }
    parameters = [arrays, IDEMPOTENCY_KEY] if verb in VERBS else [arrays]
    body = {"required": True, "content": {"application/json": {"schema": ref(request.__name__)}, **PROTOBUF_CONTENT}}
    return operation(verb, ref(answer.__name__)) | {"requestBody": body, "parameters": parameters}


IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Chosen by you. The same request with the same key gets the same answer, byte for byte, for ten "
    "minutes, from any replica; `Idempotency-Status` of the answer says `first`, `replayed`, or `not_kept` where the "
    "state store is out of reach.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}
PROTOBUF_CONTENT = {
    "application/x-protobuf": {
        "schema": {"type": "string", "contentMediaType": "application/x-protobuf", "description": "The gRPC message."}
    }
}


def operation(name: str, answer: dict[str, Any], summary: str = "") -> dict[str, Any]:
    """What all operations have in common."""
    responses: dict[str, Any] = {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}}
    }
    for error in CALLER_ERRORS:
        said = f"{error.title} (`{error.reason}`)."
        status = str(error.http_status)
        if status in responses:
            responses[status]["description"] += f" {said}"
        else:
            responses[status] = {"description": said, "content": {PROBLEM: {"schema": ref("Problem")}}}
    for status in RETRIED:
        responses[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return {"operationId": f"wmserve_{name}", "summary": summary or SUMMARIES[name], "responses": responses}


def tools_document(strictly: bool) -> dict[str, Any]:
    """The document of the tools; strictly, every property is required, and null or [] where it may be left out."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wmserve tools",
            "version": "1",
            "description": "World models for models that call tools. No answer exceeds 2000 tokens."
            + (" Strict: every property is required; null or [] stands for nothing." if strictly else ""),
        },
        "servers": [{"url": "/"}],
        "paths": {f"/v1/tools/{tool.verb}": {"post": tool_operation(tool, strictly)} for tool in TOOLS.values()},
        "components": {"schemas": {"Problem": PROBLEM_SCHEMA | {"additionalProperties": False}}},
    }


def tool_operation(tool: Tool, strictly: bool) -> dict[str, Any]:
    """One tool as an operation."""
    schema, example = plain(tool.arguments), dict(tool.example)
    if strictly:
        schema = strict(schema)
        empty: dict[str, Any] = {
            name: [] if one["type"] == "array" else None for name, one in schema["properties"].items()
        }
        example = empty | example
    content = {"application/json": {"schema": schema, "example": example}}
    found = operation(tool.verb, plain(tool.answer, "serialization"), tool.summary)
    return found | {"description": tool.description, "requestBody": {"required": True, "content": content}}
