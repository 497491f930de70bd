"""Who calls: an agent's back end over HTTP (JSON or protobuf), a robot over gRPC, a model with tools over MCP.

Each waits so long between its calls as its like does in life, so that users are a measure of load: an agent's back end
makes ten calls a second, a robot closes its loop five times a second, a model thinks for some seconds.
"""

import json
import random
import time
from collections.abc import Callable
from typing import Any

import grpc.experimental.gevent as grpc_gevent
from locust import FastHttpUser, User, between, constant_throughput, task
from wmserve.arrays import to_tensor
from wmserve.v1 import world_model_pb2 as pb
from wmserve_client import Client, PlannerOptions, WmserveError

from loadtest.load.bodies import (
    GOAL,
    PLANNER,
    PROTOBUF_HEADERS,
    ROBOT_TURNS_PER_S,
    START,
    WORLD,
    actions,
    frame,
    picture,
)

grpc_gevent.init_gevent()  # gRPC's threads would stand in the way of locust's greenlets
AGENT_CALLS_PER_S = 10
THINKS_S = (2.0, 6.0)
MCP_VERSION = "2025-06-18"
MCP_HEADERS = {"accept": "application/json, text/event-stream"}
CANDIDATES = 8


class Agent(FastHttpUser):
    """An agent's back end: it asks what its candidates would do, looks again now and then, and plans rarely."""

    abstract = True
    wait_time = constant_throughput(AGENT_CALLS_PER_S)
    latents_id = ""

    def on_start(self) -> None:
        """Come with a frame that is known."""
        self.encode()

    def encode(self) -> None:
        """Look, and remember the handle."""
        raise NotImplementedError


class JsonAgent(Agent):
    """Speaks JSON."""

    def ask(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """One call; what is refused counts as a failure, by its reason."""
        with self.client.post(f"/v1/{verb}", json={"world": WORLD, **body}, name=verb, catch_response=True) as answer:
            said: dict[str, Any] = answer.json() if answer.content else {}
            if answer.status_code != 200:
                answer.failure(str(said.get("reason", answer.status_code)))
            return said if answer.status_code == 200 else {}

    @task(2)
    def encode(self) -> None:
        """A picture file."""
        said = self.ask("encode", {"observations": picture(START)})
        self.latents_id = said.get("latents_id", self.latents_id)

    @task(8)
    def rollout(self) -> None:
        """From a handle."""
        self.ask("rollout", {"context": {"latents_id": self.latents_id}, "actions": actions(CANDIDATES).tolist()})

    @task(1)
    def plan(self) -> None:
        """To a place."""
        goal = {"agent_x": random.uniform(40, 180), "agent_y": random.uniform(40, 180)}
        body = {"context": {"latents_id": self.latents_id}, "goal": {"readouts": goal}, "planner": PLANNER}
        self.ask("plan", body)


class BinaryAgent(Agent):
    """Speaks protobuf over HTTP."""

    def ask(self, verb: str, message: Any, kind: type[Any]) -> Any:
        """One call; None where it is refused."""
        body = message.SerializeToString()
        call = self.client.post(
            f"/v1/{verb}", data=body, headers=PROTOBUF_HEADERS, name=f"{verb}, binary", catch_response=True
        )
        with call as answer:
            if answer.status_code != 200:
                answer.failure(str((answer.json() if answer.content else {}).get("reason", answer.status_code)))
                return None
            return kind.FromString(answer.content)

    @task(2)
    def encode(self) -> None:
        """An array of pixels."""
        asked = pb.EncodeRequest(world=WORLD, observations=pb.Observations(array=to_tensor(frame(START))))
        said = self.ask("encode", asked, pb.EncodeResponse)
        self.latents_id = self.latents_id if said is None else said.latents_id

    @task(8)
    def rollout(self) -> None:
        """From a handle."""
        context = pb.Context(latents_id=self.latents_id)
        asked = pb.RolloutRequest(world=WORLD, context=context, actions=to_tensor(actions(CANDIDATES)))
        self.ask("rollout", asked, pb.RolloutResponse)

    @task(1)
    def plan(self) -> None:
        """To what a picture shows."""
        goal = pb.Goal(observation=pb.Observations(array=to_tensor(frame(GOAL))))
        planner = pb.PlannerOptions(**PLANNER)
        asked = pb.PlanRequest(world=WORLD, context=pb.Context(latents_id=self.latents_id), goal=goal, planner=planner)
        self.ask("plan", asked, pb.PlanResponse)


class Robot(User):
    """A robot that closes its loop over one gRPC stream: a frame in, a plan out, and what came of the last one."""

    wait_time = constant_throughput(ROBOT_TURNS_PER_S)

    def on_start(self) -> None:
        """Connect and begin a loop."""
        options = self.environment.parsed_options
        self.client = Client(options.grpc_address)
        self.pixels = frame(START)
        self.begin()

    def begin(self) -> None:
        """A loop towards a picture."""
        self.loop = self.client.control(WORLD, goal=frame(GOAL), planner=PlannerOptions(**PLANNER))

    @task
    def turn(self) -> None:
        """One turn of a robot that is held; a loop that has ended is begun again."""
        if not self.timed("turn", lambda: self.loop.step(self.pixels, executed_steps=0)):
            self.begin()

    def on_stop(self) -> None:
        """Hang up."""
        self.client.close()

    def timed(self, name: str, work: Callable[[], object]) -> bool:
        """Do it, tell locust how long it took and whether it went well; True if it did."""
        began, failure = time.perf_counter(), None
        try:
            work()
        except WmserveError as error:
            failure = error
        took_ms = (time.perf_counter() - began) * 1000
        self.environment.events.request.fire(
            request_type="gRPC",
            name=name,
            response_time=took_ms,
            response_length=0,
            exception=failure and RuntimeError(failure.reason),
            context={},
        )
        return failure is None


class Model(FastHttpUser):
    """A model with tools, over MCP: it looks, thinks, plans, thinks, and asks what would happen."""

    wait_time = between(*THINKS_S)

    def on_start(self) -> None:
        """Begin a session, as a client does."""
        hello = {"protocolVersion": MCP_VERSION, "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}
        self.headers, self.number = dict(MCP_HEADERS), 0
        with self.client.post(
            "/mcp", json=self.message("initialize", hello), headers=self.headers, name="mcp"
        ) as answer:
            self.headers |= {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": MCP_VERSION}
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        self.client.post("/mcp", json=ready, headers=self.headers, name="mcp")

    def message(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """A request of JSON-RPC."""
        self.number += 1
        return {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Use a tool; its structured answer, empty where it failed."""
        asked = self.message("tools/call", {"name": tool, "arguments": {"world": WORLD, **arguments}})
        with self.client.post("/mcp", json=asked, headers=self.headers, name=tool, catch_response=True) as answer:
            lines = (answer.text or "").splitlines()
            told = next((json.loads(line[5:]) for line in lines if line.startswith("data:")), {})
            result: dict[str, Any] = told.get("result", {})
            if answer.status_code != 200 or not result or result.get("isError"):
                answer.failure(str(result.get("content") or told.get("error") or answer.status_code))
                return {}
            return result.get("structuredContent", {})

    @task
    def errand(self) -> None:
        """One thought and what it asks."""
        seen = self.call("wmserve_encode", images=[picture(START)])
        self.wait()
        goal = [{"readout": name, "value": random.uniform(60, 160)} for name in ("agent_x", "agent_y")]
        self.call("wmserve_plan", latents_id=seen.get("latents_id"), goal_readouts=goal)
        self.wait()
        self.call("wmserve_rollout", latents_id=seen.get("latents_id"), actions=actions(1)[0].tolist())
