"""One plan: resolves a request against a world, runs the search over its cost engine, and accounts for the time."""

import secrets
from dataclasses import dataclass
from time import perf_counter

from wmserve.world import World

from wmserve_server import cost as costing
from wmserve_server import validation
from wmserve_server.backend import Backend, Floats, Scored, Start
from wmserve_server.errors import InvalidArgument
from wmserve_server.messages import PlannerOptions, PlanRequest
from wmserve_server.planner import Limits, Plan, Settings, Shape, search


@dataclass(frozen=True)
class Problem:
    """What to search, how, and where from: a request that fits its world."""

    world: World
    shape: Shape
    limits: Limits
    settings: Settings
    seed: int
    warm_start: Floats | None
    readout_goal: costing.ReadoutGoal | None

    @property
    def horizon(self) -> int:
        """Model steps `H`."""
        return self.shape.steps // self.world.action.action_block


def problem(request: PlanRequest, world: World, started: float) -> Problem:
    """Fill in the world's defaults and hold the whole against its budget."""
    asked, default = request.planner, world.planner
    horizon = asked.horizon or default.horizon
    settings = Settings(
        algorithm=asked.algorithm or default.algorithm,
        candidate_count=asked.candidate_count or default.candidate_count,
        iterations=asked.iterations or default.iterations,
        elite_count=asked.elite_count or min(default.elite_count, asked.candidate_count or default.elite_count),
        initial_std=asked.initial_std or default.initial_std,
        deadline=None if request.deadline_ms is None else started + request.deadline_ms / 1000,
    )
    check_budget(settings, horizon, world)
    block = world.action.action_block
    shape = Shape(horizon * block, len(world.action.axes), asked.hold_steps or default.hold_steps)
    if block % shape.hold_steps:
        raise InvalidArgument(f"must divide the action block, {block}", field="planner.hold_steps")
    targets = request.goal.readouts
    return Problem(
        world,
        shape,
        validation.limits(request.limits, world),
        settings,
        secrets.randbits(53) if asked.seed is None else asked.seed,
        warm_start(asked, shape, world),
        None if targets is None else costing.readout_goal(targets, world),
    )


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


@dataclass(frozen=True)
class Expected:
    """What the model expects of one candidate: readouts `[H, R]`, disagreement `[H]`, goal distance `[H]`."""

    readouts: Floats
    disagreement: Floats
    goal_distance: Floats


class Evaluator:
    """The cost function of one plan: asks the engine, adds up, and keeps what explains the best candidate."""

    def __init__(self, backend: Backend, problem: Problem, start: Start, goal: Floats) -> None:
        self.waited_s = 0.0
        self._backend = backend
        self._problem = problem
        self._start = start
        self._goal = goal
        self._best_cost = float("inf")
        self._expected: Expected | None = None

    async def __call__(self, candidates: Floats) -> Floats:
        """Costs `[S]` of candidates `[S, N, A]`."""
        asked = perf_counter()
        scored = await self._backend.cost(self._problem.world, self._start, self._goal, candidates)
        self.waited_s += perf_counter() - asked
        distance = costing.goal_distance(scored, self._problem.readout_goal)
        costs = costing.add_up(distance, self._problem.world)
        self._keep_best(scored, distance, costs)
        return costs

    def _keep_best(self, scored: Scored, distance: Floats, costs: Floats) -> None:
        # The same rule as the search's: the first of the lowest.
        index = int(costs.argmin())
        if costs[index] < self._best_cost:
            self._best_cost = float(costs[index])
            self._expected = Expected(scored.readouts[index], scored.disagreement[index], distance[index])

    def expected(self) -> Expected:
        """What the model expects of the best candidate seen."""
        assert self._expected is not None, "a search scores at least one population"
        return self._expected

    async def run(self) -> Plan:
        """Search for the plan."""
        asked = self._problem
        return await search(self, asked.shape, asked.limits, asked.settings, asked.seed, asked.warm_start)
