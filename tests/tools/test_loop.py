"""A scripted caller that has the strict tool definitions and a sentence, and brings an agent to its goal in Two-Room.

What a model would do, without a model: it knows tools by their names and schemas, fills in what the sentence says and
null or [] for the rest, and goes on with what answers hold. The environment's host moves the agent and has the camera.
"""

import base64
import io
import json
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from wmserve_export.reference import collect, environment
from wmserve_server.tools.definitions import definitions

from tests.conftest import Server

BUDGET = 150
"""Environment steps, as in the evaluation's hard protocol."""


def picture(frame: NDArray[np.uint8]) -> str:
    """A frame as a base64 PNG."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


class Caller:
    """Calls tools by their definitions alone."""

    def __init__(self, server: Server) -> None:
        self._http = httpx.Client(base_url=server.http, timeout=30)
        printed = json.loads(json.dumps(definitions("openai", strictly=True)))
        self._schemas = {tool["name"]: tool["parameters"] for tool in printed}

    def call(self, name: str, **said: Any) -> dict[str, Any]:
        """Call a tool with what is said, and with nothing for the rest."""
        schema = self._schemas[name]
        rest = {key: [] if one["type"] == "array" else None for key, one in schema["properties"].items()}
        arguments = rest | said
        jsonschema.validate(arguments, schema)
        answer = self._http.post(f"/v1/tools/{name.removeprefix('wmserve_')}", json=arguments)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def close(self) -> None:
        self._http.close()


class Host:
    """The environment and its camera: start and goal anywhere, in different rooms."""

    def __init__(self, seed: int, door: int) -> None:
        rng = np.random.default_rng(seed)
        drawn = environment.free_positions(rng, 100)
        left = drawn[:, 0] < environment.WALL
        self._at, self.goal, self._door = drawn[left][:1], drawn[~left][:1], door
        self.steps = 0

    def see(self, at: NDArray[np.float32] | None = None) -> str:
        """What the camera sees, or would see with the agent somewhere else."""
        return picture(environment.render(self._at if at is None else at, self._door)[0].numpy())

    def move(self, actions: list[list[float]]) -> bool:
        """Move; True once the environment says that the goal is reached."""
        for action in np.array(actions, np.float32):
            self._at = environment.step(self._at, action[None], np.array([self._door], np.float32))
            self.steps += 1
            if np.linalg.norm(self._at - self.goal) < environment.SUCCESS_RADIUS:
                return True
        return False


def reach(caller: Caller, host: Host, goal: dict[str, Any], session: str) -> bool:
    """Plan, move, observe, until the goal is reached or the budget is used up."""
    (world,) = caller.call("wmserve_worlds")["worlds"]
    seen = caller.call("wmserve_encode", world=world["name"], images=[host.see()])
    while host.steps < BUDGET:
        plan = caller.call(
            "wmserve_plan", world=world["name"], latents_id=seen["latents_id"], seed=host.steps, session=session, **goal
        )
        if plan["status"] != "ok":
            plan["actions"] = [[0.0, 0.0]] * world["action_block"]  # refused: wait, and look again
        if host.move(plan["actions"]):
            return True
        seen = caller.call("wmserve_observe", images=[host.see()], **done(world, seen, plan), session=session)
        assert not seen["changed"], seen["summary"]
    return False


def done(world: dict[str, Any], seen: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """What was done: the plan, or waiting."""
    if plan["status"] == "ok":
        return {"world": world["name"], "decision_id": plan["decision_id"]}
    return {"world": world["name"], "latents_id": seen["latents_id"], "actions": plan["actions"]}


def by_picture(caller: Caller, host: Host) -> dict[str, Any]:
    """The goal as a picture."""
    goal = caller.call("wmserve_encode", world="two_room", images=[host.see(host.goal)])
    return {"goal_latents_id": goal["latents_id"]}


@pytest.mark.parametrize(("seed", "door"), [(0, collect.DEFAULT_DOOR), (1, collect.EVALUATION_DOORS[0])])
def test_caller_reaches_a_goal_in_the_other_room(server: Server, seed: int, door: int) -> None:
    """By the definitions alone, from a picture of the goal, through the door, within the hard protocol's budget."""
    caller, host = Caller(server), Host(seed, door)
    try:
        assert reach(caller, host, by_picture(caller, host), session=f"loop {seed}")
    finally:
        caller.close()


def test_caller_reaches_wanted_readouts(server: Server) -> None:
    """The same where the sentence says where to go in numbers, in its own room."""
    caller, host = Caller(server), Host(2, collect.DEFAULT_DOOR)
    host.goal = np.array([[80.0, 80.0]], np.float32)
    wanted = [{"readout": name, "value": 80.0} for name in ("agent_x", "agent_y")]
    try:
        assert reach(caller, host, {"goal_readouts": wanted}, session="numbers")
    finally:
        caller.close()
