"""How a server behaves besides being fast: start, memory, and what one caller's work does to the others."""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
from wmserve.arrays import from_tensor, to_tensor
from wmserve.v1 import world_model_pb2 as pb

from loadtest import processes
from loadtest.serve import bodies, closed_loop, comparisons
from loadtest.serve.closed_loop import Target
from loadtest.serve.comparisons import Comparison, Effort
from loadtest.serve.contenders import HOST, Ours, call_grpc, grpc_target
from loadtest.serving import Server, running

SERVE = (str(Path(sys.executable).parent / "wmserve"), "serve")
FLOATS = 2_000_000
OTHERS = 4
CANDIDATES, HORIZON, ACTION_BLOCK = 64, 10, 5
PLANNERS, PLAN_CANDIDATES, PLAN_ITERATIONS = 4, 300, 30
REQUESTS_FOR_MEDIAN = 200


@dataclass(frozen=True)
class Blocked:
    """What others met with while one caller posted a large body."""

    longest_ms: float
    longest_alone_ms: float
    posts: int
    answer: str
    """How the body was answered."""


def large_body() -> bytes:
    """JSON with two million floats, as a rollout's actions `[20000, 50, 2]`: more candidates than any world takes."""
    actions = np.random.default_rng(0).uniform(-1, 1, (FLOATS // 100, 50, 2)).round(6)
    context = {"observations": bodies.encoded_array(bodies.frame())}
    return json.dumps({"world": bodies.WORLD, "context": context, "actions": actions.tolist()}).encode()


def block_of_others(server: Server, targets: Ours, effort: Effort) -> dict[str, Blocked]:
    """The longest encode of others while large bodies come in one after the other; by the others' wire."""
    body = large_body()
    return {target.name: blocked(server, target, body, effort) for target in (targets.grpc, targets.http)}


def blocked(server: Server, target: Target, body: bytes, effort: Effort) -> Blocked:
    """Load the target with a few callers, alone and beside a caller of large bodies."""
    began = time.perf_counter()
    post_large(server, body)
    seconds = max(effort.seconds, 2 * (time.perf_counter() - began))  # a whole post falls into the run
    alone = closed_loop.run(target, OTHERS, seconds)
    stop, answers = threading.Event(), list[str]()

    def keep_posting() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            status = post_large(server, body)
            answers.append(f"{status} after {time.perf_counter() - began:.1f} s")

    poster = threading.Thread(target=keep_posting)
    poster.start()
    try:
        beside = closed_loop.run(target, OTHERS, seconds)
    finally:
        stop.set()
        poster.join()
    return Blocked(beside.latencies_ms[-1], alone.latencies_ms[-1], len(answers), answers[0])


def post_large(server: Server, body: bytes) -> int:
    """Status of the answer to a large rollout."""
    url = urlsplit(server.http)
    connection = http.client.HTTPConnection(HOST, url.port, timeout=120)
    try:
        connection.request("POST", "/v1/rollout", body, bodies.JSON_HEADERS)
        return connection.getresponse().status
    finally:
        connection.close()


@dataclass(frozen=True)
class Rollouts:
    """A call by handle without latents in the answer, and the same with latents sent both ways; by wire."""

    comparisons: dict[str, Comparison]

    def ratio(self, wire: str) -> float:
        """Requests per second by handle over those with latents."""
        return self.comparisons[wire].against(f"{wire} by handle", f"{wire} with latents", comparisons.throughput)


def rollouts(server: Server, effort: Effort) -> Rollouts:
    """Compare the two on gRPC, HTTP with protobuf and HTTP with JSON, 16 callers each.

    "With latents sent" is what a caller does who keeps latents itself: it sends those of the context and asks for those
    that are predicted, `[S, H, D]`, to go on from. The actions are the same bytes, in JSON as base64.
    """
    grpc_address, url = server.grpc.replace("localhost", HOST), server.http.replace("localhost", HOST) + "/v1/rollout"
    encoded = pb.EncodeResponse.FromString(call_grpc(grpc_address, bodies.ENCODE, bodies.encode_request(True)))
    shape = (CANDIDATES, HORIZON * ACTION_BLOCK, 2)
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    latents = from_tensor(encoded.latents)
    pid = server.process.pid

    def protobuf(context: pb.Context, return_latents: bool) -> bytes:
        return pb.RolloutRequest(
            world=bodies.WORLD, context=context, actions=to_tensor(actions), return_latents=return_latents
        ).SerializeToString()

    def as_json(context: dict[str, object], return_latents: bool) -> bytes:
        array = bodies.encoded_array(actions)
        body = {"world": bodies.WORLD, "context": context, "actions": array, "return_latents": return_latents}
        return json.dumps(body).encode()

    def over_http(name: str, body: bytes, headers: dict[str, str]) -> Target:
        return Target(name, url, body, headers, pid)

    lean = protobuf(pb.Context(latents_id=encoded.latents_id), False)
    full = protobuf(pb.Context(latents=encoded.latents), True)
    lean_json = as_json({"latents_id": encoded.latents_id}, False)
    full_json = as_json({"latents": latents.tolist()}, True)
    path = "/wmserve.v1.WorldModelService/Rollout"
    pairs = {
        "gRPC": [
            grpc_target("gRPC by handle", grpc_address, path, lean, pid)[0],
            grpc_target("gRPC with latents", grpc_address, path, full, pid)[0],
        ],
        "HTTP": [
            over_http("HTTP by handle", lean, bodies.PROTOBUF_HEADERS),
            over_http("HTTP with latents", full, bodies.PROTOBUF_HEADERS),
        ],
        "JSON": [
            over_http("JSON by handle", lean_json, bodies.JSON_HEADERS),
            over_http("JSON with latents", full_json, bodies.JSON_HEADERS),
        ],
    }
    return Rollouts({wire: comparisons.compare(pair, 16, effort) for wire, pair in pairs.items()})


def beside_plans(server: Server, targets: Ours, effort: Effort) -> dict[str, tuple[float, float]]:
    """p99 of one caller's encodes, milliseconds: alone, and while others plan without a pause; by wire."""
    request = bodies.plan_request(PLAN_CANDIDATES, PLAN_ITERATIONS)
    call_grpc(server.grpc, bodies.PLAN, request)
    address = server.grpc.replace("localhost", HOST)
    plans = Target(
        "plans",
        f"http://{address}{bodies.PLAN}",
        bodies.grpc_frame(request),
        bodies.GRPC_HEADERS,
        server.process.pid,
        grpc=True,
    )
    seconds = 2 * effort.seconds
    found = {}
    for target in (targets.grpc, targets.http):
        alone = closed_loop.run(target, 1, seconds)
        with tempfile.TemporaryDirectory() as folder:
            words = [*closed_loop.command(plans, PLANNERS, Path(folder)), closed_loop.duration(seconds + 3)]
            planning = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            time.sleep(1.0)  # all of them are searching by now
            beside = closed_loop.run(target, 1, seconds)
            closed_loop.check(planning.communicate()[0], plans)
        found[target.name] = (alone.percentile(99), beside.percentile(99))
    return found


@dataclass(frozen=True)
class Start:
    """From the command to the first answers."""

    ready_s: float
    first_ms: float
    median_ms: float


def starts(effort: Effort, folder: Path) -> dict[str, list[Start]]:
    """Start fresh servers and time the first requests on a connection that is open already; by wire."""
    askers = {"gRPC": ask_grpc, "HTTP": ask_http}
    return {wire: [start(asker, folder) for _ in range(effort.starts)] for wire, asker in askers.items()}


def start(ask: Callable[[Server, int], list[float]], folder: Path) -> Start:
    """One start."""
    began = time.monotonic()
    with running(folder / "start.log", SERVE) as server:
        server.wait_ready()
        ready_s = time.monotonic() - began
        times_ms = ask(server, 1 + REQUESTS_FOR_MEDIAN)
    return Start(ready_s, times_ms[0], statistics.median(times_ms[1:]))


def ask_grpc(server: Server, count: int) -> list[float]:
    """Milliseconds of encode calls, one after the other."""
    request = bodies.encode_request()
    with grpc.insecure_channel(server.grpc) as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        call = channel.unary_unary(bodies.ENCODE)
        return timed(lambda: call(request, timeout=30), count)


def ask_http(server: Server, count: int) -> list[float]:
    """Milliseconds of encode calls, one after the other."""
    connection = http.client.HTTPConnection(HOST, urlsplit(server.http).port, timeout=30)
    connection.request("GET", "/livez")
    connection.getresponse().read()
    request = bodies.encode_request()

    def ask() -> None:
        connection.request("POST", "/v1/encode", request, bodies.PROTOBUF_HEADERS)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"encode was answered with {answer.status}")

    try:
        return timed(ask, count)
    finally:
        connection.close()


def timed(call: Callable[[], object], count: int) -> list[float]:
    """Milliseconds of each of some calls."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def memory(server: Server, targets: Ours, effort: Effort) -> tuple[int, int]:
    """Resident bytes of gateway and Triton after the first so many requests, and after all; half on each wire."""
    sizes, sent = [], 0
    for count in effort.requests:
        for target in (targets.grpc, targets.http):
            closed_loop.warm_up(target, 16, (count - sent) // 2)
        sent = count
        sizes.append(processes.resident_bytes(server.process.pid))
    return sizes[0], sizes[1]
