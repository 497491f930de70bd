"""Starting, dying and stopping: with a real Triton, killed for real."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import wmserve_client as wm
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from wmserve.arrays import from_tensor, to_tensor
from wmserve.v1 import world_model_pb2 as pb
from wmserve.v1 import world_model_pb2_grpc as pb_grpc
from wmserve_server.admission import weight
from wmserve_server.grpc_api import SERVICE

from tests.conftest import ROOT, Server, running

FRAME = np.full((64, 64, 3), 255, np.uint8)


def plan_request(iterations: int, deadline_ms: int = 0, seed: int = 1) -> pb.PlanRequest:
    """A plan of this length; 1024 candidates make an iteration take tens of milliseconds."""
    return pb.PlanRequest(
        world="two_room",
        context=pb.Context(observations=pb.Observations(array=to_tensor(FRAME))),
        goal=pb.Goal(observation=pb.Observations(array=to_tensor(FRAME))),
        planner=pb.PlannerOptions(
            algorithm="cem", candidate_count=512, iterations=iterations, horizon=10, elite_count=50, seed=seed
        ),
        deadline_ms=deadline_ms,
    )


def stub(server: Server) -> pb_grpc.WorldModelServiceStub:
    return pb_grpc.WorldModelServiceStub(grpc.insecure_channel(server.grpc))  # type: ignore[no-untyped-call]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may break."""
    with running(tmp_path / "log") as started:
        started.wait_ready()
        yield started


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found[1:]


def triton_pid(server: Server) -> int:
    """Process id of the server's Triton."""
    for pid in children(server.process.pid):
        if b"tritonserver" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
            return pid
    pytest.fail("the server has no Triton")


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that still run."""
    return [
        pid
        for pid in pids
        if Path(f"/proc/{pid}/stat").exists()
        and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    ]


def test_killed_triton_comes_back(own_server: Server) -> None:
    """kill -9 of Triton during a plan: the plan fails as unavailable, readiness goes and returns, plans work again."""
    client = stub(own_server)
    before = client.Plan(plan_request(2), timeout=30)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running_plan = pool.submit(client.Plan, plan_request(39), timeout=60)
        time.sleep(0.3)
        os.kill(triton_pid(own_server), signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as caught:
            running_plan.result(60)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["wmserve-reason"] == "unavailable"
    deadline = time.monotonic() + 10
    while own_server.get("/readyz")[0] == 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert own_server.get("/readyz")[0] == 503
    assert own_server.get("/livez")[0] == 200
    own_server.wait_ready(60)
    after = client.Plan(plan_request(2), timeout=30)
    assert from_tensor(after.actions).tobytes() == from_tensor(before.actions).tobytes()
    assert "wmserve_triton_restarts_total 1.0" in own_server.get("/metrics")[1]


def test_sigterm_finishes_what_is_in_flight(own_server: Server) -> None:
    """SIGTERM: the plan that runs is answered, the exit status is 0, and no process is left."""
    client = stub(own_server)
    family = children(own_server.process.pid)
    assert len(family) >= 2  # Triton and its Python backends
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running_plan = pool.submit(client.Plan, plan_request(39, deadline_ms=1500), timeout=60)
        time.sleep(0.3)
        own_server.process.send_signal(signal.SIGTERM)
        assert running_plan.result(60).iterations >= 1
    assert own_server.process.wait(30) == 0
    assert alive(family) == []


def test_a_loop_that_waits_for_its_caller_holds_no_shutdown_up(own_server: Server) -> None:
    """It is told to go elsewhere; what it was answered before stands."""
    with wm.Client(own_server.grpc) as client, client.control("two_room", {"agent_x": 100.0}) as loop:
        assert loop.step(FRAME).plan.cost >= 0
        own_server.process.send_signal(signal.SIGTERM)
        own_server.process.wait(10)
        with pytest.raises(wm.Unavailable, match="shutting down"):
            loop.step(FRAME)


def test_ctrl_c_is_a_clean_end(tmp_path: Path) -> None:
    """SIGINT ends a server with status 0, also while Triton is still starting."""
    with running(tmp_path / "log") as starting:
        deadline = time.monotonic() + 60
        while "Triton" not in starting.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        family = children(starting.process.pid)
        starting.process.send_signal(signal.SIGINT)
        assert starting.process.wait(30) == 0, starting.log.read_text()
        assert alive(family) == []


def test_deadline_returns_the_best_plan_so_far(server: Server) -> None:
    """A plan with a deadline is back by then, give or take an iteration, and says why it stopped."""
    started = time.monotonic()
    found = stub(server).Plan(plan_request(39, deadline_ms=200), timeout=30)
    assert found.stop_reason == pb.STOP_REASON_DEADLINE
    assert 1 <= found.iterations < 39
    assert list(found.cost_per_iteration) == sorted(found.cost_per_iteration, reverse=True)
    assert time.monotonic() - started < 10  # a bound against hanging, not a measurement


def test_caller_that_leaves_stops_its_search(server: Server) -> None:
    """A cancelled plan stops asking the engine, on both wires: nothing is in flight soon after."""

    def wait_in_flight(count: str) -> None:
        deadline = time.monotonic() + 10
        while f'wmserve_requests_in_flight{{verb="plan"}} {count}' not in server.get("/metrics")[1]:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    call = stub(server).Plan.future(plan_request(39), timeout=60)
    wait_in_flight("1.0")
    call.cancel()
    wait_in_flight("0.0")
    host, port = server.http.removeprefix("http://").split(":")
    body = plan_request(39).SerializeToString()
    head = f"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: {len(body)}"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        wait_in_flight("1.0")
    wait_in_flight("0.0")
    for transport in ("grpc", "http"):
        count = rf'wmserve_request_seconds_count{{code="cancelled",transport="{transport}",verb="plan"'
        assert re.search(count, server.get("/metrics")[1])


def test_health_and_reflection(server: Server) -> None:
    """gRPC's own health and reflection services answer."""
    with grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        answer = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_taken_port_is_said_at_once(server: Server) -> None:
    """A port that is taken ends the start with status 2 and the setting to change."""
    port = server.grpc.split(":")[1]
    result = subprocess.run(
        [sys.executable, "-m", "wmserve_server"],
        env={
            **os.environ,
            "WMSERVE_GRPC_PORT": port,
            "WMSERVE_HTTP_PORT": "0",
            "WMSERVE_TRITON_ADDRESS": "localhost:1",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "WMSERVE_GRPC_PORT" in result.stderr


def test_bad_setting_is_said_by_name() -> None:
    """A setting that does not fit ends the start with status 2 and its name."""
    result = subprocess.run(
        [sys.executable, "-m", "wmserve_server"],
        env={**os.environ, "WMSERVE_HTTP_PORT": "many"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "WMSERVE_HTTP_PORT" in result.stderr


def test_drain_says_so_first_then_serves_then_finishes(tmp_path: Path) -> None:
    """SIGTERM: not ready at once on both wires, new requests answered for the delay, those inside finished; status 0.

    Connections end with an answer meanwhile, so that a caller who keeps one finds another server.
    """
    delay_s = 4.0
    with running(tmp_path / "log", drain_delay_s=str(delay_s), drain_timeout_s="60") as own:
        own.wait_ready()
        client = stub(own)
        own.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        while (own.get("/readyz"), health(own), connection_header(own)) != (
            (503, "the server is shutting down"),
            health_pb2.HealthCheckResponse.NOT_SERVING,
            "close",
        ):
            client.Encode(encode_request(), timeout=30)
            assert time.monotonic() < told + delay_s
        client.Encode(encode_request(), timeout=30)
        time.sleep(max(0.0, told + delay_s - 1 - time.monotonic()))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            plans = [pool.submit(client.Plan, plan_request(39, 2500, seed), timeout=60) for seed in range(4)]
            assert all(plan.result(60).iterations >= 1 for plan in plans)
        assert time.monotonic() > told + delay_s  # so they were inside when nobody was let in any more
        assert own.process.wait(30) == 0


def encode_request() -> pb.EncodeRequest:
    return pb.EncodeRequest(world="two_room", observations=pb.Observations(array=to_tensor(FRAME)))


def health(server: Server) -> int:
    """What the health service says of the gateway."""
    with grpc.insecure_channel(server.grpc) as channel:
        checking = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        status: int = checking.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5).status
        return status


def connection_header(server: Server) -> str | None:
    """What an answer over HTTP says of its connection."""
    with urllib.request.urlopen(server.http + "/livez", timeout=5) as answer:
        header: str | None = answer.headers.get("connection")
        return header


def test_metrics_say_what_is_inside_and_what_waits(server: Server) -> None:
    """Autoscalers go by these: the weight of plans while they run, and the time that calls wait for an engine."""

    def metric(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", server.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    waited = metric('wmserve_queue_seconds_total{verb="plan"}')
    with concurrent.futures.ThreadPoolExecutor() as pool:
        plans = [pool.submit(stub(server).Plan, plan_request(39, 1000, seed), timeout=60) for seed in range(6)]
        deadline = time.monotonic() + 10
        while metric("wmserve_work_in_flight") < 6 * weight(512 * 39 * 10):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for plan in plans:
            plan.result(60)
    assert metric("wmserve_work_in_flight") == 0
    assert metric("wmserve_work_limit") == 256
    assert metric('wmserve_queue_seconds_total{verb="plan"}') > waited + 0.5
