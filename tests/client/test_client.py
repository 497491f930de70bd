"""The Python client, sync and async, against a real server."""

import asyncio
import concurrent.futures
import dataclasses
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
import wmserve_client as wm
from numpy.typing import NDArray
from wmserve.seeds import of_call

from tests.conftest import ROOT, Server, free_port

WORLD = "two_room"
START, GOAL = (ROOT / "docs" / f"{name}.png" for name in ("start", "goal"))
QUICK = wm.PlannerOptions(candidate_count=32, iterations=2, elite_count=8, seed=1)


@pytest.fixture
def client(server: Server) -> Iterator[wm.Client]:
    with wm.Client(server.grpc) as opened:
        yield opened


@pytest.fixture
async def async_client(server: Server) -> AsyncIterator[wm.AsyncClient]:
    async with wm.AsyncClient(server.grpc) as opened:
        yield opened


def pixels(path: object) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))  # type: ignore[arg-type]


def test_worlds(client: wm.Client) -> None:
    """Worlds come with their contract."""
    world = client.world(WORLD)
    assert WORLD in [listed.name for listed in client.worlds()]
    assert [axis.low for axis in world.action.axes] == [-1.0, -1.0]
    assert world.readouts[0].name == "agent_x"


def test_encode_by_file_and_by_array(client: wm.Client) -> None:
    """A PNG file and its pixels are one observation."""
    by_file = client.encode(WORLD, START.read_bytes(), return_latents=True)
    by_array = client.encode(WORLD, pixels(START), return_latents=True)
    assert by_file.latents is not None
    assert by_array.latents is not None
    np.testing.assert_array_equal(by_file.latents, by_array.latents)
    assert by_file.latents.dtype == np.float32
    assert client.encode(WORLD, START.read_bytes()).latents is None


def test_every_way_to_say_a_context(client: wm.Client) -> None:
    """File, pixels, answer, handle and latents lead to the same rollout."""
    encoded = client.encode(WORLD, START.read_bytes(), return_latents=True)
    assert encoded.latents is not None
    actions = np.full((2, 10, 2), 0.5)
    contexts = (START.read_bytes(), pixels(START), encoded, encoded.latents_id, encoded.latents, encoded.latents[0])
    rollouts = [client.rollout(WORLD, context, actions, return_latents=True) for context in contexts]
    for rollout in rollouts:
        assert rollout.disagreement.shape == (2, 2)
        np.testing.assert_array_equal(rollout.readouts, rollouts[0].readouts)


def test_every_way_to_say_a_goal(client: wm.Client) -> None:
    """A goal may be a picture, a handle, latents or named values."""
    start, goal = client.encode(WORLD, START.read_bytes()), client.encode(WORLD, GOAL.read_bytes(), return_latents=True)
    assert goal.latents is not None
    plans = [client.plan(WORLD, start, target, planner=QUICK) for target in (GOAL.read_bytes(), goal, goal.latents[0])]
    assert len({plan.actions.tobytes() for plan in plans}) == 1
    assert plans[1].goal_latents_id == goal.latents_id
    named = client.plan(WORLD, start, {"agent_x": 100.0}, planner=QUICK)
    assert named.goal_latents_id == ""


def test_plan_options_limits_and_deadline(client: wm.Client) -> None:
    """What is asked for is what is done."""
    limits = wm.ActionLimits(low=[-0.5, -0.5], high=[0.5, 0.5], max_rate=[0.2, 0.2], previous_action=[0.0, 0.0])
    plan = client.plan(WORLD, START.read_bytes(), GOAL.read_bytes(), planner=QUICK, limits=limits)
    assert plan.iterations == len(plan.cost_per_iteration) == 2
    assert plan.stop_reason == "iterations"
    assert np.abs(plan.actions).max() <= 0.5
    again = wm.PlannerOptions(candidate_count=32, iterations=1, elite_count=8, seed=9, warm_start=plan.actions)
    assert (
        client.plan(WORLD, plan.latents_id, plan.goal_latents_id, planner=again, limits=limits).cost <= plan.cost + 1e-5
    )
    long = wm.PlannerOptions(candidate_count=500, iterations=40, horizon=10, elite_count=50)
    assert (
        client.plan(WORLD, plan.latents_id, plan.goal_latents_id, planner=long, deadline_ms=150).stop_reason
        == "deadline"
    )


def test_errors_are_one_small_tree(client: wm.Client) -> None:
    """Each refusal is the exception of its kind, with reason and field."""
    with pytest.raises(wm.NotFound) as unknown:
        client.encode("mars", START.read_bytes())
    assert (unknown.value.reason, unknown.value.field) == ("world_not_found", "world")
    with pytest.raises(wm.NotFound, match="latents_id"):
        client.rollout(WORLD, "lat_" + "x" * 22, np.zeros((1, 5, 2)))
    with pytest.raises(wm.InvalidRequest, match="environment steps") as wrong:
        client.rollout(WORLD, START.read_bytes(), np.zeros((1, 7, 2)))
    assert wrong.value.field == "actions"
    with pytest.raises(wm.InvalidRequest) as large:
        client.encode(WORLD, np.zeros((2, 3000, 3), np.uint8))
    assert large.value.reason == "too_large"
    long = wm.PlannerOptions(candidate_count=500, iterations=40, horizon=10, elite_count=50)
    with pytest.raises(wm.DeadlineExceeded):
        client.plan(WORLD, START.read_bytes(), GOAL.read_bytes(), planner=long, timeout_s=0.2)
    assert issubclass(wm.DeadlineExceeded, wm.WmserveError)


def test_nobody_there_is_unavailable() -> None:
    """A server that does not answer is Unavailable, after gRPC's own retries and within the deadline."""
    with wm.Client(f"localhost:{free_port()}", timeout_s=5) as client, pytest.raises(wm.Unavailable):
        client.worlds()


async def test_async_client_does_the_same(client: wm.Client, async_client: wm.AsyncClient) -> None:
    """Both clients give the same answers, and the async one asks many things at once."""
    start = await async_client.encode(WORLD, START.read_bytes(), return_latents=True)
    assert WORLD in [world.name for world in await async_client.worlds()]
    assert (await async_client.world(WORLD)).name == WORLD
    rollout = await async_client.rollout(WORLD, start, np.zeros((1, 5, 2)))
    assert rollout.readouts.shape[:2] == (1, 1)
    plans = await asyncio.gather(*(async_client.plan(WORLD, start, GOAL.read_bytes(), planner=QUICK) for _ in range(5)))
    alone = client.plan(WORLD, start, GOAL.read_bytes(), planner=QUICK)
    assert {plan.actions.tobytes() for plan in plans} == {alone.actions.tobytes()}
    with pytest.raises(wm.NotFound):
        await async_client.encode("mars", START.read_bytes())


def test_threads_share_a_client(client: wm.Client) -> None:
    """One client serves many threads."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        encoded = list(pool.map(lambda _: client.encode(WORLD, START.read_bytes()), range(16)))
    assert len({answer.latents_id for answer in encoded}) == 16


def test_planning_policy_closes_the_loop(client: wm.Client) -> None:
    """The policy plans, executes its part of the plan, and starts the next search from the rest."""
    world = client.world(WORLD)
    policy = wm.PlanningPolicy(client, WORLD, planner=QUICK)
    with pytest.raises(RuntimeError, match="reset"):
        policy.act(pixels(START))
    policy.reset(pixels(GOAL))
    executed = world.planner.receding_horizon * world.action.action_block
    plans = []
    for _ in range(2 * executed):
        action = policy.act(pixels(START))
        assert action.shape == (2,)
        plans.append(policy.last_plan)
    assert plans[0] is plans[executed - 1]
    assert plans[0] is not plans[executed]


def test_a_policy_goes_for_another_goal_at_once(client: wm.Client) -> None:
    """`aim`: the same goal changes nothing, another drops what was planned for the last, also in the same array."""
    policy, goal = wm.PlanningPolicy(client, WORLD, planner=QUICK, safe_action=(0, 0)), pixels(GOAL).copy()
    plans = []
    for _ in range(2):
        policy.aim(goal)
        policy.act(pixels(START))
        plans.append(policy.last_plan)
    assert plans[0] is plans[1]
    goal[:] = pixels(START)
    policy.aim(goal)
    policy.act(pixels(START))
    assert policy.last_plan is not plans[1]
    policy.aim({"agent_x": 60.0})
    policy.act(pixels(START))
    last = policy.last_plan
    policy.aim({"agent_x": 60.0})
    policy.act(pixels(START))
    assert policy.last_plan is last


def test_a_chunk_replaces_what_was_still_to_be_done(client: wm.Client) -> None:
    """After `chunk`, `act` does not go on with an older plan, and the next search starts where the caller stopped."""
    policy = wm.PlanningPolicy(client, WORLD, planner=QUICK, safe_action=(0, 0), receding_horizon=2)
    policy.reset(pixels(GOAL))
    policy.act(pixels(START))
    assert len(policy.chunk(pixels(START))) == 10
    newest = policy.last_plan
    policy.executed(5)
    policy.act(pixels(START))
    assert policy.last_plan is not newest
    by_hand = dataclasses.replace(QUICK, warm_start=newest.actions[5:], seed=of_call(QUICK.seed, 2))  # its third call
    np.testing.assert_array_equal(
        policy.last_plan.actions, client.plan(WORLD, pixels(START), newest.goal_latents_id, planner=by_hand).actions
    )


def test_a_policy_outlives_its_goals_handle(client: wm.Client) -> None:
    """A server that was started again, or needed the room, knows the handle no longer: the goal itself is sent."""
    policy = wm.PlanningPolicy(client, WORLD, planner=QUICK, safe_action=(0, 0))
    policy.reset(pixels(GOAL))
    policy.chunk(pixels(START))
    policy._goal_id = "lat_" + "0" * 22
    assert len(policy.chunk(pixels(START))) == 5
    assert policy.last_plan.status == "ok"


def test_limits_on_rates_hold_from_one_plan_to_the_next(client: wm.Client) -> None:
    """The first action of a plan changes no faster from the last one executed; an episode begins without."""
    limits = wm.ActionLimits(max_rate=(0.05, 0.05))
    policy = wm.PlanningPolicy(client, WORLD, planner=QUICK, limits=limits, safe_action=(0, 0))
    for goal in (GOAL, START):
        policy.reset(pixels(goal))
        actions = np.stack([policy.act(pixels(START)) for _ in range(15)])
        assert np.abs(np.diff(actions, axis=0)).max() <= 0.05 + 1e-6
