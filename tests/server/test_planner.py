"""The searches: on a known cost, within bounds, reproducible, in time."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wmserve_server.backend import Start
from wmserve_server.messages import Context, Goal, PlanRequest
from wmserve_server.planner import Best, Limits, Problem, Settings, Shape, State, StopReason, advance, begin, search
from wmserve_server.planner.algorithms import Cem, Distribution, coloured
from wmserve_server.planner.goal import GoalCost, ReadoutGoal
from wmserve_server.planner.search import Details
from wmserve_server.planner.shaping import Floats, expand, knots_of
from wmserve_server.planner.slices import Progress, Task, pack_progress, pack_task, unpack_progress, unpack_task
from wmserve_server.planning import Asked, resolve, run

from tests.worlds import make_world

ALGORITHMS = ("cem", "icem", "mppi")
GOLDEN = Path(__file__).parent.parent / "golden" / "planner.json"
SHAPE = Shape(steps=20, action_dim=2, hold_steps=5)
LIMITS = Limits(np.array([-1, -2], np.float32), np.array([1, 2], np.float32))
LATENTS_ID = "lat_" + "0" * 22
TARGET = np.array([[0.8, -1.5], [0.6, -1.2], [0.3, -0.6], [0.1, 0.1]], np.float32)


def quadratic(candidates: Floats) -> tuple[Floats, Details]:
    """Squared distance of the held actions from TARGET, summed: its minimum is known."""
    return ((candidates[:, ::5] - TARGET) ** 2).sum(axis=(1, 2)), {"last": candidates[:, -1]}


def problem(algorithm: str, seed: int = 7, limits: Limits = LIMITS, **overrides: object) -> Problem:
    values = {"candidate_count": 64, "iterations": 8, "elite_count": 8, "initial_std": 0.5} | overrides
    return Problem(SHAPE, limits, Settings(algorithm, **values), seed)  # type: ignore[arg-type]


def best(state: State) -> Best:
    assert state.best is not None
    return state.best


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_reaches_the_known_minimum(algorithm: str) -> None:
    """Each search comes close to the minimum of a quadratic bowl, and its cost never rises on the way."""
    found = search(quadratic, problem(algorithm, iterations=60, candidate_count=300, elite_count=10))
    assert best(found).cost < 0.05
    assert np.abs(best(found).actions[::5] - TARGET).max() < 0.2
    assert list(found.cost_per_iteration) == sorted(found.cost_per_iteration, reverse=True)
    assert best(found).cost == found.cost_per_iteration[-1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_golden(algorithm: str) -> None:
    """The numbers of each search are frozen: a change of behaviour is a change of this file."""
    found = search(quadratic, problem(algorithm))
    golden = json.loads(GOLDEN.read_text())[algorithm]
    np.testing.assert_allclose(best(found).actions[::5], golden["knots"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.cost_per_iteration, golden["cost_per_iteration"], rtol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_plan_does_not_depend_on_where_its_search_was_interrupted(algorithm: str) -> None:
    """Taken further iteration by iteration, and packed in between, a search is the same to the bit; seeds differ."""
    asked, goal = problem(algorithm, seed=3), GoalCost(1.0, 0.5)
    whole, state = search(quadratic, asked), begin(asked)
    while state.stop_reason is None:
        task = unpack_task(pack_task(Task(asked, goal, state, slice_s=0.0, left_s=None)))
        assert task.problem.settings == asked.settings
        progress = Progress(advance(quadratic, task.problem, task.state, task.slice_s), 0.1, 0.2)
        state = unpack_progress(pack_progress(progress)).state
    assert state.cost_per_iteration == whole.cost_per_iteration
    assert best(state).actions.tobytes() == best(whole).actions.tobytes()
    assert best(state).details["last"].tobytes() == best(whole).actions[-1].tobytes()
    other = search(quadratic, replace(asked, seed=4))
    assert best(other).actions.tobytes() != best(whole).actions.tobytes()


def test_everything_of_a_task_travels() -> None:
    """Limits, readout goal, weights and times come back as they went."""
    limits = Limits(LIMITS.low, LIMITS.high, np.array([0.1, 0.2], np.float32), np.array([0.3, 0.4], np.float32))
    wanted = ReadoutGoal((2, 0), np.array([10.0, 20.0], np.float32), np.array([224.0, 1.0], np.float32))
    asked = problem("icem", seed=2**64 - 1, limits=limits)
    task = unpack_task(pack_task(Task(asked, GoalCost(0.25, 0.75, wanted), begin(asked), 0.5, 1.5)))
    assert (task.problem.seed, task.problem.shape, task.slice_s, task.left_s) == (2**64 - 1, SHAPE, 0.5, 1.5)
    for name in ("low", "high", "max_rate", "previous"):
        np.testing.assert_array_equal(getattr(task.problem.limits, name), getattr(limits, name))
    assert (task.goal.final_weight, task.goal.path_weight) == (0.25, 0.75)
    assert task.goal.readouts is not None
    assert task.goal.readouts.columns == (2, 0)
    np.testing.assert_array_equal(task.goal.readouts.values, wanted.values)
    np.testing.assert_array_equal(task.goal.readouts.scales, wanted.scales)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_respects_bounds_and_rate(algorithm: str) -> None:
    """Every candidate that is scored, not the winner alone, is one that the controller may execute."""
    rate, previous = np.array([0.3, 0.1], np.float32), np.array([1.0, -2.0], np.float32)
    limits = Limits(LIMITS.low, LIMITS.high, rate, previous)

    def checked(candidates: Floats) -> tuple[Floats, Details]:
        assert (candidates >= limits.low).all()
        assert (candidates <= limits.high).all()
        steps = np.diff(np.concatenate([np.tile(previous, (len(candidates), 1, 1)), candidates], axis=1), axis=1)
        assert (np.abs(steps) <= rate + 1e-6).all()
        return quadratic(candidates)

    search(checked, problem(algorithm, limits=limits))


def test_momentum_keeps_a_part_of_the_last_distribution() -> None:
    """Mean and standard deviation move from the last to the elites', all but that part of the way; it travels."""
    random = np.random.default_rng(0)
    around = Distribution(*(random.random((2, 4, 2), dtype=np.float32)))
    knots, costs = random.random((16, 4, 2), dtype=np.float32), random.random(16, dtype=np.float32)
    new = Cem(16, 5).learn(around, knots, costs)
    kept = Cem(16, 5, momentum=0.25).learn(around, knots, costs)
    np.testing.assert_allclose(kept.mean, 0.75 * new.mean + 0.25 * around.mean, rtol=1e-6)
    np.testing.assert_allclose(kept.std, 0.75 * new.std + 0.25 * around.std, rtol=1e-6)
    assert kept.mean.dtype == np.float32
    asked = problem("cem", momentum=0.25)
    task = unpack_task(pack_task(Task(asked, GoalCost(1.0, 0.0), begin(asked), 0.0, None)))
    assert task.problem.settings == asked.settings
    assert search(quadratic, task.problem).cost_per_iteration != search(quadratic, problem("cem")).cost_per_iteration


def test_momentum_is_the_worlds() -> None:
    """A request has no field for it."""
    world = make_world()
    world = world.model_copy(update={"planner": world.search.model_copy(update={"momentum": 0.15})})
    request = PlanRequest(world="toy", context=Context(latents_id=LATENTS_ID), goal=Goal(latents_id=LATENTS_ID))
    assert resolve(request, world, started=0.0).problem.settings.momentum == 0.15


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_axis_that_may_not_move_stays_where_it_is(algorithm: str) -> None:
    """Bounds that are one value, such as a rotation held at 0, leave the others to the search."""
    limits = Limits(np.array([-1, 0], np.float32), np.array([1, 0], np.float32))

    def first_only(candidates: Floats) -> tuple[Floats, Details]:
        assert not candidates[..., 1].any()
        return ((candidates[:, ::5, 0] - TARGET[:, 0]) ** 2).sum(axis=1), {}

    found = search(first_only, problem(algorithm, limits=limits, iterations=60, candidate_count=300, elite_count=10))
    assert best(found).cost < 0.05


def slow(candidates: Floats) -> tuple[Floats, Details]:
    time.sleep(0.02)
    return quadratic(candidates)


def test_deadline_returns_the_best_so_far() -> None:
    """At the deadline the search ends, after at least one iteration, and says why."""
    asked = problem("cem", iterations=1000)
    found = advance(slow, asked, begin(asked), left_s=0.1)
    assert found.stop_reason is StopReason.DEADLINE
    assert 1 <= found.iterations <= 5
    past = advance(slow, asked, begin(asked), left_s=-1.0)
    assert (past.stop_reason, past.iterations) == (StopReason.DEADLINE, 1)


def test_a_slice_ends_in_time_and_gives_no_reason() -> None:
    """After a slice there is more to do."""
    asked = problem("cem", iterations=1000)
    state = advance(slow, asked, begin(asked), slice_s=0.05)
    assert state.stop_reason is None
    assert 1 <= state.iterations <= 3


class Late:
    """A backend whose first slice is quick and whose second never comes to its turn."""

    async def advance(self, world: object, start: object, goal: object, task: Task) -> Progress:
        del world, start, goal
        if task.turns:
            await asyncio.sleep(60)
        return Progress(advance(quadratic, task.problem, task.state, slice_s=0.0), 0.0, 0.0)


async def test_at_the_deadline_the_best_so_far_is_the_answer_also_while_it_waits() -> None:
    """A slice that waits for its turn does not hold up a plan whose time is over."""
    asked_problem = problem("cem", iterations=1000)
    deadline = time.perf_counter() + 0.05
    goal, state = GoalCost(1.0, 0.0), begin(asked_problem)
    asked = Asked(make_world(), asked_problem, goal, state, deadline, guarded=None, execute_steps=1)
    async with asyncio.timeout(5):
        searched = await run(Late(), asked, Start(np.zeros((1, 32), np.float32)), np.zeros(32, np.float32))  # type: ignore[arg-type]
    assert (searched.state.stop_reason, searched.state.iterations) == (StopReason.DEADLINE, 1)
    assert searched.state.best is not None


def test_converged_search_stops_early() -> None:
    """A search whose population has become one plan does not go on."""
    found = search(quadratic, problem("cem", iterations=500, candidate_count=200))
    assert found.stop_reason is StopReason.CONVERGED
    assert found.iterations < 100


def test_warm_start_is_tried_first() -> None:
    """The warm start is a candidate of the first population, so the plan is never worse than it."""
    optimum = np.repeat(TARGET, 5, axis=0)
    assert best(search(quadratic, problem("cem", iterations=1), warm_start=optimum)).cost == 0.0


def test_short_warm_start_repeats_its_last_action() -> None:
    """A warm start of fewer steps than the plan is filled up with its last action."""
    knots = knots_of(np.array([[1.0, 0.0]] * 5 + [[0.5, 2.0]] * 2, np.float32), SHAPE)
    np.testing.assert_allclose(knots, [[1, 0], [0.5, 2], [0.5, 2], [0.5, 2]])


def test_expand_holds_each_knot() -> None:
    """A knot lasts as many environment steps as it is held."""
    candidates = expand(TARGET[None], SHAPE, LIMITS)
    assert candidates.shape == (1, 20, 2)
    np.testing.assert_array_equal(candidates[0], np.repeat(TARGET, 5, axis=0))


def test_nan_never_becomes_a_cost() -> None:
    """A cost function whose engine answers NaN ends the search."""
    with pytest.raises(ValueError, match="NaN"):
        GoalCost(1.0, 1.0)({"goal_distance": np.array([[np.nan, 1.0]], np.float32)})


@pytest.mark.parametrize("knots", [1, 2, 5, 10])
def test_coloured_noise_has_unit_variance_and_is_smooth(knots: int) -> None:
    """iCEM's noise is as wide as CEM's, and neighbours in time go together."""
    noise = coloured(np.random.default_rng(0), (20_000, knots, 2))
    assert noise.shape == (20_000, knots, 2)
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    if knots >= 10:
        neighbours = np.corrcoef(noise[:, 1, 0], noise[:, 2, 0])[0, 1]
        assert neighbours > 0.4


if __name__ == "__main__":  # rewrites the golden file, on purpose only
    plans = {name: search(quadratic, problem(name)) for name in ALGORITHMS}
    record = {
        name: {"knots": best(found).actions[::5].tolist(), "cost_per_iteration": found.cost_per_iteration}
        for name, found in plans.items()
    }
    GOLDEN.write_text(json.dumps(record, indent=1) + "\n")
