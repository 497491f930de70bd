"""The loop of a search: propose, shape, score, learn; stop in time and keep the best plan seen.

A search is a sequence of states. :func:`advance` takes a state some iterations further and may be called again with
what it returned, here or in another process: noise is drawn from the seed and the number of the iteration, so a plan
does not depend on where its search was interrupted. What the cost function stands for is its own business.

The plan returned is the best candidate that was scored, so the cost reported is the cost of these actions and
never rises from one iteration to the next.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from .algorithms import Distribution, algorithm
from .shaping import Limits, Shape, expand, knots_of

Floats = NDArray[np.float32]
Details = Mapping[str, Floats]
"""What else is known of candidates, `[S, ...]` each; of the best one it comes with the plan."""
Cost = Callable[[Floats], tuple[Floats, Details]]
"""Scores candidates `[S, N, A]`, environment units: costs `[S]`, lower is better, finite; and details."""


class StopReason(Enum):
    """Why a search ended."""

    ITERATIONS = "iterations"
    DEADLINE = "deadline"
    CONVERGED = "converged"


@dataclass(frozen=True)
class Settings:
    """How to search; counts >= 1, ``initial_std`` and ``converged_std`` fractions of each axis' range."""

    algorithm: str
    candidate_count: int
    iterations: int
    elite_count: int
    initial_std: float
    converged_std: float = 1e-3
    """The search has converged when no knot's standard deviation is over this."""
    momentum: float = 0.0
    """CEM: part of the last mean and standard deviation that the next keep."""


@dataclass(frozen=True)
class Problem:
    """What to search and how; equal problems have equal plans."""

    shape: Shape
    limits: Limits
    settings: Settings
    seed: int


@dataclass(frozen=True)
class Best:
    """The best candidate seen: actions `[N, A]`, its cost, and what the cost function said of it."""

    actions: Floats
    cost: float
    details: Details = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """How far a search is: where it looks next, the best so far, the best cost by the end of each iteration."""

    around: Distribution
    best: Best | None = None
    cost_per_iteration: tuple[float, ...] = ()
    stop_reason: StopReason | None = None
    """None while there is more to do."""

    @property
    def iterations(self) -> int:
        """Iterations that were run."""
        return len(self.cost_per_iteration)


def begin(problem: Problem, warm_start: Floats | None = None) -> State:
    """Start at the warm start `[M, A]`, M <= N, else in the middle of the bounds, as wide as ``initial_std`` says."""
    shape, limits = problem.shape, problem.limits
    mean = np.tile(limits.center, (shape.knots, 1)) if warm_start is None else knots_of(warm_start, shape)
    std = np.tile(limits.span * np.float32(problem.settings.initial_std), (shape.knots, 1))
    return State(Distribution(mean.astype(np.float32), std))


def advance(
    cost: Cost,
    problem: Problem,
    state: State,
    slice_s: float = math.inf,
    left_s: float | None = None,
    on_iteration: Callable[[float], None] = lambda _: None,
) -> State:
    """Search on until it is over, or ``slice_s`` seconds have passed; at least one iteration.

    ``left_s`` seconds from now is the deadline, if there is one: an iteration is begun only if it can end in time,
    judged by the last. Of each iteration's end ``on_iteration`` is told, seconds after this began.
    """
    settings = problem.settings
    searched = algorithm(settings.algorithm, settings.candidate_count, settings.elite_count, settings.momentum)
    started = before = perf_counter()
    while state.stop_reason is None:
        rng = np.random.default_rng((problem.seed, state.iterations))
        candidates = expand(searched.propose(state.around, rng, state.iterations), problem.shape, problem.limits)
        costs, details = cost(candidates)
        # What was scored is the shaped candidate, so that is what the search learns from.
        around = searched.learn(state.around, held_knots(candidates, problem.shape), costs)
        best = keep_best(state.best, candidates, costs, details)
        state = State(around, best, (*state.cost_per_iteration, best.cost))
        now = perf_counter()
        on_iteration(now - started)
        late = left_s is not None and now - started + (now - before) > left_s
        state = replace(state, stop_reason=stop_reason(problem, state, late))
        if now - started >= slice_s:
            break
        before = now
    return state


def search(cost: Cost, problem: Problem, warm_start: Floats | None = None) -> State:
    """Minimise ``cost`` in one go; equal arguments give equal plans."""
    return advance(cost, problem, begin(problem, warm_start))


def held_knots(candidates: Floats, shape: Shape) -> Floats:
    """Knots `[S, K, A]` of shaped candidates: the mean over each hold (a rate limit may vary it)."""
    if shape.hold_steps == 1:
        return candidates
    return candidates.reshape(len(candidates), shape.knots, shape.hold_steps, shape.action_dim).mean(axis=2)


def keep_best(best: Best | None, candidates: Floats, costs: Floats, details: Details) -> Best:
    """The better of the best so far and this population's best; ties go to the earlier."""
    index = int(np.argmin(costs))
    if best is not None and best.cost <= costs[index]:
        return best
    rows = {name: array[index].copy() for name, array in details.items()}
    return Best(candidates[index].copy(), float(costs[index]), rows)


def stop_reason(problem: Problem, state: State, late: bool) -> StopReason | None:
    """Say why to stop after this iteration, if there is a reason."""
    if state.iterations >= problem.settings.iterations:
        return StopReason.ITERATIONS
    if late:
        return StopReason.DEADLINE
    if np.all(state.around.std <= problem.settings.converged_std * np.maximum(problem.limits.span, 1e-12)):
        return StopReason.CONVERGED
    return None
