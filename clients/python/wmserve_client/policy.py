"""A policy that asks a server: the loop every caller of `plan` writes, once. It needs no gymnasium.

observe -> (plan, when the last one is used up) -> next action; a safe action instead, where the plan is refused
"""

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from wmserve import seeds
from wmserve.v1 import world_model_pb2 as pb

from wmserve_client import requests
from wmserve_client.client import Client
from wmserve_client.errors import NotFound, PlanRefusedError, Unavailable
from wmserve_client.requests import ActionLimits, Constraint, Guard, Observations, PlannerOptions, Source
from wmserve_client.results import Floats, Plan


class PlanningPolicy:
    """Acts towards a goal: plans, executes some model steps of the plan, and plans again from where it stopped.

    `receding_horizon` is the number of model steps executed before planning again, and then all that a plan is judged
    by; None takes the world's, and plans are judged as a whole. The rest of a plan is where the next search starts.
    A planner's `seed` is that of an episode's first plan. Those of the others follow from it, so that a plan which was
    refused is not made again.

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
        horizon = self._planner.horizon or contract.planner.horizon
        self._chunk_steps = min(receding_horizon or contract.planner.receding_horizon, horizon) * self._block
        self._execute_steps = None if receding_horizon is None else self._chunk_steps
        self._executed = 0
        self._goal: Source | Mapping[str, float] | None = None
        self._asked_for: pb.Goal | None = None
        self._goal_id = ""
        self._calls = 0
        """Plans that were asked for in this episode."""
        self._actions: deque[Floats] = deque()
        self._chunk = np.zeros((0, len(contract.action.axes)), np.float32)
        self._previous: Floats | None = None
        self.last_plan: Plan | None = None
        """The plan that is being executed, or was refused; None before the first."""

    def reset(self, goal: Source | Mapping[str, float]) -> None:
        """Begin an episode: set the goal and forget the last plan."""
        # Environments write their next goal into the same array: what is kept is a copy.
        self._goal, self._asked_for, self._goal_id = copy.deepcopy(goal), requests.goal(goal), ""
        self._actions.clear()
        self._calls = 0
        self._previous = None
        self.last_plan = None

    def aim(self, goal: Source | Mapping[str, float]) -> None:
        """Go for a goal from now on: another than the last begins an episode, an equal one changes nothing.

        For loops that say the goal at each step and not when an episode begins.
        """
        if self._asked_for is None or requests.goal(goal) != self._asked_for:
            self.reset(goal)

    def act(self, observation: Observations) -> Floats:
        """The next action `[A]`, environment units, for the frame `[h, w, 3]` uint8 that the camera sees now."""
        self.prepare(observation)
        return self._actions.popleft()

    def prepare(self, observation: Observations) -> None:
        """Plan, where the last plan has been executed: the next :meth:`act` then cannot fail.

        For callers that act in several environments at once: where a plan of one fails, the others have lost no action.
        """
        if not self._actions:
            self._actions.extend(self.chunk(observation))

    def chunk(self, observation: Observations) -> Floats:
        """Plan now: the actions `[n, A]`, environment units, to be executed before planning again.

        For callers that keep count themselves; :meth:`act` hands them out one by one. What it still had of an earlier
        plan is dropped.
        """
        if self._goal is None:
            raise RuntimeError("call reset(goal) before the first act(observation)")
        self._actions.clear()
        plan = self._plan(observation, self._options())
        # The goal has been encoded now; its handle spares the server doing so again.
        self._goal_id = plan.goal_latents_id or ""
        self.last_plan = plan
        self._chunk = self._executable(plan)
        self.executed(len(self._chunk))
        return self._chunk

    def executed(self, steps: int) -> None:
        """Say that of the last chunk only so many environment steps are executed, 1 or more; without it, all are.

        The next search starts from what is left of the plan then.
        """
        self._executed, self._previous = steps, self._chunk[steps - 1]

    def _executable(self, plan: Plan) -> Floats:
        """The actions `[n, A]` of a plan that are executed, or what is safe for a model step."""
        if plan.status == "ok" and plan.actions is not None:
            return plan.actions[: self._chunk_steps]
        if self._safe_action is None:
            raise PlanRefusedError(plan.reasons)
        return np.tile(self._safe_action, (self._block, 1))

    def _bounds(self) -> ActionLimits | None:
        """What a plan may do: its first action changes no faster from the last one than the others do."""
        if self._limits is None or self._limits.max_rate is None or self._previous is None:
            return self._limits
        axes = self.contract.action.axes  # what is safe may be out of what a plan may do
        previous = np.clip(self._previous, [axis.low for axis in axes], [axis.high for axis in axes])
        return replace(self._limits, previous_action=previous.tolist())

    def _options(self) -> PlannerOptions:
        """How to search: with a seed of its own, from what is left of the last plan, if that was executed."""
        options, last = self._planner, self.last_plan
        if options.seed is not None:
            options = replace(options, seed=seeds.of_call(options.seed, self._calls))
        self._calls += 1
        if last is None or last.status != "ok" or last.actions is None or len(last.actions) <= self._executed:
            return options
        return replace(options, warm_start=last.actions[self._executed :])

    def _plan(self, observation: Observations, options: PlannerOptions) -> Plan:
        """A plan, by the goal's handle where there is one that the server still knows."""

        def ask(goal: Source | Mapping[str, float] | None) -> Plan:
            return self._client.plan(
                self._world,
                observation,
                goal,
                planner=options,
                limits=self._bounds(),
                constraints=self._constraints,
                guard=self._guard,
                execute_steps=self._execute_steps,
            )

        if self._goal_id:
            try:
                return ask(self._goal_id)
            except (NotFound, Unavailable) as error:  # expired, of a server that has gone, or of another version
                if not (error.field or "").startswith("goal"):
                    raise
        return ask(self._goal)
