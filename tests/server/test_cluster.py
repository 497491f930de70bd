"""Two gateways before one Triton, with a real Redis between them: any of the two can answer any call."""

import concurrent.futures
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from wmserve.v1 import world_model_pb2 as pb
from wmserve.v1 import world_model_pb2_grpc as pb_grpc
from wmserve_client import Client, Unavailable

from tests.conftest import RedisServer, Server, running
from tests.server.test_lifecycle import plan_request, stub
from tests.server.test_several_tritons import triton

FRAME = np.full((64, 64, 3), 255, np.uint8)
ACTIONS = np.zeros((5, 2), np.float32)
GOAL = {"agent_x": 180.0, "agent_y": 60.0}
WORLD = "two_room"


@pytest.fixture
def gateways(server: Server, redis_server: RedisServer, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Two gateways that share a store and a Triton."""
    settings = {"triton_address": triton(server)[1], "state_url": redis_server.url}
    with ExitStack() as stack:
        one, two = (stack.enter_context(running(tmp_path / f"log{number}", **settings)) for number in range(2))
        for gateway in (one, two):
            gateway.wait_ready()
        yield one, two


def test_what_one_gateway_keeps_the_other_knows(gateways: tuple[Server, Server]) -> None:
    """Latents, decisions and a session that goes back and forth: as if there were one gateway."""
    with Client(gateways[0].grpc) as one, Client(gateways[1].grpc) as two:
        encoded = one.encode(WORLD, FRAME)
        there, here = (client.rollout(WORLD, encoded, ACTIONS, return_latents=True) for client in (two, one))
        np.testing.assert_array_equal(there.latents, here.latents)
        plan = one.plan(WORLD, encoded, GOAL)
        counted = [client.observe(WORLD, FRAME, plan, session="robot").observed for client in (two, one, two)]
        assert counted == [1, 2, 3]
        wall = np.zeros((64, 64, 3), np.uint8)
        outcomes = [client.observe(WORLD, wall, plan, session="robot") for client in (one, two) * 4]
        assert outcomes[-1].changed, "what both saw adds up"
        assert "changed" in one.plan(WORLD, encoded, GOAL, session="robot").reasons
        assert "changed" in two.plan(WORLD, encoded, GOAL, session="robot").reasons


def test_a_repeated_plan_gets_the_first_answer_from_either(gateways: tuple[Server, Server]) -> None:
    """Byte for byte, on both wires, marked as replayed; the key with another request is refused, and so is no key."""
    request, metadata = plan_request(2), (("idempotency-key", "grpc"),)
    calls = [stub(gateway).Plan.with_call(request, metadata=metadata, timeout=30) for gateway in gateways]
    (first, one), (second, two) = calls
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert [dict(call.trailing_metadata())["idempotency-status"] for call in (one, two)] == ["first", "replayed"]
    with pytest.raises(grpc.RpcError) as caught:
        stub(gateways[1]).Plan(plan_request(3), metadata=metadata, timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert dict(caught.value.trailing_metadata())["wmserve-reason"] == "idempotency_key_reused"
    body = {"world": WORLD, "context": {"latents_id": first.latents_id}, "goal": {"readouts": GOAL}}
    answers = [post(gateway, body, "http") for gateway in gateways]
    assert answers[0].content == answers[1].content
    assert [answer.headers["idempotency-status"] for answer in answers] == ["first", "replayed"]
    assert "idempotency-status" not in post(gateways[0], body, None).headers
    reused = post(gateways[1], body | {"deadline_ms": 100}, "http")
    assert (reused.status_code, reused.json()["reason"]) == (422, "idempotency_key_reused")
    assert post(gateways[0], body, "k" * 256).status_code == 400
    assert 'wmserve_keyed_requests_total{status="replayed"} 2.0' in gateways[1].get("/metrics")[1]


def post(gateway: Server, body: dict[str, object], key: str | None) -> httpx.Response:
    """A plan over HTTP."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return httpx.post(f"{gateway.http}/v1/plan", json=body, headers=headers, timeout=30)


def test_a_gateway_that_is_killed_costs_its_callers_nothing_but_time(gateways: tuple[Server, Server]) -> None:
    """Plans in flight on it are made by the other one, under the same key; no caller hears of it."""
    addresses = ",".join(gateway.grpc.replace("localhost", "127.0.0.1") for gateway in gateways)
    with Client(f"ipv4:{addresses}") as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        encoded = client.encode(WORLD, FRAME)
        options = plan_request(39)
        asked = [pool.submit(long_plan, client, encoded.latents_id, seed) for seed in range(4)]
        deadline = time.monotonic() + 10
        while not re.search(r'requests_in_flight{verb="plan"} [1-4]', gateways[1].get("/metrics")[1]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        gateways[1].process.kill()
        assert all(one.result(60) == options.planner.iterations for one in asked)
        assert len(client.rollout(WORLD, encoded, ACTIONS).disagreement) == 1, "handles survive it"


def long_plan(client: Client, latents_id: str, seed: int) -> int:
    """Iterations of a plan that takes a while."""
    request = plan_request(39, seed=seed)
    request.context.CopyFrom(pb.Context(latents_id=latents_id))
    return int(client._call(client._stub.Plan, request, 60.0, (("idempotency-key", f"long {seed}"),)).iterations)


def test_without_the_store_what_needs_none_is_answered_and_the_rest_is_told(
    gateways: tuple[Server, Server], redis_server: RedisServer
) -> None:
    """Frames are answered without handles; a handle, a session and a decision are out of reach, and that is said."""
    one = gateways[0]
    with Client(one.grpc) as client:
        encoded, plan = client.encode(WORLD, FRAME), client.plan(WORLD, FRAME, GOAL)
        redis_server.end()
        unkept = client.encode(WORLD, FRAME)
        assert (unkept.latents_id, unkept.expires_in_s) == ("", 0)
        blind = client.plan(WORLD, FRAME, GOAL)
        assert (len(blind.cost_per_iteration) > 0, blind.decision_id, blind.latents_id) == (True, "", "")
        assert len(client.rollout(WORLD, FRAME, ACTIONS).disagreement) == 1
        assert one.get("/readyz") == (200, "ok; handles, sessions and idempotency keys cannot be reached")
        raw = pb_grpc.WorldModelServiceStub(grpc.insecure_channel(one.grpc))  # type: ignore[no-untyped-call]
        needy = pb.RolloutRequest(world=WORLD, context=pb.Context(latents_id=encoded.latents_id))
        needy.actions.CopyFrom(plan_actions())
        with pytest.raises(grpc.RpcError) as caught:
            raw.Rollout(needy, timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        told = dict(caught.value.trailing_metadata())
        assert (told["wmserve-reason"], told["retry-after-s"]) == ("state_unavailable", "1")
        with pytest.raises(Unavailable, match="try again"):
            client.plan(WORLD, FRAME, GOAL, session="robot")
        with pytest.raises(Unavailable):
            client.observe(WORLD, FRAME, plan)
        body = {"world": WORLD, "context": {"latents_id": encoded.latents_id}, "goal": {"readouts": GOAL}}
        assert post(one, body, None).status_code == 503
        assert 'wmserve_unkept_total{kind="latents"}' in one.get("/metrics")[1]
        redis_server.start()
        deadline = time.monotonic() + 10
        while one.get("/readyz")[1] != "ok" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.rollout(WORLD, client.encode(WORLD, FRAME), ACTIONS).disagreement.shape == (1, 1)


def plan_actions() -> pb.Tensor:
    """Five steps of standing still."""
    return pb.Tensor(dtype="DATA_TYPE_FLOAT32", shape=[5, 2], data=ACTIONS.tobytes())


def test_a_store_that_cannot_be_is_said_at_once(tmp_path: Path) -> None:
    """A URL that is none ends the start with status 2 and the setting's name, without the URL: that may be secret."""
    with running(tmp_path / "log", state_url="http://:secret@nowhere", triton_address="localhost:1") as server:
        assert server.process.wait(60) == 2
        assert "WMSERVE_STATE_URL" in server.log.read_text()
        assert "secret" not in server.log.read_text()
