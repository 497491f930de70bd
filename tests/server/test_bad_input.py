"""Bad input on both wires: a clear error that names the field, never a 5xx, and the next good request works."""

import base64
import contextlib
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image
from wmserve.arrays import to_tensor
from wmserve.v1 import world_model_pb2 as pb
from wmserve.v1 import world_model_pb2_grpc as pb_grpc

from tests.conftest import Server

WORLD = "two_room"
FRAME = np.full((64, 64, 3), 255, np.uint8)
Json = dict[str, Any]


def encoded(array: np.ndarray[Any, Any], **overrides: Any) -> Json:
    """An array as JSON, with parts of it replaced."""
    data = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data} | overrides


def png(image: Image.Image) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of some kilobytes whose header says `side` x `side` pixels, and whose pixels would be all there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def encode_body(**overrides: Any) -> Json:
    return {"world": WORLD, "observations": encoded(FRAME)} | overrides


def rollout_body(**overrides: Any) -> Json:
    context = {"observations": encoded(FRAME)}
    return {"world": WORLD, "context": context, "actions": np.zeros((2, 10, 2)).tolist()} | overrides


def plan_body(planner: Json | None = None, **overrides: Any) -> Json:
    small = {"candidate_count": 16, "iterations": 2, "elite_count": 4, "horizon": 2, "seed": 1}
    seen = {"observations": encoded(FRAME)}
    goal = {"readouts": {"agent_x": 100.0}}
    return {"world": WORLD, "context": seen, "goal": goal, "planner": small | (planner or {})} | overrides


NAN_ACTIONS = np.full((1, 10, 2), np.nan, np.float32)
OVER = np.full((1, 10, 2), 5.0, np.float32)

BAD_JSON: dict[str, tuple[str, Json, int, str, str | None]] = {
    # name: verb, body, status, reason, field
    "frames float": ("encode", encode_body(observations=encoded(FRAME.astype("f4"))), 400, "invalid_argument", "observations"),
    "frames grey": ("encode", encode_body(observations=encoded(FRAME[..., :1])), 400, "invalid_argument", "observations"),
    "frames empty": ("encode", encode_body(observations=encoded(FRAME[:0])), 400, "invalid_argument", "observations"),
    "frames too many": ("encode", encode_body(observations=encoded(np.stack([FRAME] * 9))), 400, "invalid_argument", "observations"),
    "frames over 255": ("encode", encode_body(observations=[[[256, 0, 0]]]), 400, "invalid_argument", "observations"),
    "frames null": ("encode", encode_body(observations=None), 400, "invalid_argument", "observations"),
    "frames too wide": ("encode", encode_body(observations=encoded(np.zeros((1, 5000, 3), np.uint8))), 413, "too_large", "observations"),
    "shape without bytes": ("encode", encode_body(observations=encoded(FRAME, shape=[64, 65, 3])), 400, "invalid_argument", "observations.array"),
    "shape negative": ("encode", encode_body(observations=encoded(FRAME, shape=[-64, -64, 3])), 400, "invalid_argument", "observations.array"),
    "shape overflows": ("encode", encode_body(observations=encoded(FRAME, shape=[2**62, 2**62, 3])), 400, "invalid_argument", "observations.array"),
    "shape of booleans": ("encode", encode_body(observations=encoded(FRAME, shape=[True])), 400, "invalid_argument", "observations.array"),
    "dtype unknown": ("encode", encode_body(observations=encoded(FRAME, dtype="object")), 400, "invalid_argument", "observations.array"),
    "base64 broken": ("encode", encode_body(observations="@@@@"), 400, "invalid_argument", "observations.images.0"),
    "image no image": ("encode", encode_body(observations=base64_text(b"GIF89a" * 20)), 400, "invalid_argument", "observations.images[0]"),
    "image truncated": ("encode", encode_body(observations=base64_text(png(Image.effect_noise((64, 64), 9).convert("RGB"))[:-900])), 400, "invalid_argument", "observations.images[0]"),
    "image bomb": ("encode", encode_body(observations=base64_text(bomb(12_000))), 413, "too_large", "observations.images[0]"),
    "image larger bomb": ("encode", encode_body(observations=base64_text(bomb(60_000))), 413, "too_large", "observations.images[0]"),
    "unknown field": ("encode", encode_body(pixels=1), 400, "invalid_argument", "pixels"),
    "world missing": ("encode", {"observations": encoded(FRAME)}, 400, "invalid_argument", "world"),
    "world unknown": ("encode", encode_body(world="mars"), 404, "world_not_found", "world"),
    "world a path": ("encode", encode_body(world="../../etc/passwd"), 404, "world_not_found", "world"),
    "world a label": ("encode", encode_body(world='a"} 1\n#'), 404, "world_not_found", "world"),
    "world long": ("encode", encode_body(world="w" * 10_000), 400, "invalid_argument", "world"),
    "world a number": ("encode", encode_body(world=7), 400, "invalid_argument", "world"),
    "timeout zero": ("encode", encode_body(timeout_ms=0), 400, "invalid_argument", "timeout_ms"),
    "context missing": ("rollout", rollout_body(context={}), 400, "invalid_argument", "context"),
    "context twice": ("rollout", rollout_body(context={"observations": encoded(FRAME), "latents": [0.0]}), 400, "invalid_argument", "context"),
    "latents_id unknown": ("rollout", rollout_body(context={"latents_id": "lat_" + "x" * 22}), 404, "latents_not_found", "context.latents_id"),
    "latents_id malformed": ("rollout", rollout_body(context={"latents_id": "../../x"}), 400, "invalid_argument", "context.latents_id"),
    "latents wrong width": ("rollout", rollout_body(context={"latents": [0.0, 1.0]}), 400, "invalid_argument", "context.latents"),
    "action history unneeded": ("rollout", rollout_body(context={"observations": encoded(FRAME), "action_history": [[0.0, 0.0]]}), 400, "invalid_argument", "context.action_history"),
    "actions NaN": ("rollout", rollout_body(actions=encoded(NAN_ACTIONS)), 400, "not_finite", "actions"),
    "actions infinite": ("rollout", rollout_body(actions=encoded(np.full((1, 10, 2), np.inf, np.float32))), 400, "not_finite", "actions"),
    "actions beyond float32": ("rollout", rollout_body(actions=[[[1e300, 0.0]] * 10]), 400, "not_finite", "actions"),
    "actions wide": ("rollout", rollout_body(actions=np.zeros((2, 10, 3)).tolist()), 400, "invalid_argument", "actions"),
    "actions ragged": ("rollout", rollout_body(actions=[[[0.0, 0.0], [0.0]]]), 400, "invalid_argument", "actions"),
    "actions half a block": ("rollout", rollout_body(actions=np.zeros((2, 7, 2)).tolist()), 400, "invalid_argument", "actions"),
    "actions none": ("rollout", rollout_body(actions=[]), 400, "invalid_argument", "actions"),
    "actions no candidates": ("rollout", rollout_body(actions=encoded(np.zeros((0, 10, 2), "f4"))), 400, "invalid_argument", "actions"),
    "actions out of bounds": ("rollout", rollout_body(actions=OVER.tolist()), 400, "invalid_argument", "actions"),
    "horizon over limit": ("rollout", rollout_body(actions=encoded(np.zeros((1, 5000, 2), "f4"))), 400, "invalid_argument", "actions"),
    "candidates over limit": ("rollout", rollout_body(actions=encoded(np.zeros((100_000, 5, 2), "f2"))), 413, "too_large", "actions"),
    "plan horizon": ("plan", plan_body({"horizon": 1000}), 400, "invalid_argument", "planner.horizon"),
    "plan candidates": ("plan", plan_body({"candidate_count": 900_000}), 400, "invalid_argument", "planner.candidate_count"),
    "plan budget": ("plan", plan_body({"candidate_count": 512, "iterations": 1000}), 400, "invalid_argument", "planner"),
    "too many iterations": ("plan", plan_body({"iterations": 1001}), 400, "invalid_argument", "planner.iterations"),
    "plan elites": ("plan", plan_body({"elite_count": 17}), 400, "invalid_argument", "planner.elite_count"),
    "plan hold": ("plan", plan_body({"hold_steps": 3}), 400, "invalid_argument", "planner.hold_steps"),
    "plan algorithm": ("plan", plan_body({"algorithm": "gradient"}), 400, "invalid_argument", "planner.algorithm"),
    "plan seed": ("plan", plan_body({"seed": 2**64}), 400, "invalid_argument", "planner.seed"),
    "plan std": ("plan", plan_body({"initial_std": 0}), 400, "invalid_argument", "planner.initial_std"),
    "plan warm start long": ("plan", plan_body({"warm_start": np.zeros((11, 2)).tolist()}), 400, "invalid_argument", "planner.warm_start"),
    "plan limits inverted": ("plan", plan_body(limits={"low": [0.5, 0.5], "high": [0.0, 0.0]}), 400, "invalid_argument", "limits"),
    "plan limits NaN": ("plan", plan_body(limits={"low": encoded(np.array([np.nan, 0], "f4"))}), 400, "not_finite", "limits.low"),
    "plan rate": ("plan", plan_body(limits={"max_rate": [0.0, 1.0]}), 400, "invalid_argument", "limits.max_rate"),
    "goal missing": ("plan", plan_body(goal={}), 400, "invalid_argument", "goal"),
    "goal unknown readout": ("plan", plan_body(goal={"readouts": {"altitude": 1.0}}), 400, "invalid_argument", "goal.readouts"),
    "goal out of range": ("plan", plan_body(goal={"readouts": {"agent_x": 1e6}}), 400, "invalid_argument", "goal.readouts"),
    "goal handle unknown": ("plan", plan_body(goal={"latents_id": "lat_" + "x" * 22}), 404, "latents_not_found", "goal.latents_id"),
}  # fmt: skip


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[pb_grpc.WorldModelServiceStub]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield pb_grpc.WorldModelServiceStub(channel)  # type: ignore[no-untyped-call]


def must_still_work(http: httpx.Client) -> None:
    """The next good request is answered."""
    assert http.post("/v1/encode", json=encode_body()).status_code == 200


def is_problem(answer: httpx.Response, status: int, reason: str, field: str | None) -> None:
    """The answer is a problem with these parts, and gives nothing of the server away."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["reason"], problem.get("field")) == (reason, field), problem
    assert not any(secret in answer.text for secret in ("Traceback", "/usr", "site-packages", "127.0.0.1", ".py"))


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_request(name: str, http: httpx.Client) -> None:
    """Each malformed or unbounded request is refused by name, before an engine sees it."""
    verb, body, status, reason, field = BAD_JSON[name]
    is_problem(http.post(f"/v1/{verb}", json=body), status, reason, field)
    must_still_work(http)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"world": NaN}', "JSON"),
        (b'{"world": "two_room", "observations": [[[Infinity]]]}', "JSON"),
        (b'{"world": "two_room", "observations": ', "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "object"),
        (b"", "JSON"),
        (b'{"world": "two_room", "observations": ' + b"[" * 150 + b"]" * 150 + b"}", "nested list"),
    ],
)
def test_body_that_is_no_request(body: bytes, says: str, http: httpx.Client) -> None:
    """NaN, truncated, binary and absurdly deep JSON is a 400 that says so."""
    answer = http.post("/v1/encode", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    must_still_work(http)


def test_media_types_and_routes(http: httpx.Client) -> None:
    """Unknown content types, methods, routes and array formats are problems too."""
    form = http.post("/v1/encode", content=b"a=1", headers={"content-type": "application/x-www-form-urlencoded"})
    is_problem(form, 415, "unsupported_media_type", None)
    garbage = http.post("/v1/encode", content=b"\xff" * 40, headers={"content-type": "application/x-protobuf"})
    is_problem(garbage, 400, "invalid_argument", None)
    is_problem(http.post("/v1/encode?arrays=xml", json=encode_body()), 400, "invalid_argument", "arrays")
    is_problem(http.get("/v1/worlds/mars"), 404, "world_not_found", "world")
    for method, path, status in [("GET", "/v1/encode", 405), ("GET", "/v3", 404), ("GET", "/v1/worlds/../x", 404)]:
        answer = http.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    must_still_work(http)


def test_announced_body_over_the_limit(server: Server, http: httpx.Client) -> None:
    """A body whose announced length is over the limit is refused before any of it is sent."""
    connection = HTTPConnection(server.http.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/v1/encode")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["reason"]) == (413, "too_large")
    connection.close()
    must_still_work(http)


def test_unannounced_body_over_the_limit(http: httpx.Client) -> None:
    """A body that does not announce its length is refused when it passes the limit."""

    def endless() -> Iterator[bytes]:
        for _ in range(80):
            yield b" " * (1 << 20)

    # The server may answer and hang up while the body is still on its way: httpx then reports the broken pipe.
    with contextlib.suppress(httpx.WriteError):
        is_problem(http.post("/v1/encode", content=endless()), 413, "too_large", None)
    must_still_work(http)


def actions(array: np.ndarray[Any, Any]) -> pb.RolloutRequest:
    context = pb.Context(observations=pb.Observations(array=to_tensor(FRAME)))
    return pb.RolloutRequest(world=WORLD, context=context, actions=to_tensor(array.astype(np.float32)))


def tensor(**parts: Any) -> pb.EncodeRequest:
    return pb.EncodeRequest(world=WORLD, observations=pb.Observations(array=pb.Tensor(**parts)))


def plan(**parts: Any) -> pb.PlanRequest:
    context = pb.Context(observations=pb.Observations(array=to_tensor(FRAME)))
    goal = pb.Goal(readouts=pb.ReadoutTargets(values={"agent_x": 100.0}))
    return pb.PlanRequest(**{"world": WORLD, "context": context, "goal": goal} | parts)


BAD_GRPC: dict[str, tuple[str, Callable[[], Any], grpc.StatusCode, str, str]] = {
    "nothing": ("Encode", lambda: pb.EncodeRequest(), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "world"),
    "no frames": ("Encode", lambda: pb.EncodeRequest(world=WORLD), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "observations"),
    "world unknown": ("Encode", lambda: pb.EncodeRequest(world="mars", observations=pb.Observations(array=to_tensor(FRAME))), grpc.StatusCode.NOT_FOUND, "world_not_found", "world"),
    "dtype unset": ("Encode", lambda: tensor(shape=[1], data=b"x"), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "observations"),
    "bytes missing": ("Encode", lambda: tensor(dtype=1, shape=[64, 64, 3], data=b"x"), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "observations"),
    "shape negative": ("Encode", lambda: tensor(dtype=1, shape=[-1], data=b""), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "observations"),
    "shape overflows": ("Encode", lambda: tensor(dtype=1, shape=[2**62, 2**62], data=b""), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "observations"),
    "image bomb": ("Encode", lambda: pb.EncodeRequest(world=WORLD, observations=pb.Observations(images=pb.Images(files=[bomb(12_000)]))), grpc.StatusCode.RESOURCE_EXHAUSTED, "too_large", "observations.images[0]"),
    "image truncated": ("Encode", lambda: pb.EncodeRequest(world=WORLD, observations=pb.Observations(images=pb.Images(files=[bomb(64)[:45]]))), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "observations.images[0]"),
    "context missing": ("Rollout", lambda: pb.RolloutRequest(world=WORLD, actions=to_tensor(np.zeros((1, 5, 2), "f4"))), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "context"),
    "actions missing": ("Rollout", lambda: pb.RolloutRequest(world=WORLD), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "context"),
    "actions NaN": ("Rollout", lambda: actions(NAN_ACTIONS), grpc.StatusCode.INVALID_ARGUMENT, "not_finite", "actions"),
    "actions wide": ("Rollout", lambda: actions(np.zeros((1, 5, 3))), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "actions"),
    "actions out of bounds": ("Rollout", lambda: actions(OVER), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "actions"),
    "latents_id unknown": ("Rollout", lambda: pb.RolloutRequest(world=WORLD, context=pb.Context(latents_id="lat_" + "x" * 22), actions=to_tensor(np.zeros((1, 5, 2), "f4"))), grpc.StatusCode.NOT_FOUND, "latents_not_found", "context.latents_id"),
    "goal missing": ("Plan", lambda: plan(goal=pb.Goal()), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "goal"),
    "goal NaN": ("Plan", lambda: plan(goal=pb.Goal(readouts=pb.ReadoutTargets(values={"agent_x": float("nan")}))), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "goal.readouts.agent_x"),
    "budget": ("Plan", lambda: plan(planner=pb.PlannerOptions(iterations=1000, candidate_count=1000)), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "planner"),
    "std NaN": ("Plan", lambda: plan(planner=pb.PlannerOptions(initial_std=float("nan"))), grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "planner.initial_std"),
    "limits NaN": ("Plan", lambda: plan(limits=pb.ActionLimits(low=[float("nan"), 0])), grpc.StatusCode.INVALID_ARGUMENT, "not_finite", "limits.low"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_GRPC)
def test_bad_grpc_request(name: str, stub: pb_grpc.WorldModelServiceStub, http: httpx.Client) -> None:
    """The same on gRPC: status, reason and field; nothing of the server in the text."""
    method, build, status, reason, field = BAD_GRPC[name]
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(build(), timeout=20)
    error = caught.value
    metadata = dict(error.trailing_metadata())
    assert (error.code(), metadata["wmserve-reason"], metadata["wmserve-field"]) == (status, reason, field)
    assert not any(secret in error.details() for secret in ("Traceback", "/usr", "127.0.0.1", ".py"))
    must_still_work(http)


@pytest.mark.parametrize("name", BAD_GRPC)
def test_the_same_message_over_http(name: str, http: httpx.Client) -> None:
    """The gRPC messages as HTTP bodies meet the same checks: reason and field are equal on both wires."""
    method, build, _, reason, field = BAD_GRPC[name]
    answer = http.post(
        f"/v1/{method.lower()}",
        content=build().SerializeToString(),
        headers={"content-type": "application/x-protobuf"},
    )
    assert 400 <= answer.status_code < 500
    assert (json.loads(answer.text)["reason"], json.loads(answer.text).get("field")) == (reason, field)


def test_grpc_message_over_the_limit(stub: pb_grpc.WorldModelServiceStub, http: httpx.Client) -> None:
    """A message over the limit is refused by gRPC itself, and the server goes on."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Encode(tensor(dtype=1, shape=[70 << 20], data=b"\0" * (70 << 20)), timeout=20)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    must_still_work(http)


def test_numbers_in_json_are_bounded(http: httpx.Client) -> None:
    """Two million floats as text would hold everybody up while they are read; base64 carries as many."""
    body = json.dumps({"world": WORLD, "context": {"latents": [[0.0] * 32]}, "actions": [[0.125] * 2] * 1_000_000})
    refused = http.post("/v1/rollout", content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["reason"]) == (413, "too_large")
    assert "base64" in refused.json()["detail"]
