"""One loop of a caller that acts: what it sees in, what to do next out, until it has no more to see.

    seen -> what came of the last plan (observe) -> the next plan, from where the last one ended (plan) -> do

Nothing here decides: it is what a patient caller of `observe` and `plan` would do, in one stream.
"""

import secrets

import numpy as np
from wmserve import seeds

from wmserve_server import messages as m
from wmserve_server.errors import HandleOutdated, InvalidArgument, LatentsNotFound, StateUnavailable
from wmserve_server.json_arrays import AnyArray
from wmserve_server.world_model import WorldModel


class Control:
    """The turns of one stream; they belong to one session, which is the stream's own unless the caller names one."""

    def __init__(self, core: WorldModel) -> None:
        self._core = core
        self._session = f"control_{secrets.token_urlsafe(16)}"
        self._asked: m.PlanRequest | None = None
        self._last: m.PlanResponse | None = None
        self._calls = 0
        """Plans that were asked for since the caller last said what to plan."""
        self._goal_id: str | None = None
        """Handle of the goal's latents, so that it is encoded once."""

    def world_of(self, turn: m.ControlRequest) -> str:
        """Name of the world that a turn is about; empty where nobody has said."""
        asked = turn.plan or self._asked
        return "" if asked is None else asked.world

    async def turn(self, turn: m.ControlRequest) -> m.ControlResponse:
        """Take in what is seen now and say what to do; whatever `observe` and `plan` raise."""
        asked, seen = self._request(turn)
        last, executed = self._last, 0
        if last is not None and last.status == "ok" and self._asked is not None and self._asked.world == asked.world:
            executed = self._executed(turn)
        outcome = await self._outcome(asked, seen, executed, "plan.context" if turn.plan else "seen")
        if outcome is not None and outcome.latents_id and self._core.world(asked.world).context_length == 1:
            seen = m.Context(latents_id=outcome.latents_id)
        if turn.plan is not None:
            self._goal_id, self._calls = None, 0
        plan = await self._plan(asked, seen, executed, fresh=turn.plan is not None)
        self._asked, self._last, self._goal_id = asked, plan, plan.goal_latents_id
        return m.ControlResponse(plan=plan, outcome=outcome)

    def _request(self, turn: m.ControlRequest) -> tuple[m.PlanRequest, m.Context]:
        """What is asked for from this turn on, and what is seen."""
        if turn.plan is not None:
            session = turn.plan.session or self._session
            return turn.plan.model_copy(update={"session": session}), turn.plan.context
        if self._asked is None:
            raise InvalidArgument("the first turn says what to plan", field="plan")
        assert turn.seen is not None, "messages guarantee one of the two"
        return self._asked, turn.seen

    def _executed(self, turn: m.ControlRequest) -> int:
        """Environment steps of the last plan that were executed."""
        assert self._last is not None, "there is one"
        return self._last.execute_steps if turn.executed_steps is None else turn.executed_steps

    async def _outcome(
        self, asked: m.PlanRequest, seen: m.Context, executed: int, field: str
    ) -> m.ObserveResponse | None:
        """What came of the last plan's first steps, if any were executed: in the last frame that is seen."""
        if not executed:
            return None
        assert self._last is not None, "something was executed"
        if seen.observations is None:
            raise InvalidArgument("what came of a plan is seen in observations", field=field)
        if self._last.decision_id is None:
            raise StateUnavailable("the last plan could not be kept, so nobody can say what came of it; begin again")
        request = m.ObserveRequest(
            world=asked.world,
            decision_id=self._last.decision_id,
            observation=last_frame(seen.observations),
            executed_steps=executed,
            session=asked.session,
            level=asked.guard.level,
        )
        try:
            return await self._core.observe(request)
        except HandleOutdated:  # the version that planned is not served any more: begin anew with what is
            return None

    async def _plan(self, asked: m.PlanRequest, seen: m.Context, executed: int, fresh: bool) -> m.PlanResponse:
        """Plan as is asked for: from where the last plan left off, if any of it is left."""
        changed: dict[str, object] = {"context": seen}
        if not fresh and self._last is not None:
            usable = None if self._last.status == "refused" else self._last.actions
            changed |= continued(asked, usable, executed, self._calls)
        self._calls += 1
        request = asked.model_copy(update=changed)
        if self._goal_id is None:
            return await self._core.plan(request)
        try:
            return await self._core.plan(request.model_copy(update={"goal": m.Goal(latents_id=self._goal_id)}))
        except LatentsNotFound as error:  # the server needed the room
            if error.field is None or not error.field.startswith("goal"):
                raise
            return await self._core.plan(request)


def last_frame(seen: m.Observations) -> m.Observations:
    """The last of `T` frames."""
    array, felt = seen.array, seen.proprioception
    return m.Observations(
        images=None if seen.images is None else seen.images[-1:],
        array=None if array is None else array[-1:] if array.ndim == 4 else array,
        proprioception=None if felt is None else felt[-1:] if felt.ndim == 2 else felt,
    )


def continued(asked: m.PlanRequest, actions: AnyArray | None, executed: int, call: int) -> dict[str, object]:
    """Where the search starts after steps of a plan `[N, A]`, and the action that limits on rates count from.

    After a refused plan, None, or one that is used up, it starts afresh: where it was first to start lies behind.
    Where the caller gave a seed, plan number `call` has one that follows from it: the refused plan is not made again.
    """
    left = None if actions is None or executed >= len(actions) else np.ascontiguousarray(actions[executed:])
    seed = None if asked.planner.seed is None else seeds.of_call(asked.planner.seed, call)
    planner = asked.planner.model_copy(update={"warm_start": left, "seed": seed})
    changed: dict[str, object] = {"planner": planner}
    if actions is not None and executed and asked.limits.max_rate is not None:
        changed["limits"] = asked.limits.model_copy(update={"previous_action": actions[executed - 1]})
    return changed
