"""Loops over the `Control` stream, against a real server: the world moves as it is told to, or does not."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import wmserve_client as wm
from wmserve import seeds
from wmserve.v1 import world_model_pb2 as pb
from wmserve.v1 import world_model_pb2_grpc as pb_grpc
from wmserve_export.reference import environment
from wmserve_server.control import continued, last_frame
from wmserve_server.messages import ActionLimits, Observations, PlanRequest

from loadtest.execute_plans import path, picture
from tests.conftest import Server

WORLD, DOOR = "two_room", 112
START, GOAL = np.float32([[60, 60]]), np.float32([[170, 160]])
BLOCK = 5
SEEDED = wm.PlannerOptions(seed=3)
"""One healthy plan in a hundred is refused: not these."""


@pytest.fixture
def client(server: Server) -> Iterator[wm.Client]:
    with wm.Client(server.grpc) as opened:
        yield opened


def moved(place: np.ndarray, plan: wm.Plan) -> np.ndarray:
    """Where the first model step of a plan leads."""
    assert plan.actions is not None
    return path(place, plan.actions[:BLOCK], DOOR)[-1:]


def test_a_loop_gets_from_room_to_room_and_learns_at_each_step(client: wm.Client) -> None:
    """Nothing but frames goes in; each outcome is of the step before, and none is a surprise."""
    place, outcomes = START, []
    with client.control(WORLD, picture(GOAL, DOOR), planner=SEEDED) as loop:
        for _ in range(15):
            turn = loop.step(picture(place, DOOR))
            assert turn.plan.status == "ok"
            outcomes.append(turn.outcome)
            place = moved(place, turn.plan)
            if np.linalg.norm(place - GOAL) < environment.SUCCESS_RADIUS:
                break
    assert np.linalg.norm(place - GOAL) < environment.SUCCESS_RADIUS
    assert outcomes[0] is None
    assert [outcome.observed for outcome in outcomes[1:]] == list(range(1, len(outcomes)))
    assert not outcomes[-1].changed


def test_a_loop_goes_on_with_another_episode(client: wm.Client) -> None:
    """Where the robot was put somewhere else, that is not what came of the last plan, and no surprise."""
    with client.control(WORLD, picture(GOAL, DOOR), planner=SEEDED, session="episodes") as loop:
        first = loop.step(picture(START, DOOR)).plan
        loop.begin(picture(START, DOOR))
        elsewhere = loop.step(picture(GOAL, DOOR), executed_steps=BLOCK)
        assert elsewhere.outcome is None
        after = loop.step(picture(moved(GOAL, elsewhere.plan), DOOR))
    assert after.outcome is not None
    assert after.outcome.observed == 1
    alone = client.plan(WORLD, picture(GOAL, DOOR), picture(START, DOOR), planner=SEEDED)
    np.testing.assert_array_equal(elsewhere.plan.actions, alone.actions)
    assert first.status == "ok"


def test_a_loop_starts_from_the_last_plan(client: wm.Client) -> None:
    """The same as asking by hand, to the bit: observe, then plan with what is left of the last plan."""
    options = SEEDED
    with client.control(WORLD, picture(GOAL, DOOR), planner=options) as loop:
        first = loop.step(picture(START, DOOR)).plan
        second = loop.step(picture(moved(START, first), DOOR)).plan
    by_hand = client.plan(WORLD, picture(START, DOOR), picture(GOAL, DOOR), planner=options)
    assert by_hand.actions is not None
    warm = wm.PlannerOptions(seed=seeds.of_call(3, 1), warm_start=by_hand.actions[BLOCK:])
    again = client.plan(WORLD, picture(moved(START, by_hand), DOOR), picture(GOAL, DOOR), planner=warm)
    np.testing.assert_array_equal(first.actions, by_hand.actions)
    np.testing.assert_array_equal(second.actions, again.actions)
    cold = client.plan(WORLD, picture(moved(START, first), DOOR), picture(GOAL, DOOR), planner=options)
    assert not np.array_equal(cold.actions, again.actions)  # so that the above can fail


def test_a_world_that_does_not_obey_is_found_out_and_gets_no_plans(client: wm.Client) -> None:
    """An agent that is held where it is: surprise after surprise, until plans are refused."""
    plans: list[wm.Plan] = []
    with client.control(WORLD, picture(GOAL, DOOR), planner=SEEDED) as loop:
        while len(plans) < 12 and (not plans or "changed" not in plans[-1].reasons):
            plans.append(loop.step(picture(START, DOOR)).plan)
    assert "changed" in plans[-1].reasons
    assert len(plans) > 2, "one surprise is none"
    assert plans[-1].actions is None


def test_a_refused_plan_is_not_made_again(client: wm.Client) -> None:
    """Each turn searches with a seed of its own; all follow from the caller's, and a goal said again begins nothing."""
    impossible = [wm.Constraint("keep_in", {"agent_x": (0.0, 1.0)})]
    goal, frame = {"agent_x": 170.0}, picture(START, DOOR)
    found = []
    for planner in (SEEDED, SEEDED, None):
        with client.control(WORLD, goal, planner=planner, constraints=impossible) as loop:
            plans = [loop.step(frame).plan]
            loop.set_goal(goal)
            plans += [loop.step(frame).plan for _ in range(2)]
        assert {plan.status for plan in plans} == {"refused"}
        found.append([plan.seed for plan in plans])
    assert found[0] == found[1] == [seeds.of_call(3, number) for number in range(3)]
    assert found[0][0] == 3
    assert len(set(found[0] + found[2])) == 6


def test_what_was_not_executed_is_no_outcome(client: wm.Client) -> None:
    """None of it, or less than usual, or something that is no multiple of a model step."""
    frame = picture(START, DOOR)
    with client.control(WORLD, {"agent_x": 170.0}, planner=SEEDED) as loop:
        loop.step(frame)
        assert loop.step(frame, executed_steps=0).outcome is None
        loop.set_goal({"agent_x": 50.0})
        assert loop.step(frame, executed_steps=0).outcome is None
        with pytest.raises(wm.InvalidRequest) as refused:
            loop.step(frame, executed_steps=3)
    assert refused.value.field == "executed_steps"


def test_errors_name_what_is_wrong(client: wm.Client, server: Server) -> None:
    """An unknown world, a first turn without a plan, latents where an outcome is to be seen."""
    with client.control("mars", {"agent_x": 1.0}) as loop, pytest.raises(wm.NotFound):
        loop.step(picture(START, DOOR))
    latents = client.encode(WORLD, picture(START, DOOR))
    with client.control(WORLD, {"agent_x": 170.0}, planner=SEEDED) as loop:
        loop.step(latents)
        with pytest.raises(wm.InvalidRequest) as refused:
            loop.step(latents)
    assert refused.value.field == "seen"
    with grpc.insecure_channel(server.grpc) as channel:
        stub = pb_grpc.WorldModelServiceStub(channel)  # type: ignore[no-untyped-call]
        seen = pb.ControlRequest(seen=pb.Context(latents_id=latents.latents_id))
        with pytest.raises(grpc.RpcError) as error:
            next(stub.Control(iter([seen])))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


async def test_the_asynchronous_loop_is_the_same(server: Server) -> None:
    """Turns, outcomes, and errors with their field."""
    async with wm.AsyncClient(server.grpc) as client:
        async with client.control(WORLD, picture(GOAL, DOOR), planner=SEEDED) as loop:
            first = await loop.step(picture(START, DOOR))
            second = await loop.step(picture(moved(START, first.plan), DOOR))
            assert second.outcome is not None
            assert second.outcome.covered is not None
            with pytest.raises(wm.InvalidRequest) as refused:
                await loop.step(picture(START, DOOR), executed_steps=3)
            assert refused.value.field == "executed_steps"
        async with client.control(WORLD, picture(GOAL, DOOR), timeout_s=0.0005) as loop:
            with pytest.raises(wm.DeadlineExceeded):
                await loop.step(picture(START, DOOR))


def test_a_step_has_a_deadline(client: wm.Client) -> None:
    """A loop that gets no answer in time ends."""
    with client.control(WORLD, picture(GOAL, DOOR), timeout_s=0.0005) as loop, pytest.raises(wm.DeadlineExceeded):
        loop.step(picture(START, DOOR))


def test_limits_on_rates_count_from_what_was_executed_last() -> None:
    """The caller said them once; the action before is known since."""
    actions = np.arange(20, dtype=np.float32).reshape(10, 2)
    request = PlanRequest.model_validate(
        {
            "world": WORLD,
            "context": {"latents": np.zeros(32, np.float32)},
            "goal": {"readouts": {"agent_x": 1.0}},
            "limits": {"max_rate": [0.1, 0.1], "previous_action": [0.0, 0.0]},
        }
    )
    changed = continued(request, actions, 4, 1)
    assert isinstance(changed["limits"], ActionLimits)
    np.testing.assert_array_equal(changed["limits"].previous_action, [6, 7])
    np.testing.assert_array_equal(changed["planner"].warm_start, actions[4:])  # type: ignore[attr-defined]
    assert "limits" not in continued(request, actions, 0, 1)


@pytest.mark.parametrize(("actions", "executed"), [(np.zeros((10, 2), np.float32), 10), (None, 0)])
def test_a_search_with_nothing_to_go_on_from_starts_afresh(actions: np.ndarray | None, executed: int) -> None:
    """A plan that is used up, or was refused; not from where the caller had first said, either."""
    request = PlanRequest.model_validate(
        {
            "world": WORLD,
            "context": {"latents": np.zeros(32, np.float32)},
            "goal": {"readouts": {"agent_x": 1.0}},
            "planner": {"warm_start": np.ones((5, 2), np.float32), "seed": 4},
        }
    )
    planner = continued(request, actions, executed, 2)["planner"]
    assert planner.warm_start is None  # type: ignore[attr-defined]
    assert planner.seed == seeds.of_call(4, 2)  # type: ignore[attr-defined]


def test_the_last_frame_is_the_one_that_is_seen() -> None:
    """Of files, of an array with time and of one without."""
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    assert last_frame(Observations(images=(b"a", b"b"))).images == (b"b",)
    np.testing.assert_array_equal(last_frame(Observations(array=frames)).array, frames[1:])
    np.testing.assert_array_equal(last_frame(Observations(array=frames[0])).array, frames[0])
