"""One plan: resolves a request against a world, has its search taken further until it is over, accounts for the time.

    request -> problem -> [ task -> backend, a time slice -> progress ] ... -> state that has a reason to stop

The search itself runs beside the cost engine. It comes back after each slice, so that plans of different callers take
turns, a caller that has gone stops its search, and nothing is held there that could be lost.
"""

import asyncio
import secrets
from dataclasses import dataclass, replace
from time import perf_counter

from wmserve.world import World

from wmserve_server import telemetry, trust, validation
from wmserve_server.backend import Backend, Floats, Start
from wmserve_server.errors import InvalidArgument
from wmserve_server.messages import PlannerOptions, PlanRequest
from wmserve_server.planner import Problem, Settings, Shape, State, StopReason, begin
from wmserve_server.planner.goal import GoalCost
from wmserve_server.planner.slices import Progress, Task
from wmserve_server.trust import Guarded

SLICE_S = 0.01
"""Seconds for which a search runs before others get their turn; one iteration, where that takes longer."""


@dataclass(frozen=True)
class Asked:
    """A request that fits its world: what to search, from where on, what costs, and until when (`perf_counter`)."""

    world: World
    problem: Problem
    goal: GoalCost
    state: State
    deadline: float | None
    guarded: Guarded | None
    execute_steps: int
    """Environment steps that are executed before planning again."""

    @property
    def model_steps(self) -> int:
        """How much work it is at most: candidates x iterations x horizon."""
        settings = self.problem.settings
        horizon = self.problem.shape.steps // self.world.action.action_block
        return settings.candidate_count * settings.iterations * horizon


def resolve(request: PlanRequest, world: World, started: float) -> Asked:
    """Fill in the world's defaults and hold the whole against its budget."""
    asked, default = request.planner, world.search
    horizon = asked.horizon or default.horizon
    settings = Settings(
        algorithm=asked.algorithm or default.algorithm,
        candidate_count=asked.candidate_count or default.candidate_count,
        iterations=asked.iterations or default.iterations,
        elite_count=asked.elite_count or min(default.elite_count, asked.candidate_count or default.elite_count),
        initial_std=asked.initial_std or default.initial_std,
        momentum=default.momentum,
    )
    check_budget(settings, horizon, world)
    block = world.action.action_block
    shape = Shape(horizon * block, len(world.action.axes), asked.hold_steps or default.hold_steps)
    if block % shape.hold_steps:
        raise InvalidArgument(f"must divide the action block, {block}", field="planner.hold_steps")
    targets, metric = wanted_readouts(request, world), world.metric
    readouts = None if targets is None else validation.readout_goal(targets, world)
    guard, penalty = request.guard, request.guard.penalty
    execute = execute_steps(request.execute_steps, block, shape.steps)
    seed = secrets.randbits(53) if asked.seed is None else asked.seed
    problem = Problem(shape, validation.limits(request.limits, world), settings, seed)
    return Asked(
        world,
        problem,
        GoalCost(
            metric.final_weight,
            metric.path_weight,
            readouts,
            default.penalty if penalty is None else penalty,
            validation.constraints(request.constraints, world),
        ),
        begin(problem, warm_start(asked, shape, world)),
        None if request.deadline_ms is None else started + request.deadline_ms / 1000,
        trust.guarded(world, guard.level, guard.tolerance, guard.refusal_level, horizon, execute),
        block * trust.executed_steps(world, horizon, execute),
    )


def execute_steps(given: int | None, block: int, steps: int) -> int | None:
    """Model steps of a plan of `steps` environment steps that a caller says it executes; None where it says nothing."""
    if given is None:
        return None
    if given % block or given > steps:
        what = f"must be a multiple of the action block, {block}, at most the plan's {steps} environment steps"
        raise InvalidArgument(f"{what}, not {given}", field="execute_steps")
    return given // block


def wanted_readouts(request: PlanRequest, world: World) -> dict[str, float] | None:
    """Readouts that are the goal, if they are; InvalidArgument where a goal is missing, or not needed."""
    goal, needed = request.goal, world.metric.needs_goal
    if goal is None and needed:
        raise InvalidArgument(f"world {world.name} needs one: an observation, latents or readouts", field="goal")
    if goal is not None and goal.readouts is None and not needed:
        what = f"world {world.name} itself knows what is good"
        raise InvalidArgument(f"{what}: leave it out, or name readouts", field="goal")
    return None if goal is None else goal.readouts


def check_budget(settings: Settings, horizon: int, world: World) -> None:
    """Refuse a search that is larger than the world allows, naming the bound."""
    if horizon > world.horizon_limit:
        raise InvalidArgument(f"must be at most {world.horizon_limit}", field="planner.horizon")
    if settings.candidate_count > world.candidate_limit:
        raise InvalidArgument(f"must be at most {world.candidate_limit}", field="planner.candidate_count")
    if settings.elite_count > settings.candidate_count:
        raise InvalidArgument(
            f"must be at most the candidate count, {settings.candidate_count}", field="planner.elite_count"
        )
    asked = settings.candidate_count * settings.iterations * horizon
    if asked > world.plan_budget:
        raise InvalidArgument(
            f"candidate_count x iterations x horizon is {asked}, at most {world.plan_budget} is allowed",
            field="planner",
        )


def warm_start(asked: PlannerOptions, shape: Shape, world: World) -> Floats | None:
    """Actions `[M, A]`, M <= N, that the search starts from."""
    if asked.warm_start is None:
        return None
    name = "planner.warm_start"
    actions = validation.floats(asked.warm_start, (None, shape.action_dim), name)
    if len(actions) > shape.steps:
        raise InvalidArgument(f"has {len(actions)} steps, the plan {shape.steps}", field=name)
    return validation.within_bounds(actions, world, name)


def trace_iterations(progress: Progress, before: int) -> None:
    """Say when each iteration ran; the engine's clock is another, so the last is taken to have ended now."""
    shift = perf_counter() - (progress.ended_s[-1] if progress.ended_s else 0.0)
    began = 0.0
    costs = progress.state.cost_per_iteration[before:]
    for number, (cost, ended) in enumerate(zip(costs, progress.ended_s, strict=False), before):
        telemetry.past("iteration", shift + began, shift + ended, number=number, best_cost=cost)
        began = ended


async def run(backend: Backend, asked: Asked, start: Start, goal: Floats | None) -> Progress:
    """Have the search towards goal latents `[D]`, if it needs any, taken further until there is a reason to stop.

    At the deadline the best plan so far is the answer, also where the next slice still waits for its turn.
    """
    done, turns = Progress(asked.state, cost_s=0.0, search_s=0.0), 0
    while done.state.stop_reason is None:
        left_s = None if asked.deadline is None else max(0.0, asked.deadline - perf_counter())
        task = Task(asked.problem, asked.goal, done.state, SLICE_S, left_s, turns)
        try:
            async with asyncio.timeout(None if done.state.best is None else left_s) as limit:
                with telemetry.span("slice"):
                    more = await backend.advance(asked.world, start, goal, task)
                    trace_iterations(more, done.state.iterations)
        except TimeoutError:
            if not limit.expired():
                raise
            return replace(done, state=replace(done.state, stop_reason=StopReason.DEADLINE))
        done, turns = Progress(more.state, done.cost_s + more.cost_s, done.search_s + more.search_s), turns + 1
    return done
