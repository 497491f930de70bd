"""A policy that asks a server: the loop every caller of `plan` writes, once. It needs no gymnasium.

observe -> (plan, when the last one is used up) -> next action
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from wmserve_client.client import Client
from wmserve_client.requests import ActionLimits, Frames, PlannerOptions, Source
from wmserve_client.results import Floats, Plan


class PlanningPolicy:
    """Acts towards a goal: plans, executes some model steps of the plan, and plans again from where it stopped.

    `receding_horizon` is the number of model steps executed before planning again; None takes the world's. The rest
    of a plan is where the next search starts.
    """

    def __init__(
        self,
        client: Client,
        world: str,
        *,
        planner: PlannerOptions | None = None,
        limits: ActionLimits | None = None,
        receding_horizon: int | None = None,
    ) -> None:
        contract = client.world(world)
        self._client = client
        self._world = world
        self._planner = planner or PlannerOptions()
        self._limits = limits
        self._executed = (receding_horizon or contract.planner.receding_horizon) * contract.action.action_block
        self._goal: Source | Mapping[str, float] | None = None
        self._actions: deque[Floats] = deque()
        self.last_plan: Plan | None = None
        """The plan that is being executed; None before the first."""

    def reset(self, goal: Source | Mapping[str, float]) -> None:
        """Begin an episode: set the goal and forget the last plan."""
        self._goal = goal
        self._actions.clear()
        self.last_plan = None

    def act(self, observation: Frames) -> Floats:
        """The next action `[A]`, environment units, for the frame `[h, w, 3]` uint8 that the camera sees now."""
        if not self._actions:
            self._plan(observation)
        return self._actions.popleft()

    def _plan(self, observation: Frames) -> None:
        if self._goal is None:
            raise RuntimeError("call reset(goal) before the first act(observation)")
        options = self._planner
        if self.last_plan is not None and len(self.last_plan.actions) > self._executed:
            options = replace(options, warm_start=self.last_plan.actions[self._executed :])
        plan = self._client.plan(self._world, observation, self._goal, planner=options, limits=self._limits)
        # The goal has been encoded now; its handle spares the server doing so again.
        self._goal = plan.goal_latents_id or self._goal
        self._actions.extend(plan.actions[: self._executed])
        self.last_plan = plan
