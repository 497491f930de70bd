"""The Open Inference Protocol over HTTP, with its binary extension: what stock clients of Triton and KServe speak.

    GET  /v2, /v2/health/live, /v2/health/ready, /v2/models/{model}, …/ready      (each with …/versions/{version})
    POST /v2/models/{model}/infer     JSON, then the bytes of those tensors that say how many they are

Errors are the protocol's: ``{"error": "…"}`` with the status that the error has elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from starlette.types import Receive, Scope, Send

from wmserve_server import oip
from wmserve_server.asgi import MAX_JSON_NUMBERS, Answer, carried, read_body, read_json, unless_disconnected
from wmserve_server.errors import InvalidArgument, ModelNotFound, UnsupportedMedia, WmserveError
from wmserve_server.metrics import Metrics
from wmserve_server.problems import internal
from wmserve_server.world_model import WorldModel

PREFIX, JSON, BINARY, TRANSPORT = "/v2", "application/json", "application/octet-stream", "oip_http"
HEADER_LENGTH = b"inference-header-content-length"
"""Bytes of the JSON part; the rest are tensors."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Those that matter here."""

    content_length: int = 0
    json_length: int | None = None
    encoding: str = ""


class OipEdge:
    """The paths under ``/v2``, as ASGI."""

    def __init__(self, core: WorldModel, metrics: Metrics, max_body_bytes: int) -> None:
        self._core, self._metrics, self._max_body_bytes = core, metrics, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(scope, receive)
        except WmserveError as error:
            answer = failure(error)
        except Exception as error:
            answer = failure(internal(error))
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        words, method = scope["path"].removeprefix(PREFIX).strip("/").split("/"), scope["method"]
        if words[0] == "models" and words[-1] == "infer" and method == "POST":
            return await self._infer(find(self._core, words[1:-1]), scope, receive)
        if method != "GET":
            raise ModelNotFound("no such path for this method")
        if words == [""]:
            return Answer(json.dumps(server()).encode(), JSON)
        if words in (["health", "live"], ["health", "ready"]):
            ready = words[1] == "live" or self._core.unready_reason() is None
            return Answer(b"", JSON, 200 if ready else 503)
        if words[0] == "models" and words[-1] == "ready":
            find(self._core, words[1:-1])
            return Answer(b"", JSON, 200 if self._core.unready_reason() is None else 503)
        if words[0] == "models":
            return Answer(json.dumps(find(self._core, words[1:]).metadata()).encode(), JSON)
        raise ModelNotFound("no such path")

    async def _infer(self, model: oip.Model, scope: Scope, receive: Receive) -> Answer:
        with self._metrics.request(TRANSPORT, model.verb, carried(scope)) as call:
            call.set_world(model.world.name, self._core.worlds())
            headers = head(scope)
            body = await read_body(receive, headers.content_length, self._max_body_bytes)
            call.request_bytes = len(body)
            asked, binary = parsed(body, headers)
            outputs = requested(asked)
            wanted = model.wanted(outputs)
            request = model.request(inputs(asked, binary), parameters(asked), wanted)
            answer = await unless_disconnected(receive, getattr(self._core, model.verb)(request))
            rendered = render(model, asked, outputs, oip.answered(answer, wanted))
            call.response_bytes = len(rendered.body)
            return rendered


def find(core: WorldModel, words: list[str]) -> oip.Model:
    """The model that a path names, ``{model}`` or ``{model}/versions/{version}``."""
    if len(words) == 3 and words[1] == "versions":
        return oip.find(core.worlds(), words[0], words[2])
    return oip.find(core.worlds(), "/".join(words))


def server() -> dict[str, Any]:
    """What the protocol tells of a server."""
    return {"name": oip.PLATFORM, "version": version("wmserve"), "extensions": list(oip.EXTENSIONS)}


def failure(error: WmserveError) -> Answer:
    """An error as the protocol has it."""
    said = f"{error.field}: {error.message}" if error.field else error.message
    retry = {} if error.retry_after_s is None else {"retry-after": f"{max(1, round(error.retry_after_s))}"}
    return Answer(json.dumps({"error": said}).encode(), JSON, error.http_status, retry)


def head(scope: Scope) -> Headers:
    """Read what matters of the headers."""
    known = {name: value for name, value in scope["headers"] if name in KNOWN}
    if known.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMedia("a compressed body is not taken")
    length = known.get(HEADER_LENGTH)
    if length is not None and not (length.isdigit() and len(length) <= MAX_DIGITS):
        raise InvalidArgument("must be a number of bytes", field="Inference-Header-Content-Length")
    return Headers(int(known.get(b"content-length", 0)), None if length is None else int(length))


MAX_DIGITS = 12
KNOWN = frozenset({b"content-length", b"content-encoding", HEADER_LENGTH})


def parsed(body: bytes, headers: Headers) -> tuple[dict[str, Any], memoryview]:
    """The JSON part of a body, and the bytes behind it."""
    length = len(body) if headers.json_length is None else headers.json_length
    if length > len(body):
        raise InvalidArgument("is more than the body has", field="Inference-Header-Content-Length")
    too_many = f"JSON holds at most {MAX_JSON_NUMBERS} numbers; send larger tensors as binary data"
    asked = read_json(body[:length], too_many)
    if not isinstance(asked, dict) or not isinstance(asked.get("inputs"), list):
        raise InvalidArgument("must be a list of tensors", field="inputs")
    return asked, memoryview(body)[length:]


def parameters(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters of a request or of one of its tensors."""
    given = part.get("parameters", {})
    if not isinstance(given, dict):
        raise InvalidArgument("must be an object", field="parameters")
    return given


def inputs(asked: Mapping[str, Any], binary: memoryview) -> dict[str, oip.Values]:
    """Tensors by name; those of the binary part lie there one after the other."""
    found: dict[str, oip.Values] = {}
    if len(asked["inputs"]) > oip.MAX_INPUTS:
        raise InvalidArgument(f"at most {oip.MAX_INPUTS} are taken", field="inputs")
    for tensor in asked["inputs"]:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise InvalidArgument("each must be an object with a name", field="inputs")
        name, kind, sizes = tensor["name"][:64], tensor.get("datatype"), tensor.get("shape")
        if not isinstance(kind, str) or not isinstance(sizes, list):
            raise InvalidArgument("needs a datatype and a shape", field=name)
        count = parameters(tensor).get("binary_data_size")
        if count is None:
            found[name] = oip.of_numbers(name, kind, sizes, tensor.get("data"))
            continue
        if type(count) is not int or not 0 <= count <= len(binary):
            raise InvalidArgument("binary_data_size is more than the body has", field=name)
        found[name], binary = oip.of_bytes(name, kind, sizes, binary[:count]), binary[count:]
    return found


def requested(asked: Mapping[str, Any]) -> dict[str, bool | None]:
    """Names of the outputs asked for, and whether each is wanted as binary data."""
    outputs = asked.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(one, dict) and "name" in one for one in outputs):
        raise InvalidArgument("must be a list of objects with a name", field="outputs")
    return {str(one["name"]): parameters(one).get("binary_data") for one in outputs}


def render(
    model: oip.Model, asked: Mapping[str, Any], wished: Mapping[str, bool | None], found: Mapping[str, oip.Values]
) -> Answer:
    """The answer, with the bytes of tensors behind it where they are wanted so."""
    usual = parameters(asked).get("binary_data_output") is True
    outputs, behind = [], []
    for name, values in found.items():
        tensor: dict[str, Any] = {"name": name, "datatype": oip.datatype(values), "shape": list(oip.shape(values))}
        wish = wished.get(name)
        if usual if wish is None else wish:
            behind.append(oip.packed(values))
            tensor["parameters"] = {"binary_data_size": len(behind[-1])}
        elif isinstance(values, list):
            tensor["data"] = [element.decode() for element in values]
        else:
            tensor["data"] = values.ravel().tolist()
        outputs.append(tensor)
    said: dict[str, Any] = {"model_name": model.name, "model_version": oip.VERSION, "outputs": outputs}
    if isinstance(asked.get("id"), str):
        said["id"] = asked["id"]
    text = json.dumps(said).encode()
    if not behind:
        return Answer(text, JSON)
    return Answer(b"".join([text, *behind]), BINARY, 200, {HEADER_LENGTH.decode(): str(len(text))})
