"""Answers to models: short whatever the world and the request, in words, with errors that name what was asked."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from wmserve.world import Axis, ObservationSpec, Readout, World
from wmserve_server import messages as m
from wmserve_server.openapi import tools_document
from wmserve_server.tools import EXAMPLE_IMAGE, TOOLS, cards, telling
from wmserve_server.tools.schemas import plain
from wmserve_server.tools.words import REASONS

from tests.conftest import Server
from tests.worlds import make_world

MAX_TOKENS = 2000
LONG = "a_very_long_name_that_nobody_needs_" * 8
BLOCK, STEPS, READOUTS = 50, 1000, 64
HANDLE, DECISION = "lat_" + "aZ0-" * 5 + "_9", "dec_" + "aZ0-" * 5 + "_9"


def tokens(text: str) -> int:
    """At most how many tokens a text is: three digits, four letters, or a sign each, as if no longer were known."""
    return max(len(re.findall(r"\d{1,3}|[^\W\d_]{1,4}|[^\w\s]|_", text)), len(text.encode()) // 3)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


def ask(http: httpx.Client, verb: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
    answer = http.post(f"/v1/tools/{verb}", json=arguments)
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


def large_world(axis_count: int) -> World:
    """A world with more of everything than can be shown."""
    axes = tuple(Axis(name=LONG, unit=LONG, low=-1.23456789, high=1.23456789, mean=0, std=1) for _ in range(axis_count))
    readouts = tuple(Readout(name=LONG, unit=LONG, low=-1e9 / 7, high=1e9 / 7, error=1 / 7) for _ in range(READOUTS))
    return make_world().model_copy(
        update={
            "description": LONG * 10,
            "action": make_world().action.model_copy(update={"axes": axes, "action_block": BLOCK}),
            "readouts": readouts,
            "horizon_limit": STEPS,
            "observation": ObservationSpec(native_height=64, native_width=64, proprioception=axes),
        }
    )


def numbers(*shape: int) -> Any:
    """Numbers that take long to write."""
    return (np.random.default_rng(0).normal(size=shape) * 1e-5).astype(np.float32)


def largest(axis_count: int) -> dict[str, Any]:
    """The largest answer of each tool, whatever the world and the request."""
    world = large_world(axis_count)
    p_values, radii = (1 / 7,), {"radius": numbers(1, STEPS), "readout_radius": numbers(1, STEPS, READOUTS)}
    rolled = m.RolloutResponse(
        disagreement=numbers(1, STEPS),
        readouts=numbers(1, STEPS, READOUTS),
        calibrated=True,
        ood_p_value=p_values,
        trusted_horizon=(7,),
        **radii,
    )
    planned = m.PlanResponse(
        status="refused",
        reasons=tuple(REASONS),
        actions=numbers(STEPS * BLOCK, axis_count),
        cost=1 / 7,
        cost_per_iteration=(1 / 7,) * 1000,
        iterations=1000,
        stop_reason="iterations",
        readouts=numbers(STEPS, READOUTS),
        disagreement=numbers(STEPS),
        goal_distance=numbers(STEPS),
        seed=2**53 - 1,
        latents_id=HANDLE,
        timing=m.PlanTiming(encode_ms=1, cost_ms=1, search_ms=1, total_ms=1),
        digests=world.digests,
        decision_id=DECISION,
        constraint_probability=(1 / 7, 1 / 7),
        trusted_horizon=7,
        execute_steps=BLOCK,
        **{name: radius[0] for name, radius in radii.items()},
    )
    encoded = m.EncodeResponse(
        latents_id=HANDLE, expires_in_s=600, readouts=numbers(64, READOUTS), calibrated=True, ood_p_value=(1 / 7,) * 64
    )
    outcome = m.ObserveResponse(
        latents_id=HANDLE,
        expires_in_s=600,
        readouts=numbers(READOUTS),
        calibrated=True,
        changed=True,
        covered=False,
        observed=10**9,
        **dict.fromkeys(
            ("error", "radius", "expected_error", "surprise_p_value", "ood_p_value", "coverage", "evidence"), 1e9 / 7
        ),
    )
    worlds = {f"{LONG[:60]}{number}": world.model_copy(update={"name": LONG[:63]}) for number in range(100)}
    return {
        "worlds": cards.listed(worlds),
        "world": cards.described(world),
        "encode": telling.encode(world, encoded, full=True),
        "rollout": telling.rollout(world, rolled, full=True),
        "plan": telling.plan(world, planned, full=True, approved=True),
        "observe": telling.observe(world, outcome, full=True),
    }


@pytest.mark.parametrize("axis_count", [1, 7, 64, 300])
def test_no_answer_exceeds_its_tokens(axis_count: int) -> None:
    """The largest answers to the largest requests of the largest worlds are short, and say what is left out."""
    for verb, answer in largest(axis_count).items():
        text = answer.model_dump_json(exclude_none=True)
        assert tokens(text) <= MAX_TOKENS, (verb, tokens(text))
        assert answer.left_out, verb
        tool = TOOLS["wmserve_worlds" if verb == "world" else f"wmserve_{verb}"]
        jsonschema.validate(json.loads(text), plain(tool.answer, "serialization"))


@pytest.mark.parametrize("strictly", [False, True])
def test_examples_work_as_they_stand(http: httpx.Client, strictly: bool) -> None:
    """Each example of both documents fits its schema and is answered, as the document says."""
    for path, operations in tools_document(strictly)["paths"].items():
        operation = operations["post"]
        content = operation["requestBody"]["content"]["application/json"]
        jsonschema.validate(content["example"], content["schema"])
        answer = http.post(path, json=content["example"])
        assert answer.status_code == 200, answer.text
        jsonschema.validate(answer.json(), operation["responses"]["200"]["content"]["application/json"]["schema"])


def test_documents_are_served(http: httpx.Client) -> None:
    """What is served is what was checked."""
    assert http.get("/openapi.json").json() == tools_document(strictly=False)
    assert http.get("/openapi.strict.json").json() == tools_document(strictly=True)


def test_full_says_more_than_concise(http: httpx.Client) -> None:
    """Concise: the outcome; full: every step too, and all actions of a plan."""
    start = {"world": "two_room", "images": [EXAMPLE_IMAGE]}
    goal = {"goal_readouts": [{"readout": "agent_y", "value": 60}], "seed": 0}
    (_, brief), (_, full) = (ask(http, "plan", **start, **goal, detail=detail) for detail in ("concise", "full"))
    assert len(brief["actions"]) == brief["execute_steps"] == 5
    assert "steps" not in brief
    assert full["actions"][:5] == brief["actions"]
    assert (len(full["actions"]), len(full["steps"])) == (25, 5)
    assert "Execute 5 environment steps" in brief["summary"]


def test_held_rows_are_the_rows_written_out(http: httpx.Client) -> None:
    """A row held for five steps predicts what five equal rows do."""
    start = {"world": "two_room", "images": [EXAMPLE_IMAGE]}
    _, held = ask(http, "rollout", **start, actions=[[1, 0], [0, -1]], hold_steps=5)
    _, written = ask(http, "rollout", **start, actions=[[1, 0]] * 5 + [[0, -1]] * 5)
    assert held == written
    assert held["model_steps"] == 2


def test_refused_plan_has_no_actions(http: httpx.Client) -> None:
    """A plan that breaks keep_in is refused, in words, and its actions are withheld."""
    status, plan = ask(
        http,
        "plan",
        world="two_room",
        images=[EXAMPLE_IMAGE],
        goal_readouts=[{"readout": "agent_x", "value": 60}],
        keep_in=[{"readout": "agent_x", "low": 10, "high": 20}],
        detail="full",
    )
    assert (status, plan["status"]) == (200, "refused")
    assert "actions" not in plan
    assert REASONS["constraint"] in plan["reasons"]
    assert plan["summary"].startswith("Refused")


START = {"world": "two_room", "images": [EXAMPLE_IMAGE]}


@pytest.mark.parametrize(
    ("verb", "arguments", "status", "field"),
    [
        ("worlds", {"world": "nowhere"}, 404, "world"),
        ("encode", {"world": "two_room"}, 400, "images"),
        ("encode", {"world": "two_room", "images": ["bm8gaW1hZ2U="]}, 400, "images"),
        ("encode", {**START, "proprioception": [1]}, 400, "proprioception"),
        ("encode", {**START, "images": "x"}, 400, "images"),
        ("encode", {**START, "size": 1}, 400, "size"),
        ("rollout", {**START, "actions": [[1]] * 5}, 400, "actions"),
        ("rollout", {**START, "actions": [[1, 0], [1]]}, 400, "actions"),
        ("rollout", {**START, "actions": [["1", "0"]]}, 400, "actions.0.0"),
        ("rollout", {**START, "actions": [[1, 0]] * 1000, "hold_steps": 1000}, 400, None),
        ("rollout", {"world": "two_room", "latents_id": HANDLE, "actions": [[1, 0]]}, 400, "actions"),
        ("rollout", {"world": "two_room", "latents_id": HANDLE, "actions": [[1, 0]] * 5}, 404, "latents_id"),
        ("plan", START, 400, "goal_latents_id"),
        ("plan", {**START, "goal_latents_id": HANDLE}, 404, "goal_latents_id"),
        ("plan", {**START, "goal_readouts": [{"readout": "mood", "value": 1}]}, 400, "goal_readouts"),
        ("observe", {**START, "decision_id": DECISION}, 404, "decision_id"),
        ("observe", {**START, "start_images": ["AAAA"], "actions": [[0, 0]] * 5}, 400, "start_images"),
    ],
)
def test_errors_name_what_was_asked(
    http: httpx.Client, verb: str, arguments: dict[str, Any], status: int, field: str | None
) -> None:
    """A wrong argument is a problem that names the tool's own field."""
    got, problem = ask(http, verb, **arguments)
    assert got == status, problem
    assert problem.get("field") == field


def test_other_bodies_and_methods_are_refused(http: httpx.Client) -> None:
    """Tools speak JSON, and are asked by POST."""
    assert http.post("/v1/tools/worlds", content=b"", headers={"content-type": "text/plain"}).status_code == 415
    assert http.post("/v1/tools/worlds", content=b"[1]").status_code == 400
    assert http.get("/v1/tools/worlds").status_code == 405
    assert http.post("/v1/tools/other", json={}).status_code == 404


def test_tools_are_counted(http: httpx.Client) -> None:
    """Calls of tools go through the same metrics, under a transport of their own."""
    ask(http, "worlds")
    assert 'transport="tool",verb="worlds"' in http.get("/metrics").text
