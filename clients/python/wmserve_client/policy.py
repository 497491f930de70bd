"""A policy that asks a server: the loop every caller of `plan` writes, once. It needs no gymnasium.

observe -> (plan, when the last one is used up) -> next action; a safe action instead, where the plan is refused
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from wmserve_client.client import Client
from wmserve_client.errors import PlanRefusedError
from wmserve_client.requests import ActionLimits, Constraint, Guard, Observations, PlannerOptions, Source
from wmserve_client.results import Floats, Plan


class PlanningPolicy:
    """Acts towards a goal: plans, executes some model steps of the plan, and plans again from where it stopped.

    `receding_horizon` is the number of model steps executed before planning again; None takes the world's. The rest
    of a plan is where the next search starts.

    A refused plan is not executed: `safe_action` `[A]` is, for one model step, and then it plans again. Without a
    safe action `PlanRefusedError` says why.
    """

    def __init__(
        self,
        client: Client,
        world: str,
        *,
        planner: PlannerOptions | None = None,
        limits: ActionLimits | None = None,
        receding_horizon: int | None = None,
        constraints: Sequence[Constraint] = (),
        guard: Guard | None = None,
        safe_action: ArrayLike | None = None,
    ) -> None:
        self.contract = contract = client.world(world)
        """What the world takes and promises."""
        self._client = client
        self._world = world
        self._planner = planner or PlannerOptions()
        self._limits = limits
        self._constraints = constraints
        self._guard = guard
        self._safe_action = None if safe_action is None else np.asarray(safe_action, np.float32)
        self._block = contract.action.action_block
        self._executed = (receding_horizon or contract.planner.receding_horizon) * contract.action.action_block
        self._goal: Source | Mapping[str, float] | None = None
        self._actions: deque[Floats] = deque()
        self.last_plan: Plan | None = None
        """The plan that is being executed, or was refused; None before the first."""

    def reset(self, goal: Source | Mapping[str, float]) -> None:
        """Begin an episode: set the goal and forget the last plan."""
        self._goal = goal
        self._actions.clear()
        self.last_plan = None

    def act(self, observation: Observations) -> Floats:
        """The next action `[A]`, environment units, for the frame `[h, w, 3]` uint8 that the camera sees now."""
        if not self._actions:
            self._actions.extend(self.chunk(observation))
        return self._actions.popleft()

    def chunk(self, observation: Observations) -> Floats:
        """Plan now: the actions `[n, A]`, environment units, to be executed before planning again.

        For callers that keep count themselves; :meth:`act` hands them out one by one.
        """
        if self._goal is None:
            raise RuntimeError("call reset(goal) before the first act(observation)")
        options, last = self._planner, self.last_plan
        if last is not None and last.status == "ok" and last.actions is not None:
            left = last.actions[self._executed :]
            options = replace(options, warm_start=left) if len(left) else options
        plan = self._client.plan(
            self._world,
            observation,
            self._goal,
            planner=options,
            limits=self._limits,
            constraints=self._constraints,
            guard=self._guard,
        )
        # The goal has been encoded now; its handle spares the server doing so again.
        self._goal = plan.goal_latents_id or self._goal
        self.last_plan = plan
        if plan.status == "ok" and plan.actions is not None:
            return plan.actions[: self._executed]
        if self._safe_action is None:
            raise PlanRefusedError(plan.reasons)
        return np.tile(self._safe_action, (self._block, 1))
