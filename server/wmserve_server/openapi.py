"""The OpenAPI 3.1 document: routes from FastAPI, bodies from the core's messages, errors from the error tree."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from wmserve.world import World

from wmserve_server import messages as m
from wmserve_server.errors import CALLER_ERRORS
from wmserve_server.problems import PROBLEM

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
        "reason": {"type": "string", "description": "Stable, for programs."},
        "field": {"type": "string", "description": "The field that is wrong, where there is one."},
    },
    "required": ["type", "title", "status"],
}


def describe(app: FastAPI) -> None:
    """Make the application serve this document."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(build(app))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


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
    return {**definitions["$defs"], "Problem": PROBLEM_SCHEMA}


def operations(path: str) -> dict[str, Any]:
    """The operations of one path."""
    name = path.rsplit("/", 1)[-1].strip("{}")
    if name in MESSAGES:
        return {"post": verb_operation(name)}
    answer: dict[str, Any] = ref("World")
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
    body = {"required": True, "content": {"application/json": {"schema": ref(request.__name__)}, **PROTOBUF_CONTENT}}
    return operation(verb, ref(answer.__name__)) | {"requestBody": body, "parameters": [arrays]}


PROTOBUF_CONTENT = {
    "application/x-protobuf": {
        "schema": {"type": "string", "contentMediaType": "application/x-protobuf", "description": "The gRPC message."}
    }
}


def operation(name: str, answer: dict[str, Any]) -> dict[str, Any]:
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
    return {"operationId": f"wmserve_{name}", "summary": SUMMARIES[name], "responses": responses}


def ref(model: str) -> dict[str, Any]:
    """A reference to a schema."""
    return {"$ref": REF.format(model=model)}
