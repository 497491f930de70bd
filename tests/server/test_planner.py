"""The searches: on a known cost, within bounds, reproducible, in time."""

import asyncio
import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from wmserve_server.planner import Limits, Plan, Settings, Shape, StopReason, search
from wmserve_server.planner.algorithms import coloured
from wmserve_server.planner.shaping import Floats, expand, knots_of

ALGORITHMS = ("cem", "icem", "mppi")
GOLDEN = Path(__file__).parent.parent / "golden" / "planner.json"
SHAPE = Shape(steps=20, action_dim=2, hold_steps=5)
LIMITS = Limits(np.array([-1, -2], np.float32), np.array([1, 2], np.float32))
TARGET = np.array([[0.8, -1.5], [0.6, -1.2], [0.3, -0.6], [0.1, 0.1]], np.float32)


async def quadratic(candidates: Floats) -> Floats:
    """Squared distance of the held actions from TARGET, summed: its minimum is known."""
    return ((candidates[:, ::5] - TARGET) ** 2).sum(axis=(1, 2))


def settings(algorithm: str, **overrides: object) -> Settings:
    values = {"candidate_count": 64, "iterations": 8, "elite_count": 8, "initial_std": 0.5} | overrides
    return Settings(algorithm, **values)  # type: ignore[arg-type]


async def plan(algorithm: str, seed: int = 7, limits: Limits = LIMITS, **overrides: object) -> Plan:
    return await search(quadratic, SHAPE, limits, settings(algorithm, **overrides), seed)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_reaches_the_known_minimum(algorithm: str) -> None:
    """Each search comes close to the minimum of a quadratic bowl, and its cost never rises on the way."""
    found = await plan(algorithm, iterations=60, candidate_count=300, elite_count=10)
    assert found.cost < 0.05
    assert np.abs(found.actions[::5] - TARGET).max() < 0.2
    assert list(found.cost_per_iteration) == sorted(found.cost_per_iteration, reverse=True)
    assert found.cost == found.cost_per_iteration[-1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_golden(algorithm: str) -> None:
    """The numbers of each search are frozen: a change of behaviour is a change of this file."""
    found = await plan(algorithm)
    golden = json.loads(GOLDEN.read_text())[algorithm]
    np.testing.assert_allclose(found.actions[::5], golden["knots"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.cost_per_iteration, golden["cost_per_iteration"], rtol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_equal_seeds_equal_plans(algorithm: str) -> None:
    """A plan depends on its seed and on nothing that runs beside it."""
    first, other, again = await asyncio.gather(plan(algorithm, 3), plan(algorithm, 4), plan(algorithm, 3))
    assert first.actions.tobytes() == again.actions.tobytes()
    assert first.actions.tobytes() != other.actions.tobytes()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_respects_bounds_and_rate(algorithm: str) -> None:
    """Every candidate that is scored, not the winner alone, is one that the controller may execute."""
    rate, previous = np.array([0.3, 0.1], np.float32), np.array([1.0, -2.0], np.float32)
    limits = Limits(LIMITS.low, LIMITS.high, rate, previous)

    async def checked(candidates: Floats) -> Floats:
        assert (candidates >= limits.low).all()
        assert (candidates <= limits.high).all()
        steps = np.diff(np.concatenate([np.tile(previous, (len(candidates), 1, 1)), candidates], axis=1), axis=1)
        assert (np.abs(steps) <= rate + 1e-6).all()
        return await quadratic(candidates)

    await search(checked, SHAPE, limits, settings(algorithm), seed=1)


async def test_deadline_returns_the_best_so_far() -> None:
    """At the deadline the search ends, after at least one iteration, and says why."""

    async def slow(candidates: Floats) -> Floats:
        await asyncio.sleep(0.02)
        return await quadratic(candidates)

    started = perf_counter()
    late = settings("cem", iterations=1000, deadline=started + 0.1)
    found = await search(slow, SHAPE, LIMITS, late, seed=1)
    assert found.stop_reason is StopReason.DEADLINE
    assert 1 <= found.iterations <= 5
    past = await search(slow, SHAPE, LIMITS, settings("cem", deadline=started), seed=1)
    assert (past.stop_reason, past.iterations) == (StopReason.DEADLINE, 1)


async def test_converged_search_stops_early() -> None:
    """A search whose population has become one plan does not go on."""
    found = await plan("cem", iterations=500, candidate_count=200)
    assert found.stop_reason is StopReason.CONVERGED
    assert found.iterations < 100


async def test_warm_start_is_tried_first() -> None:
    """The warm start is a candidate of the first population, so the plan is never worse than it."""
    optimum = np.repeat(TARGET, 5, axis=0)
    found = await search(quadratic, SHAPE, LIMITS, settings("cem", iterations=1), seed=1, warm_start=optimum)
    assert found.cost == 0.0


def test_short_warm_start_repeats_its_last_action() -> None:
    """A warm start of fewer steps than the plan is filled up with its last action."""
    knots = knots_of(np.array([[1.0, 0.0]] * 5 + [[0.5, 2.0]] * 2, np.float32), SHAPE)
    np.testing.assert_allclose(knots, [[1, 0], [0.5, 2], [0.5, 2], [0.5, 2]])


def test_expand_holds_each_knot() -> None:
    """A knot lasts as many environment steps as it is held."""
    candidates = expand(TARGET[None], SHAPE, LIMITS)
    assert candidates.shape == (1, 20, 2)
    np.testing.assert_array_equal(candidates[0], np.repeat(TARGET, 5, axis=0))


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
    plans = {name: asyncio.run(plan(name)) for name in ALGORITHMS}
    record = {
        name: {"knots": found.actions[::5].tolist(), "cost_per_iteration": found.cost_per_iteration}
        for name, found in plans.items()
    }
    GOLDEN.write_text(json.dumps(record, indent=1) + "\n")
