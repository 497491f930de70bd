"""The loop of a search: propose, shape, score, learn; stop in time and keep the best plan seen.

The cost function is awaited once an iteration with every candidate; what it stands for is its own business.
The plan returned is the best candidate that was scored, so the cost reported is the cost of these actions and
never rises from one iteration to the next.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from wmserve_server.planner.algorithms import ALGORITHMS, State
from wmserve_server.planner.shaping import Limits, Shape, expand, knots_of

Floats = NDArray[np.float32]
Cost = Callable[[Floats], Awaitable[Floats]]
"""Scores candidates `[S, N, A]`, environment units: costs `[S]`, lower is better, finite."""

CONVERGED_STD = 1e-3
"""A search has converged when no knot's standard deviation is over this fraction of its axis' range."""


class StopReason(Enum):
    """Why a search ended."""

    ITERATIONS = "iterations"
    DEADLINE = "deadline"
    CONVERGED = "converged"


@dataclass(frozen=True)
class Settings:
    """How to search; counts >= 1, ``initial_std`` a fraction of each axis' range, ``deadline`` on `perf_counter`."""

    algorithm: str
    candidate_count: int
    iterations: int
    elite_count: int
    initial_std: float
    deadline: float | None = None


@dataclass(frozen=True)
class Plan:
    """The best candidate: actions `[N, A]` and its cost, and how the search went."""

    actions: Floats
    cost: float
    cost_per_iteration: tuple[float, ...]
    stop_reason: StopReason

    @property
    def iterations(self) -> int:
        """Iterations that were run."""
        return len(self.cost_per_iteration)


async def search(
    cost: Cost, shape: Shape, limits: Limits, settings: Settings, seed: int, warm_start: Floats | None = None
) -> Plan:
    """Minimise ``cost`` over action sequences; equal arguments give equal plans. ``warm_start`` is `[M, A]`, M <= N."""
    algorithm = ALGORITHMS[settings.algorithm](settings.candidate_count, settings.elite_count)
    rng = np.random.Generator(np.random.PCG64(seed))
    state = initial_state(shape, limits, settings.initial_std, warm_start)
    best: Plan | None = None
    for iteration in range(settings.iterations):
        started = perf_counter()
        candidates = expand(algorithm.propose(state, rng, iteration), shape, limits)
        costs = await cost(candidates)
        best = keep_best(best, candidates, costs)
        # What was scored is the shaped candidate, so that is what the search learns from.
        state = algorithm.learn(state, held_knots(candidates, shape), costs)
        if (reason := stop_reason(settings, state, limits, iteration, perf_counter() - started)) is not None:
            return replace(best, stop_reason=reason)
    assert best is not None, "settings.iterations >= 1"
    return best


def initial_state(shape: Shape, limits: Limits, initial_std: float, warm_start: Floats | None) -> State:
    """Start at the warm start, else in the middle of the bounds, as wide as ``initial_std`` says."""
    mean = np.tile(limits.center, (shape.knots, 1)) if warm_start is None else knots_of(warm_start, shape)
    return State(mean.astype(np.float32), np.tile(limits.span * np.float32(initial_std), (shape.knots, 1)))


def held_knots(candidates: Floats, shape: Shape) -> Floats:
    """Knots `[S, K, A]` of shaped candidates: the mean over each hold (a rate limit may vary it)."""
    if shape.hold_steps == 1:
        return candidates
    return candidates.reshape(len(candidates), shape.knots, shape.hold_steps, shape.action_dim).mean(axis=2)


def keep_best(best: Plan | None, candidates: Floats, costs: Floats) -> Plan:
    """The better of the best so far and this population's best; ties go to the earlier."""
    index = int(np.argmin(costs))
    history = () if best is None else best.cost_per_iteration
    if best is not None and best.cost <= costs[index]:
        return replace(best, cost_per_iteration=(*history, best.cost))
    value = float(costs[index])
    return Plan(candidates[index].copy(), value, (*history, value), StopReason.ITERATIONS)


def stop_reason(
    settings: Settings, state: State, limits: Limits, iteration: int, iteration_s: float
) -> StopReason | None:
    """Say why to stop after this iteration, if there is a reason."""
    if iteration + 1 == settings.iterations:
        return StopReason.ITERATIONS
    # Another iteration is begun only if it can end in time, judged by the one just run.
    if settings.deadline is not None and perf_counter() + iteration_s > settings.deadline:
        return StopReason.DEADLINE
    if np.all(state.std <= CONVERGED_STD * np.maximum(limits.span, 1e-12)):
        return StopReason.CONVERGED
    return None
