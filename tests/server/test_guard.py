"""Plans are judged by what their search did not ask, and refused where the judgement says so."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from wmserve.world import QUANTILE_LEVELS, Executed, Level, Planned, World
from wmserve_client import Acted, Client, Guard, InvalidRequest, Plan, PlanningPolicy, PlanRefusedError
from wmserve_export.reference import environment
from wmserve_server import trust
from wmserve_server.planner import Best, judged
from wmserve_server.planner.goal import GoalCost, ReadoutGoal

from loadtest.serving import Server
from tests.server.test_trust import WORLD, calibrated

DOOR = 80


def frame(x: float, y: float) -> NDArray[np.uint8]:
    """A picture of the agent there, px."""
    return environment.render(np.array([[x, y]], np.float32), DOOR)[0].numpy()  # type: ignore[no-any-return]


def planned() -> World:
    """The world of test_trust, calibrated for plans of 3 model steps: scores of 0 to 10, 99 plans."""
    world, ramp = calibrated(), tuple(np.linspace(0, 10, len(QUANTILE_LEVELS)))
    level = Level(level=0.9, radius=(2.0,) * 3, joint_radius=(3.0,) * 3, readout_radius=(1.0, 2.0) * 3)
    found = Planned(plans=99, levels=(level,), ood=ramp, disagreement=ramp, distance=ramp, held_out_gap=ramp)
    assert world.calibration is not None
    calibration = world.calibration.model_copy(update={"planned": found})
    return world.model_copy(update={"calibration": calibration})


def executed(**changes: Any) -> World:
    """The same with what is usual by steps executed: a radius of up to 4 tolerances; of logs, nothing."""
    ramp = tuple(np.linspace(0, 10, len(QUANTILE_LEVELS)))
    world, radius = planned(), tuple(np.linspace(0, 4, len(QUANTILE_LEVELS)))
    assert world.calibration is not None
    assert world.calibration.planned is not None
    found = Executed(came_true=(1.0,) * 3, disagreement=3 * ramp, distance=3 * ramp, radius=3 * radius)
    plans = world.calibration.planned.model_copy(update={"executed": found.model_copy(update=changes)})
    return world.model_copy(update={"calibration": world.calibration.model_copy(update={"planned": plans})})


def judge(
    error: ArrayLike = 0.1,
    spread: ArrayLike = 0.1,
    far: ArrayLike = 0.1,
    gap: float | None = 1.0,
    strange: float | None = 5.0,
    world: World | None = None,
    level: float = 0.95,
    tolerance: float | None = None,
    execute: int | None = None,
) -> trust.Judgement:
    """Judge a plan of 3 steps, each as bad as the last or as is said of it."""
    world = world or planned()
    asked = trust.guarded(world, None, tolerance, level, 3, execute)
    assert asked is not None
    expected, disagreement, distance = (np.full(3, value, np.float32) for value in (error, spread, far))
    return trust.of_plan(world, asked, expected, disagreement, distance, gap, {"observation": strange})


@pytest.mark.parametrize(
    ("unusual", "reasons"),
    [
        ({}, ()),
        ({"error": 0.51}, ("radius",)),
        ({"spread": 0.99}, ("disagreement",)),
        ({"far": 1.98}, ("unfamiliar",)),
        ({"gap": 9.9}, ("held_out_gap",)),
        ({"strange": 9.7}, ("observation",)),
        ({"gap": None, "strange": None}, ()),
        ({"gap": 99.0, "spread": 99.0, "error": 99.0}, ("disagreement", "held_out_gap", "radius")),
    ],
)
def test_each_check_refuses_what_is_unusual_and_nothing_else(
    unusual: dict[str, float], reasons: tuple[str, ...]
) -> None:
    """Beyond 95 % of the calibration's plans, or over the tolerance of 1."""
    assert judge(**unusual).reasons == reasons


@pytest.mark.parametrize(
    ("error", "tolerance", "execute", "refused"),
    [
        (1.8, None, None, False),  # 3.6 tolerances: usual of plans of this world
        (1.99, None, None, True),
        (0.6, 1.0, None, True),  # who names a tolerance has it held
        ([0.1, 0.1, 9.0], None, 3, True),
        ([0.1, 0.1, 9.0], None, 2, False),
        ([0.1, 0.1, 9.0], 1.0, 2, False),
        ([0.1, 0.6, 0.6], 1.0, 2, True),
    ],
)
def test_the_radius_of_what_is_executed_is_held_against_what_is_usual(
    error: ArrayLike, tolerance: float | None, execute: int | None, refused: bool
) -> None:
    """At the refusal level, as every reason; or against the tolerance that a caller names."""
    found = judge(error, world=executed(), tolerance=tolerance, execute=execute)
    assert found.reasons == (("radius",) if refused else ())


def test_a_tolerance_that_an_operator_named_is_a_bound() -> None:
    """Whatever is usual."""
    assert judge(0.6, world=executed(radius=None)).reasons == ("radius",)


@pytest.mark.parametrize(("execute", "reasons"), [(None, ("unfamiliar", "disagreement")), (2, ()), (3, (...,))])
def test_only_what_is_executed_is_judged_where_a_caller_says_so(execute: int | None, reasons: tuple[Any, ...]) -> None:
    """Else the whole plan."""
    last = [0.1, 0.1, 9.0]
    found = judge(spread=last, far=last, world=executed(), execute=execute).reasons
    assert found == (("unfamiliar", "disagreement") if reasons == (...,) else reasons)


@pytest.mark.parametrize(("held", "refused"), [((), False), (("unfamiliar",), True)])
def test_plans_are_held_against_logs_where_leaving_those_went_astray(held: tuple[str, ...], refused: bool) -> None:
    """Here plans went twice as far as logs, and came true."""
    ramp = tuple(np.linspace(0, 20, len(QUANTILE_LEVELS)))
    found = judge(far=2.1, world=executed(distance=3 * ramp, beyond_logs=held))
    assert (found.reasons == ("unfamiliar",)) == refused
    assert (found.ood_p_value < 0.05) == refused


def test_few_plans_refuse_only_what_is_far_beyond_all_of_them() -> None:
    """Else six checks would refuse six in a hundred; who asks for more refusals than there are plans gets them."""
    few = executed(margin=1.5)
    assert judge(gap=12.0, world=few, level=0.999).reasons == ()
    assert judge(gap=12.6, world=few, level=0.999).reasons == ("held_out_gap",)
    assert judge(gap=9.9, world=few, level=0.95).reasons == ("held_out_gap",)
    asked = trust.guarded(few, None, None, None, 3)
    assert asked is not None
    assert asked.known_level == pytest.approx(0.99)


def test_radii_of_plans_are_those_that_were_calibrated_on_plans() -> None:
    """Not those of logged trajectories, which are narrower."""
    found = judge(error=0.1)
    np.testing.assert_allclose(found.radius, [0.2] * 3, rtol=1e-6)
    np.testing.assert_allclose(found.joint_radius, [0.3] * 3, rtol=1e-6)
    np.testing.assert_allclose(found.readout_radius, [[0.1, 0.2]] * 3, rtol=1e-6)
    assert found.trusted_horizon == 3


def test_what_exceeds_all_of_the_calibration_is_refused_at_any_level() -> None:
    """A hundred plans cannot tell how rare one in a million is; the largest of them passes."""
    world = planned()
    asked = trust.guarded(world, None, None, 1 - 1e-6, 3)
    assert asked is not None
    low = np.full(3, 0.1, np.float32)
    assert trust.of_plan(world, asked, low, low, low, 10.1, {}).reasons == ("held_out_gap",)
    assert trust.of_plan(world, asked, low, low, low, 9.9, {}).reasons == ()


def test_longer_plans_than_were_executed_are_not_judged() -> None:
    """Nobody has measured them; who asks for a level is told so."""
    assert trust.guarded(planned(), None, None, None, 4) is None
    with pytest.raises(Exception, match="4 model steps"):
        trust.guarded(planned(), 0.9, None, None, 4)


@pytest.mark.parametrize("readouts", [None, ReadoutGoal((0,), np.float32([1.0]), np.float32([2.0]))])
def test_the_gap_is_the_cost_that_held_out_members_find_on_top(readouts: ReadoutGoal | None) -> None:
    """By the goal's own measure; penalties are no part of it, and readouts are those of all members."""
    goal = GoalCost(1.0, 0.5, readouts, penalty=100.0)
    distance, held_out = np.float32([[3, 2]]), np.float32([[3, 4]])
    members = np.float32([[[[0], [1]], [[0], [1]], [[0], [3]]]])  # three members, two steps; the last is held out
    spread = np.float32([[0.5, 0.5]])
    scored = {"goal_distance": distance, "disagreement": spread, "readouts": members[:, :2]}
    _, details = goal(scored)
    best = Best(np.zeros((2, 1), np.float32), 0.0, {name: array[0] for name, array in details.items()})
    said = {"goal_distance": held_out, "disagreement": 2 * spread, "readouts": members}
    said |= {"error": np.float32([[7, 8]]), "distance": np.float32([[5, 6]])}
    found = judged(goal, best, said, search_members=2).details
    expected = 2 + 0.5 * 1 if readouts is None else 1 + 0.5 * 0.5
    assert found["held_out_gap"][0] == pytest.approx(expected)
    np.testing.assert_allclose(found["readouts"][:, 0], [0, 5 / 3], rtol=1e-6)
    np.testing.assert_allclose(found["disagreement"], [1, 1])
    np.testing.assert_allclose(found["error"], [7, 8])
    np.testing.assert_allclose(found["distance"], [5, 6])


def test_disagreement_costs_what_the_penalty_says() -> None:
    """Its mean over the plan, on top of the goal's cost."""
    scored = {"goal_distance": np.float32([[1, 1]]), "disagreement": np.float32([[1, 3]])}
    assert GoalCost(1.0, 0.0)(scored)[0][0] == 1
    assert GoalCost(1.0, 0.0, penalty=10.0)(scored)[0][0] == 21


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """A client of the reference world."""
    with Client(server.grpc) as connected:
        yield connected


def plan(
    client: Client,
    seen: NDArray[np.uint8] | str,
    guard: Guard | None = None,
    session: str = "",
    execute_steps: int | None = None,
) -> Plan:
    """Towards the upper end of the room."""
    return client.plan(WORLD, seen, frame(60, 60), guard=guard, session=session, execute_steps=execute_steps)


@pytest.mark.parametrize("wrong", [7, 30])
def test_steps_to_execute_are_whole_model_steps_of_the_plan(client: Client, wrong: int) -> None:
    """Observe, which comes after, knows no others."""
    with pytest.raises(InvalidRequest, match=f"multiple of the action block, 5, at most the plan's 25.*{wrong}"):
        plan(client, frame(60, 150), execute_steps=wrong)


def test_a_plan_says_how_much_of_it_was_judged_and_how_coarsely(client: Client, server: Server) -> None:
    """On both wires; what is then observed of it is its end, unless something else is said."""
    assert plan(client, frame(60, 150)).execute_steps == 5
    found = plan(client, frame(60, 150), execute_steps=15)
    assert found.execute_steps == 15
    assert found.refusal_level == 0.999
    assert found.p_value_resolution is not None
    assert 0 < found.p_value_resolution < 0.001
    assert found.actions is not None
    rolled = client.rollout(WORLD, found.latents_id, found.actions[:15], return_latents=True)
    assert rolled.latents is not None
    seen = client.encode(WORLD, frame(60, 150), return_latents=True)
    assert seen.latents is not None
    outcome = client.observe(WORLD, frame(60, 150), found)
    assert outcome.error == pytest.approx(np.linalg.norm(rolled.latents[0, -1] - seen.latents[0]), rel=1e-3)
    body = {"world": WORLD, "context": {"latents_id": found.latents_id}, "goal": {"readouts": {"agent_x": 60}}}
    answer = httpx.post(f"{server.http}/v1/plan", json={**body, "execute_steps": 10}).json()
    assert answer["execute_steps"] == 10
    assert answer["p_value_resolution"] == found.p_value_resolution


def test_a_plan_says_how_far_it_is_to_be_trusted(client: Client) -> None:
    """In its own world: all of it, with the gap, and what it rests on."""
    found = plan(client, frame(60, 150))
    assert (found.status, found.reasons, found.calibrated, found.level) == ("ok", (), True, 0.9)
    assert found.radius is not None
    assert found.joint_radius is not None
    assert found.readout_radius is not None
    assert (found.radius.shape, found.readout_radius.shape) == ((5,), (5, 3))
    assert (found.radius < found.joint_radius).all()
    assert found.trusted_horizon is not None
    assert found.trusted_horizon >= 1
    found_all = (found.ood_p_value, found.disagreement_p_value, found.held_out_gap_p_value)
    for p_value in (*found_all, found.observation_p_value, found.goal_p_value):
        assert p_value is not None
        assert 0.001 < p_value <= 1


def test_a_handle_remembers_what_its_frames_were_like(client: Client) -> None:
    """So a plan from a handle is judged as one from the frame is."""
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    for seen in (frame(60, 150), noise):
        direct = plan(client, seen)
        by_handle = plan(client, client.encode(WORLD, seen).latents_id)
        assert direct.observation_p_value == by_handle.observation_p_value
        assert ("observation" in direct.reasons) == ("observation" in by_handle.reasons)
    assert "observation" in by_handle.reasons


def test_a_refused_plan_has_no_actions_unless_they_are_asked_for(client: Client, server: Server) -> None:
    """Here the radius is over what the caller can use; on both wires."""
    strict = Guard(tolerance=1e-6)
    refused = plan(client, frame(60, 150), strict)
    assert (refused.status, refused.reasons, refused.actions) == ("refused", ("radius",), None)
    assert refused.trusted_horizon == 0
    anyway = plan(client, frame(60, 150), Guard(tolerance=1e-6, return_refused=True))
    assert anyway.status == "refused"
    assert anyway.actions is not None
    latents_id = client.encode(WORLD, frame(60, 150)).latents_id
    body = {"world": WORLD, "context": {"latents_id": latents_id}, "goal": {"readouts": {"agent_x": 60}}}
    answer = httpx.post(f"{server.http}/v1/plan", json={**body, "guard": {"tolerance": 1e-6}}).json()
    assert (answer["status"], answer["reasons"]) == ("refused", ["radius"])
    assert "actions" not in answer
    assert "held_out_gap_p_value" not in answer  # measured in readouts, it cannot be held against the calibration's
    text = httpx.get(f"{server.http}/metrics").text
    assert f'wmserve_plan_refusals_total{{reason="radius",world="{WORLD}"}}' in text
    assert f'wmserve_held_out_gap_p_value_count{{world="{WORLD}"}}' in text


def test_a_session_whose_world_has_changed_gets_no_plan(client: Client) -> None:
    """Until it is evident, and no other session."""
    stuck = Acted(client.encode(WORLD, frame(60, 150)), np.tile(np.float32([1, 0]), (5, 1)))
    assert "changed" not in plan(client, frame(60, 150), session="refused").reasons
    while not client.observe(WORLD, frame(60, 150), stuck, session="refused").changed:
        pass
    assert plan(client, frame(60, 150), session="refused").reasons == ("changed",)
    assert plan(client, frame(60, 150), session="another").status == "ok"


def test_a_level_that_plans_were_not_calibrated_at_is_an_error(client: Client) -> None:
    """That names the field."""
    with pytest.raises(InvalidRequest, match=r"guard\.level"):
        plan(client, frame(60, 150), Guard(level=0.42))


def test_a_policy_does_not_execute_what_is_refused(client: Client) -> None:
    """It holds still for a model step where that is called safe, and says why where nothing is."""
    strict = Guard(tolerance=1e-6)
    careful = PlanningPolicy(client, WORLD, guard=strict, safe_action=[0, 0])
    careful.reset(frame(60, 60))
    taken = [careful.act(frame(60, 150)) for _ in range(6)]
    assert not np.any(taken)
    assert careful.last_plan is not None
    assert careful.last_plan.status == "refused"
    helpless = PlanningPolicy(client, WORLD, guard=strict)
    helpless.reset(frame(60, 60))
    with pytest.raises(PlanRefusedError, match="radius"):
        helpless.act(frame(60, 150))
