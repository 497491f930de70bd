"""Gives a shadow version a share of the requests, too: nobody waits for it, and its answers go to metrics alone.

    answered request -> drawn? -> its handles translated -> the shadow answers -> both answers compared, in metrics

A draw is made where a chain of requests begins: handles that come of a request that was drawn lead to the shadow's own,
so that a plan from a handle, and the observation of its outcome, are seen by both versions. What the shadow keeps, it
keeps apart; its work is admitted apart, a few requests at once, and what comes in addition is dropped.
"""

import asyncio
import logging
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from wmserve.addresses import address
from wmserve.world import World

from wmserve_server import messages as m
from wmserve_server.errors import WmserveError
from wmserve_server.json_arrays import AnyArray
from wmserve_server.metrics import Metrics
from wmserve_server.world_model import WorldModel

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Requests that shadows answer at once; one more is dropped."""
REMEMBERED = 4096
"""Handles, and decisions, whose counterparts are known."""
CAPACITY_BYTES = 64 << 20
"""For latents that shadows keep."""
M = TypeVar("M", bound=m.Message)


@dataclass(frozen=True)
class Theirs:
    """What a shadow keeps for a handle."""

    version: int
    handle: str


@dataclass(frozen=True)
class Decided:
    """A plan that was answered, as far as its outcome can be asked of a shadow."""

    actions: AnyArray
    """`[N, A]`, of the answer."""
    context: m.Context
    """The shadow's own latents that it started from."""
    version: int
    executed: int
    """Environment steps that are executed where nobody says how many."""


class Shadows:
    """Hears of answered requests; ``stop`` before the backend goes."""

    def __init__(self, core: WorldModel, metrics: Metrics) -> None:
        """The core is one of their own: what it keeps, counts and lets in is nobody else's."""
        self._core, self._metrics = core, metrics
        self._running: set[asyncio.Task[None]] = set()
        self._handles: OrderedDict[str, Theirs] = OrderedDict()
        self._decisions: OrderedDict[str, Decided] = OrderedDict()

    def hear(self, world: World, request: Any, answer: Any) -> None:
        """Take in a request that this version has answered; returns at once, and raises nothing."""
        try:
            route = self._core.versions(world.name).route
            shadow, canary = route.shadow, route.canary
            # With a shadow, what both have answered is counted: that is compared in pairs.
            if shadow is None and canary is not None and world.version in (route.live, canary.version):
                self._metrics.observe_version(world.name, world.version, answer)
            if shadow is None or world.version == shadow.version:
                return
            asked = self._asked(world, request, answer, shadow.version, shadow.share)
        except Exception:  # whatever it is, the caller has his answer
            log.exception("a request was not given to a shadow")
            return
        if asked is None:
            return
        if len(self._running) >= AT_ONCE:
            self._metrics.shadowed(world.name, shadow.version, "dropped")
            return
        task = asyncio.create_task(self._ask(world, asked, request, answer, shadow.version))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(self, world: World, asked: Any, request: Any, answer: Any, version: int) -> None:
        verb = VERBS[type(asked)]
        try:
            theirs = await getattr(self._core, verb)(asked)
        except WmserveError as error:
            self._metrics.shadowed(world.name, version, "failed")
            log.info("a shadow failed: %s@%d %s: %s", world.name, version, verb, error.reason)
            return
        except Exception:
            self._metrics.shadowed(world.name, version, "failed")
            log.exception("a shadow failed")
            return
        self._remember(world, version, request, answer, theirs)
        self._metrics.shadowed(world.name, version, "answered")
        for number, one in ((world.version, answer), (version, theirs)):
            self._metrics.observe_version(world.name, number, one)
        if verb == "plan":
            self._metrics.observe_agreement(world.name, version, difference(world, answer, theirs))

    def _asked(self, world: World, request: Any, answer: Any, version: int, share: float) -> Any:
        """The request as the shadow is asked; None where it is not drawn, or names what the shadow does not know."""
        named = address(world.name, version)
        if isinstance(request, m.ObserveRequest):
            return self._outcome(request, named, version)
        context = getattr(request, "context", None)
        goal = getattr(request, "goal", None)
        handles = [one.latents_id for one in (context, goal) if one is not None and one.latents_id is not None]
        given = any(one is not None and one.latents is not None for one in (context, goal))
        if given or any(self._known(handle, version) is None for handle in handles):
            return None
        if not handles and random.random() >= share:
            return None
        changed: dict[str, Any] = {"world": named}
        for name, one in (("context", context), ("goal", goal)):
            if one is not None and one.latents_id is not None:
                changed[name] = one.model_copy(update={"latents_id": self._known(one.latents_id, version)})
        if isinstance(request, m.PlanRequest):
            changed["planner"] = request.planner.model_copy(update={"seed": answer.seed})
            changed["guard"] = request.guard.model_copy(update={"return_refused": True})
        return request.model_copy(update=changed)

    def _known(self, handle: str, version: int) -> str | None:
        found = self._handles.get(handle)
        return found.handle if found is not None and found.version == version else None

    def _outcome(self, request: m.ObserveRequest, named: str, version: int) -> m.ObserveRequest | None:
        """The outcome of a plan that the shadow made, too: of the actions that were answered, from where it started."""
        decided = self._decisions.get(request.decision_id or "")
        if decided is None or decided.version != version:
            return None
        steps = request.executed_steps or decided.executed
        acted = m.Acted(context=decided.context, actions=np.ascontiguousarray(decided.actions[:steps]))
        return request.model_copy(
            update={"world": named, "decision_id": None, "executed_steps": None, "acted": acted},
        )

    def _remember(self, world: World, version: int, request: Any, answer: Any, theirs: Any) -> None:
        """Keep what the shadow calls what the caller was given a handle of."""
        for name in ("latents_id", "goal_latents_id"):
            ours, other = getattr(answer, name, None), getattr(theirs, name, None)
            if ours and other:
                keep(self._handles, ours, Theirs(version, other))
        if isinstance(request, m.PlanRequest) and answer.actions is not None and theirs.latents_id:
            search = world.search
            executed = min(search.receding_horizon * world.action.action_block, len(answer.actions))
            start = m.Context(latents_id=theirs.latents_id, action_history=request.context.action_history)
            keep(self._decisions, answer.decision_id, Decided(answer.actions, start, version, executed))


VERBS: dict[type, str] = {
    m.EncodeRequest: "encode",
    m.RolloutRequest: "rollout",
    m.PlanRequest: "plan",
    m.ObserveRequest: "observe",
}


def keep(known: "OrderedDict[str, Any]", key: str | None, value: Any) -> None:
    """Remember one more, and forget the oldest where there are too many."""
    if key:
        known[key] = value
        if len(known) > REMEMBERED:
            known.popitem(last=False)


def difference(world: World, answer: m.PlanResponse, theirs: m.PlanResponse) -> float | None:
    """How far the first actions of two plans are apart: mean over the axes, as a fraction of each axis' range."""
    if answer.actions is None or theirs.actions is None:
        return None
    ranges = np.array([max(axis.high - axis.low, 1e-9) for axis in world.action.axes])
    return float((np.abs(answer.actions[0] - theirs.actions[0]) / ranges).mean())
