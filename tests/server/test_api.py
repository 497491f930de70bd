"""The verbs as callers use them: both wires, every way to give an observation, and the same answer each time."""

import base64
import concurrent.futures
import io
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from openapi_spec_validator import validate
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from wmserve.arrays import from_tensor, to_tensor
from wmserve.v1 import world_model_pb2 as pb
from wmserve.v1 import world_model_pb2_grpc as pb_grpc
from wmserve_export.reference import environment
from wmserve_export.reference.collect import DEFAULT_DOOR

from tests.conftest import Server

WORLD = "two_room"


def frame(x: int, y: int, size: int = 224) -> NDArray[np.uint8]:
    """A frame of Two-Room with the agent at (x, y) of 224."""
    picture = environment.render(np.array([[x, y]], np.float32), DEFAULT_DOOR)[0].numpy()
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))


START, GOAL = frame(60, 150), frame(60, 90)


def png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def as_base64(picture: NDArray[np.uint8]) -> str:
    return base64.b64encode(png(picture)).decode()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[pb_grpc.WorldModelServiceStub]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield pb_grpc.WorldModelServiceStub(channel)  # type: ignore[no-untyped-call]


def post(http: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = http.post(path, json={"world": WORLD, **body})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def plan_request(seed: int) -> pb.PlanRequest:
    return pb.PlanRequest(
        world=WORLD,
        context=pb.Context(observations=pb.Observations(array=to_tensor(START))),
        goal=pb.Goal(observation=pb.Observations(images=pb.Images(files=[png(GOAL)]))),
        planner=pb.PlannerOptions(seed=seed),
    )


def test_worlds(http: httpx.Client, stub: pb_grpc.WorldModelServiceStub) -> None:
    """Both wires list the same worlds with the same contract."""
    listed = http.get("/v1/worlds").json()["worlds"]
    assert WORLD in [world["name"] for world in listed]
    world = http.get(f"/v1/worlds/{WORLD}").json()
    versions = world.pop("versions")
    assert world in listed
    assert [(one["version"], one["part"], one["calibrated"]) for one in versions] == [(1, "live", True)]
    assert [one.version for one in stub.ListVersions(pb.GetWorldRequest(world=WORLD), timeout=5).versions] == [1]
    message = stub.GetWorld(pb.GetWorldRequest(world=WORLD), timeout=5)
    assert message.digests.checkpoint == world["digests"]["checkpoint"]
    assert [axis.low for axis in message.action.axes] == [axis["low"] for axis in world["action"]["axes"]]
    assert [world.name for world in stub.ListWorlds(pb.ListWorldsRequest(), timeout=5).worlds] == [
        world["name"] for world in listed
    ]


def test_encode_is_the_same_however_the_frame_comes(http: httpx.Client, stub: pb_grpc.WorldModelServiceStub) -> None:
    """PNG, base64 array, nested list, protobuf over HTTP and gRPC: one frame, one set of latents."""
    data = base64.b64encode(START.tobytes()).decode()
    encoded = {"dtype": "uint8", "shape": list(START.shape), "data": data}
    answers = [
        post(http, "/v1/encode", observations=given, return_latents=True)["latents"]
        for given in (as_base64(START), [as_base64(START)], encoded, START.tolist())
    ]
    request = pb.EncodeRequest(world=WORLD, observations=pb.Observations(array=to_tensor(START)), return_latents=True)
    over_http = http.post(
        "/v1/encode", content=request.SerializeToString(), headers={"content-type": "application/x-protobuf"}
    )
    assert over_http.headers["content-type"] == "application/x-protobuf"
    messages = [pb.EncodeResponse.FromString(over_http.content), stub.Encode(request, timeout=30)]
    expected = np.array(answers[0], np.float32)
    for latents in [*answers, *(from_tensor(message.latents) for message in messages)]:
        assert np.asarray(latents, np.float32).tobytes() == expected.tobytes()


def test_encode_takes_frames_of_any_size(http: httpx.Client) -> None:
    """The engine resizes: the same picture at half the size reads as the same place."""
    full, half = (
        np.array(post(http, "/v1/encode", observations=as_base64(frame(60, 150, size)))["readouts"])
        for size in (224, 112)
    )
    np.testing.assert_allclose(full, half, atol=8)


def test_arrays_as_base64(http: httpx.Client) -> None:
    """?arrays=base64 gives the same numbers in a fraction of the text."""
    body = {"world": WORLD, "observations": as_base64(START), "return_latents": True}
    listed = http.post("/v1/encode", json=body).json()["latents"]
    encoded = http.post("/v1/encode?arrays=base64", json=body).json()["latents"]
    latents = np.frombuffer(base64.b64decode(encoded["data"]), encoded["dtype"]).reshape(encoded["shape"])
    np.testing.assert_array_equal(latents, np.array(listed, np.float32))


def test_rollout(http: httpx.Client, stub: pb_grpc.WorldModelServiceStub) -> None:
    """Rollouts have the promised shapes, accept a handle, and agree on both wires."""
    handle = post(http, "/v1/encode", observations=as_base64(START))["latents_id"]
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 20, 2)).astype(np.float32)
    answer = post(http, "/v1/rollout", context={"latents_id": handle}, actions=actions.tolist(), return_latents=True)
    disagreement, readouts = np.array(answer["disagreement"]), np.array(answer["readouts"])
    assert disagreement.shape == (3, 4)
    assert (disagreement >= 0).all()
    assert readouts.shape[:2] == (3, 4)
    assert np.array(answer["latents"]).shape[:2] == (3, 4)
    request = pb.RolloutRequest(world=WORLD, context=pb.Context(latents_id=handle), actions=to_tensor(actions))
    message = stub.Rollout(request, timeout=30)
    np.testing.assert_array_equal(from_tensor(message.readouts), readouts.astype(np.float32))


def test_rollout_is_causal_and_padding_does_not_show(http: httpx.Client) -> None:
    """What happens in the first steps does not depend on later actions, nor on how far the caller looks."""
    handle = post(http, "/v1/encode", observations=as_base64(START))["latents_id"]
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 35, 2))
    long = post(http, "/v1/rollout", context={"latents_id": handle}, actions=actions.tolist())
    short = post(http, "/v1/rollout", context={"latents_id": handle}, actions=actions[:, :10].tolist())
    np.testing.assert_allclose(np.array(long["readouts"])[:, :2], short["readouts"], rtol=1e-4, atol=1e-3)


def test_moving_right_reads_further_right(http: httpx.Client) -> None:
    """The model has learnt what an action is: opposite actions lead to opposite sides."""
    right, left = np.tile([1.0, 0.0], (10, 1)), np.tile([-1.0, 0.0], (10, 1))
    answer = post(
        http,
        "/v1/rollout",
        context={"observations": as_base64(frame(60, 150))},
        actions=[right.tolist(), left.tolist()],
    )
    x = np.array(answer["readouts"])[:, -1, 0]
    assert x[0] - x[1] > 20


@pytest.mark.parametrize("algorithm", ["cem", "icem", "mppi"])
def test_plan(algorithm: str, http: httpx.Client) -> None:
    """A plan says what it costs, what it expects, how it went and what answered."""
    goal = {"observation": as_base64(GOAL)}
    answer = post(
        http,
        "/v1/plan",
        context={"observations": as_base64(START)},
        goal=goal,
        planner={"algorithm": algorithm, "seed": 3},
    )
    world = http.get(f"/v1/worlds/{WORLD}").json()
    horizon, block = world["planner"]["horizon"], world["action"]["action_block"]
    assert np.array(answer["actions"]).shape == (horizon * block, 2)
    assert np.abs(answer["actions"]).max() <= 1.0
    assert answer["cost"] == pytest.approx(answer["cost_per_iteration"][-1])
    assert len(answer["readouts"]) == len(answer["disagreement"]) == len(answer["goal_distance"]) == horizon
    assert (answer["iterations"], answer["seed"]) == (len(answer["cost_per_iteration"]), 3)
    assert answer["goal_distance"][-1] < answer["goal_distance"][0]
    assert answer["digests"] == world["digests"]
    parts = answer["timing"]
    assert parts["total_ms"] >= parts["encode_ms"] + parts["cost_ms"] + parts["search_ms"]


def test_plan_towards_readouts(http: httpx.Client) -> None:
    """A goal may be named: the plan is expected to end there."""
    answer = post(
        http, "/v1/plan", context={"observations": as_base64(frame(40, 180))}, goal={"readouts": {"agent_x": 80.0}},
        planner={"seed": 1, "horizon": 5},
    )  # fmt: skip
    assert answer["readouts"][-1][0] == pytest.approx(80.0, abs=12)
    assert "goal_latents_id" not in answer


def test_plan_keeps_to_the_callers_limits(http: httpx.Client) -> None:
    """Bounds and rate limits of the caller hold for every step of the plan."""
    limits = {"low": [-0.5, -0.5], "high": [0.5, 0.2], "max_rate": [0.1, 0.1], "previous_action": [0.0, 0.0]}
    answer = post(
        http, "/v1/plan", context={"observations": as_base64(START)}, goal={"observation": as_base64(GOAL)},
        limits=limits, planner={"seed": 1, "hold_steps": 1},
    )  # fmt: skip
    actions = np.array(answer["actions"])
    assert actions.min() >= -0.5
    assert actions[:, 0].max() <= 0.5
    assert actions[:, 1].max() <= 0.2
    assert np.abs(np.diff(np.vstack([[0, 0], actions]), axis=0)).max() <= 0.1 + 1e-5


def test_warm_start_is_never_worse(http: httpx.Client) -> None:
    """A plan that starts from an earlier one of the same problem is at least as good."""
    seen, goal = {"observations": as_base64(START)}, {"observation": as_base64(GOAL)}
    first = post(http, "/v1/plan", context=seen, goal=goal, planner={"seed": 1})
    warm = {"seed": 2, "iterations": 1, "warm_start": first["actions"], "hold_steps": 1}
    again = post(http, "/v1/plan", context={"latents_id": first["latents_id"]},
                 goal={"latents_id": first["goal_latents_id"]}, planner=warm)  # fmt: skip
    assert again["cost"] <= first["cost"] * (1 + 1e-5)


def test_same_seed_same_plan_whatever_else_runs(stub: pb_grpc.WorldModelServiceStub) -> None:
    """Eight plans at once, and other work beside them: each is bit for bit what it is alone."""
    alone = [stub.Plan(plan_request(seed), timeout=60) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        others = [
            pool.submit(stub.Encode, pb.EncodeRequest(world=WORLD, observations=pb.Observations(array=to_tensor(GOAL))))
            for _ in range(64)
        ]
        together = [pool.submit(stub.Plan, plan_request(seed), timeout=60) for seed in range(8)]
        for one, many in zip(alone, together, strict=True):
            assert many.result().actions.data == one.actions.data
            assert many.result().cost == one.cost
        assert all(other.result().latents_id for other in others)


def test_openapi_document_is_valid(http: httpx.Client) -> None:
    """The document validates as OpenAPI 3.1 and names every verb."""
    document = http.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    validate(document)
    operations = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert operations == {f"wmserve_{name}" for name in ("encode", "rollout", "plan", "observe", "worlds", "world")}
    assert http.get("/docs").status_code == 200


def test_metrics_tell_what_happened(http: httpx.Client) -> None:
    """Latency, sizes, iterations, disagreement and batches are counted, and no caller's text becomes a label."""
    post(http, "/v1/plan", context={"observations": as_base64(START)}, goal={"observation": as_base64(GOAL)})
    http.post("/v1/encode", json={"world": "a-callers-text", "observations": as_base64(START)})
    families = {family.name: family for family in text_string_to_metric_families(http.get("/metrics").text)}
    for name in (
        "wmserve_request_seconds",
        "wmserve_request_bytes",
        "wmserve_response_bytes",
        "wmserve_plan_iterations",
        "wmserve_plan_stops",
        "wmserve_disagreement",
        "wmserve_batch_size",
    ):
        assert any(sample.value > 0 for sample in families[name].samples), name
    assert "wmserve_requests_in_flight" in families
    labels = {value for family in families.values() for sample in family.samples for value in sample.labels.values()}
    assert "a-callers-text" not in labels
    assert "world_not_found" in labels
