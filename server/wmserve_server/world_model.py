"""The core: encode, rollout and plan over a backend. It knows worlds, and neither wires nor Triton.

    request -> world -> validate -> backend -> decide -> response

Both edges call these methods; whatever goes wrong leaves them as a
:class:`~wmserve_server.errors.WmserveError`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from wmserve.addresses import address, parse_address
from wmserve.world import Verb, World

from wmserve_server import messages as m
from wmserve_server import planning, telemetry, trust, validation
from wmserve_server.admission import Admission, weight
from wmserve_server.answers import Answers
from wmserve_server.backend import Backend, Encoded, Floats, Observed, Rolled, Start
from wmserve_server.decisions import Decisions
from wmserve_server.errors import (
    BackendFault,
    DeadlineExceeded,
    HandleOutdated,
    InvalidArgument,
    StateUnavailable,
    Unavailable,
    VerbNotServed,
    WorldNotFound,
)
from wmserve_server.json_arrays import AnyArray
from wmserve_server.latents import LatentsStore
from wmserve_server.metrics import Metrics
from wmserve_server.planner import State as SearchState
from wmserve_server.planner.judging import BROKEN, DISTANCE, EXPECTED_ERROR, HELD_OUT_GAP
from wmserve_server.planner.slices import Progress
from wmserve_server.planning import Asked
from wmserve_server.records import MadeByAnother, encoder
from wmserve_server.store import State
from wmserve_server.trust import Confidence
from wmserve_server.versions import Versions
from wmserve_server.watching import Watch, Watches

NOTHING = np.zeros((0, 0), np.float32)
RETRY_AFTER_S = 1.0
"""When to ask again for a world that is being loaded."""
R = TypeVar("R", m.EncodeRequest, m.RolloutRequest, m.PlanRequest, m.ObserveRequest)
A = TypeVar("A")


@dataclass(frozen=True)
class Seen:
    """Latents `[L, D]` of frames, how unlike others those are `[L]` if that is known, and a handle for both."""

    latents: Floats
    ood: Floats | None
    latents_id: str | None


class WorldModel:
    """Answers for every world that the backend serves."""

    def __init__(
        self,
        backend: Backend,
        state: State,
        admission: Admission,
        metrics: Metrics,
        latents_lifetime_s: float,
        default_timeout_s: float,
    ) -> None:
        self._backend = backend
        self._state = state
        self._latents = LatentsStore(state.latents, latents_lifetime_s)
        self._decisions = Decisions(state.decisions, latents_lifetime_s)
        self._watches = Watches(state.sessions)
        self.answers = Answers(state.answers, metrics)
        self._admission = admission
        self._metrics = metrics
        self._default_timeout_s = default_timeout_s
        self.hear: Callable[[World, Any, Any], None] | None = None
        """Is told of each request that was answered, by which version, and the answer; raises nothing."""

    def worlds(self) -> Mapping[str, World]:
        """Contracts of the worlds served now, by name: of each the version that is live."""
        return {name: versions.answering for name, versions in self._backend.versions().items()}

    def versions(self, name: str) -> Versions:
        """Versions of one world that are served; WorldNotFound names the worlds that are."""
        found = self._backend.versions()
        if name in found:
            return found[name]
        if self._backend.in_transition(name, None):
            raise Unavailable(f"world {name} is being loaded; try again", field="world", retry_after_s=RETRY_AFTER_S)
        served = ", ".join(sorted(found)) or "none"
        why = "".join(f"; {problem}" for problem in self._backend.problems() if problem.startswith(f"world {name} "))
        raise WorldNotFound(f"no such world; served now: {served}{why}", field="world")

    def world(self, address: str, session: str = "") -> World:
        """Contract of a world, ``two_room``, as it answers this session, or of a version, ``two_room@2``.

        WorldNotFound names those that are served; Unavailable where it is being loaded.
        """
        name, version = parse_address(address) or (address, None)
        versions = self.versions(name)
        if version is None:
            return versions.of_session(session)
        if version in versions.worlds:
            return versions.worlds[version]
        if self._backend.in_transition(name, version):
            raise Unavailable(f"{address} is being loaded; try again", field="world", retry_after_s=RETRY_AFTER_S)
        raise WorldNotFound(f"no such version; {name} is served in {versions.describe()}", field="world")

    def _answering(self, address: str, verb: Verb, session: str = "") -> World:
        """Contract of a world that answers a verb; VerbNotServed names what it does answer."""
        world = self.world(address, session)
        if verb not in world.verbs:
            said = f"world {world.name} does not {verb}; it answers {', '.join(world.verbs)}"
            raise VerbNotServed(said, field="world")
        return world

    async def _on_version(self, request: R, verb: Verb, answer: Callable[[World, R], Awaitable[A]]) -> A:
        """Have a request answered by the version that it is for, or by the one that made its handles.

        HandleOutdated where that one is not served any more, InvalidArgument where handles are of two encoders.
        """
        world = self._answering(request.world, verb, getattr(request, "session", ""))
        try:
            return self._heard(world, request, await answer(world, request))
        except MadeByAnother as first:
            made = first
        others = [one for one in self.versions(world.name).worlds.values() if encoder(one) == made.encoder]
        if not others or "@" in request.world:
            told = f"was made by {address(world.name, made.version)}, whose encoder is not that of {world.address}"
            raise HandleOutdated(f"{told}; encode the observation again", field=made.field)
        maker = max(others, key=lambda one: str(one.version) == made.version)
        try:
            return self._heard(maker, request, await answer(maker, request))
        except MadeByAnother as second:
            told = f"was made by version {second.version} of {world.name}, and {made.field} by version {made.version}"
            raise InvalidArgument(f"{told}: encode both with one of them", field=second.field) from None

    def _heard(self, world: World, request: R, answer: A) -> A:
        """Tell whoever listens that a version has answered."""
        if self.hear is not None:
            self.hear(world, request, answer)
        return answer

    def unready_reason(self) -> str | None:
        """Why requests cannot be answered now; None when they can."""
        return "the server is shutting down" if self._admission.leaving else self._backend.unready_reason()

    def problems(self) -> tuple[str, ...]:
        """What is amiss while others are served: worlds that are not, what cannot be kept for later calls."""
        state = self._state.problem()
        return self._backend.problems() + (() if state is None else (state,))

    async def encode(self, request: m.EncodeRequest) -> m.EncodeResponse:
        """Encode observations and keep their latents."""
        return await self._on_version(request, "encode", self._encode_on)

    async def _encode_on(self, world: World, request: m.EncodeRequest) -> m.EncodeResponse:
        with self._admission.admit():
            async with self._time_limit(request.timeout_ms):
                encoded = await self._encode(world, request.observations, "observations")
        latents_id = await self._keep(world, encoded)
        return m.EncodeResponse(
            version=world.version,
            latents_id=latents_id,
            expires_in_s=0.0 if latents_id is None else self._latents.lifetime_s,
            readouts=encoded.readouts,
            latents=shaped(world, encoded.latents) if request.return_latents else None,
            **self._unlikeness(world, encoded),
        )

    async def rollout(self, request: m.RolloutRequest) -> m.RolloutResponse:
        """Predict what candidate actions will do, or, without actions, what is hidden."""
        return await self._on_version(request, "rollout", self._rollout_on)

    async def _rollout_on(self, world: World, request: m.RolloutRequest) -> m.RolloutResponse:
        if not world.action.axes:
            return await self._fill(world, request)
        if request.hidden is not None:
            raise InvalidArgument(f"world {world.name} predicts what actions do", field="hidden")
        if request.actions is None:
            raise InvalidArgument("is missing", field="actions")
        actions = validation.candidates(request.actions, world)
        asked = trust.confidence(world, request.level, request.tolerance)
        model_steps = actions.shape[0] * actions.shape[1] // world.action.action_block
        with self._admission.admit(weight(model_steps)):
            async with self._time_limit(request.timeout_ms):
                start, _ = await self._start(world, request.context)
                rolled = await self._backend.rollout(world, start, actions, request.return_latents)
        must_be_finite(rolled.latents, rolled.disagreement, rolled.readouts)
        self._metrics.observe_disagreement("rollout", world.name, rolled.disagreement)
        return m.RolloutResponse(
            version=world.version,
            disagreement=rolled.disagreement,
            readouts=rolled.readouts,
            latents=shaped(world, rolled.latents),
            **self._trust(world, rolled, asked),
        )

    async def _fill(self, world: World, request: m.RolloutRequest) -> m.RolloutResponse:
        """Predict the hidden part of a clip, and say how much of a surprise it is."""
        if request.actions is not None:
            raise InvalidArgument(f"world {world.name} knows no actions", field="actions")
        if request.context.observations is None:
            raise InvalidArgument("is needed: latents have seen what is to be hidden", field="context.observations")
        hidden = validation.hidden(request.hidden, world)
        with self._admission.admit():
            async with self._time_limit(request.timeout_ms):
                observed = await self._observed(world, request.context.observations, "context.observations")
                filled = await self._backend.fill(world, observed, hidden, request.return_latents)
        must_be_finite(filled.latents, filled.surprise)
        return m.RolloutResponse(
            version=world.version,
            disagreement=np.zeros((1, len(hidden)), np.float32),
            readouts=np.zeros((1, len(hidden), 0), np.float32),
            surprise=filled.surprise.reshape(-1, *world.latent_shape[:-1]),
            latents=None if filled.latents is None else shaped(world, filled.latents[None]),
        )

    async def plan(self, request: m.PlanRequest) -> m.PlanResponse:
        """Search for the actions that bring the goal about."""
        return await self._on_version(request, "plan", self._plan_on)

    async def _plan_on(self, world: World, request: m.PlanRequest) -> m.PlanResponse:
        started = perf_counter()
        asked = planning.resolve(request, world, started)
        with self._admission.admit(weight(asked.model_steps)):
            async with self._time_limit(None):
                (start, seen), goal = await asyncio.gather(
                    self._start(world, request.context), self._goal(world, request.goal)
                )
            encoded = perf_counter()
            searched = await planning.run(self._backend, asked, start, None if goal is None else goal.latents[-1])
        state, best = searched.state, searched.state.best
        assert best is not None, "a search runs at least one iteration"
        assert state.stop_reason is not None, "it is over"
        must_be_finite(*best.details.values())
        decision_id = await self._decide(world, start, best.actions, asked.execute_steps)
        changed = await self._changed(world, request.session)
        judgement = self._judge(world, request, asked, best.details, {"observation": seen, "goal": goal}, changed)
        self._observe_plan(world, asked.problem.settings.algorithm, state, judgement, decision_id)
        spent = {"iterations": state.iterations, "cost": best.cost}
        telemetry.note(decision_id=decision_id or "", status=judgement["status"], **spent)
        refused = judgement["status"] == "refused"
        return m.PlanResponse(
            version=world.version,
            **judgement,
            actions=None if refused and not request.guard.return_refused else best.actions,
            cost=best.cost,
            cost_per_iteration=state.cost_per_iteration,
            iterations=state.iterations,
            stop_reason=state.stop_reason.value,
            readouts=best.details["readouts"],
            disagreement=best.details["disagreement"],
            goal_distance=best.details["goal_distance"],
            seed=asked.problem.seed,
            latents_id=seen.latents_id,
            goal_latents_id=None if goal is None else goal.latents_id,
            timing=timing(started, encoded, searched),
            digests=world.digests,
            decision_id=decision_id,
            execute_steps=asked.execute_steps,
        )

    async def observe(self, request: m.ObserveRequest) -> m.ObserveResponse:
        """Compare what was predicted of actions with what is seen after them, and learn from it."""
        return await self._on_version(request, "rollout", self._observe_on)

    async def _observe_on(self, world: World, request: m.ObserveRequest) -> m.ObserveResponse:
        if not world.action.axes:
            raise VerbNotServed(f"world {world.name} knows no actions that something could come of", field="world")
        asked = trust.confidence(world, request.level, None)
        with self._admission.admit(weight(world.horizon_limit)):
            async with self._time_limit(request.timeout_ms):
                start, actions = await self._done(world, request)
                seen, rolled = await asyncio.gather(
                    self._encode(world, request.observation, "observation"),
                    self._backend.rollout(world, start, actions[None], with_latents=True),
                )
        if len(seen.latents) != 1:
            raise InvalidArgument("must be one frame", field="observation")
        assert rolled.latents is not None, "they were asked for"
        must_be_finite(rolled.latents)
        error = float(np.linalg.norm(rolled.latents[0, -1] - seen.latents[0].astype(np.float64)))
        surprise = await self._surprise(world, request, asked, error, rolled, seen)
        latents_id = await self._keep(world, seen)
        return m.ObserveResponse(
            version=world.version,
            latents_id=latents_id,
            expires_in_s=0.0 if latents_id is None else self._latents.lifetime_s,
            readouts=seen.readouts[0],
            error=error,
            **surprise,
        )

    async def _done(self, world: World, request: m.ObserveRequest) -> tuple[Start, Floats]:
        """What was done: from where on, and actions `[N, A]`."""
        if request.acted is not None:
            start, _ = await self._start(world, request.acted.context, "acted.context")
            actions = validation.candidates(request.acted.actions, world, "acted.actions")
            if len(actions) != 1:
                raise InvalidArgument("must be one candidate, `[N, A]`", field="acted.actions")
            return start, actions[0]
        assert request.decision_id is not None, "messages guarantee one source"
        decision, block = await self._decisions.get(world, request.decision_id), world.action.action_block
        steps = request.executed_steps or decision.execute_steps
        most = min(len(decision.actions), world.horizon_limit * block)
        if steps % block or steps > most:
            raise InvalidArgument(f"must be a multiple of {block}, at most the plan's {most}", field="executed_steps")
        return decision.start, decision.actions[:steps]

    async def _surprise(
        self,
        world: World,
        request: m.ObserveRequest,
        asked: Confidence | None,
        error: float,
        rolled: Rolled,
        seen: Encoded,
    ) -> dict[str, Any]:
        """How much of a surprise an error is, as fields of an answer; none where nobody has measured it."""
        calibration = world.calibration
        if asked is None or calibration is None or rolled.expected_error is None or seen.ood is None:
            return {}
        must_be_finite(rolled.expected_error, seen.ood)
        steps = rolled.expected_error.shape[1]
        found = trust.surprise(calibration, error, float(rolled.expected_error[0, -1]), steps)

        def take(watch: Watch) -> tuple[Watch, float | None, bool]:
            radius = found.radius(watch.miss_rate)
            covered = radius is None or error <= radius
            watch.learn(found.p_value, covered)
            return watch, radius, covered

        watch, radius, covered = await self._watches.update(
            world.name, calibration.digest, request.session, 1 - asked.level.level, take
        )
        if request.decision_id is not None:
            telemetry.note(decision_id=request.decision_id)
        strange = trust.p_values(calibration.quantiles.ood, seen.ood, calibration.trajectories)
        self._metrics.observe_p_values("observe", world.name, strange)
        outcome = "unbounded" if radius is None else "yes" if covered else "no"
        self._metrics.observe_surprise(world.name, steps, found.p_value, outcome, watch.changed, request.decision_id)
        return {
            "calibrated": True,
            "ood": float(seen.ood[0]),
            "ood_p_value": float(strange[0]),
            "expected_error": found.expected_error,
            "surprise": found.value,
            "surprise_p_value": found.p_value,
            "radius": radius,
            "covered": covered,
            "observed": watch.observed,
            "coverage": watch.coverage,
            "evidence": watch.evidence,
            "changed": watch.changed,
            "p_value_resolution": trust.resolution(calibration.trajectories),
        }

    async def _observed(
        self, world: World, observations: m.Observations, field: str, of_goal: bool = False
    ) -> Observed:
        """What was observed, as the world takes it."""
        if observations.images is not None:  # unpacking takes milliseconds: not on the loop that serves the others
            return await asyncio.to_thread(validation.observed, observations, world, field, of_goal)
        return validation.observed(observations, world, field, of_goal)

    async def _encode(self, world: World, observations: m.Observations, field: str, of_goal: bool = False) -> Encoded:
        encoded = await self._backend.encode(world, await self._observed(world, observations, field, of_goal))
        must_be_finite(encoded.latents, encoded.readouts)
        self._metrics.latents.add(world.name, world.version, shaped(world, encoded.latents))
        return encoded

    async def _start(self, world: World, context: m.Context, field: str = "context") -> tuple[Start, Seen]:
        """Where a rollout starts, and what is known of it."""
        seen = await self._seen(world, field, context.latents_id, context.latents, context.observations)
        history = validation.action_history(context.action_history, len(seen.latents), world, field)
        return Start(seen.latents, history), seen

    async def _goal(self, world: World, goal: m.Goal | None) -> Seen | None:
        """Latents `[T, D]` of the goal, of which the last counts; readout targets are no engine's business: zeros.

        None where the world itself knows what is good.
        """
        if not world.metric.needs_goal:
            return None
        assert goal is not None, "planning has refused a request without one"
        if goal.readouts is not None:
            return Seen(np.zeros((1, world.latent_dim), np.float32), None, None)
        return await self._seen(world, "goal", goal.latents_id, goal.latents, goal.observation)

    async def _seen(
        self,
        world: World,
        field: str,
        latents_id: str | None,
        latents: AnyArray | None,
        observations: m.Observations | None,
    ) -> Seen:
        """Latents by handle, as they are given, or of observations."""
        if latents_id is not None:
            kept = await self._latents.get(world, latents_id, f"{field}.latents_id")
            return Seen(kept.latents, kept.ood, latents_id)
        if latents is not None:
            encoded = Encoded(validation.latents(latents, world, f"{field}.latents"), NOTHING)
        else:
            assert observations is not None, "messages guarantee one source"
            name = "goal.observation" if field == "goal" else f"{field}.observations"
            encoded = await self._encode(world, observations, name, of_goal=field == "goal")
        return Seen(encoded.latents, encoded.ood, await self._keep(world, encoded))

    def _judge(
        self,
        world: World,
        request: m.PlanRequest,
        asked: Asked,
        details: Mapping[str, Floats],
        frames: Mapping[str, Seen | None],
        changed: bool,
    ) -> dict[str, Any]:
        """Whether a plan may be executed and how far it may be trusted, as fields of an answer."""
        gap = float(details[HELD_OUT_GAP][0]) if HELD_OUT_GAP in details else None
        probabilities = tuple(details[BROKEN].tolist()) if BROKEN in details else ()
        known = {"held_out_gap": gap, "constraint_probability": probabilities}
        reasons = ["constraint"] if broken(asked, probabilities) else []
        calibration, expected = world.calibration, details.get(EXPECTED_ERROR)
        if calibration is None or asked.guarded is None or expected is None:
            return known | {"status": "refused" if reasons else "ok", "reasons": reasons}
        strange = {name: strangest(seen) for name, seen in frames.items()}
        # Goals in readouts are measured in other units than those that the gap was calibrated in.
        comparable = gap if request.goal is None or request.goal.readouts is None else None
        spread, distance = details["disagreement"], details[DISTANCE]
        found = trust.of_plan(world, asked.guarded, expected, spread, distance, comparable, strange)
        reasons += found.reasons
        if changed:
            reasons.append("changed")
        return known | {
            "status": "refused" if reasons else "ok",
            "reasons": tuple(reasons),
            "calibrated": True,
            "level": asked.guarded.level.level,
            "radius": found.radius,
            "joint_radius": found.joint_radius,
            "readout_radius": found.readout_radius,
            "ood": found.ood,
            "ood_p_value": found.ood_p_value,
            "disagreement_p_value": found.disagreement_p_value,
            "trusted_horizon": found.trusted_horizon,
            "held_out_gap_p_value": found.held_out_gap_p_value,
            "observation_p_value": found.frame_p_values["observation"],
            "goal_p_value": found.frame_p_values["goal"],
            "p_value_resolution": trust.resolution(asked.guarded.plans),
            "refusal_level": asked.guarded.known_level,
        }

    def _unlikeness(self, world: World, encoded: Encoded) -> dict[str, Any]:
        """How unlike others frames are, as fields of an answer; none where nobody has measured it."""
        if world.calibration is None or encoded.ood is None:
            return {}
        must_be_finite(encoded.ood)
        p_values = trust.p_values(world.calibration.quantiles.ood, encoded.ood, world.calibration.trajectories)
        self._metrics.observe_p_values("encode", world.name, p_values)
        finest = trust.resolution(world.calibration.trajectories)
        return {
            "calibrated": True,
            "ood": tuple(encoded.ood),
            "ood_p_value": tuple(p_values),
            "p_value_resolution": finest,
        }

    def _trust(self, world: World, rolled: Rolled, asked: Confidence | None) -> dict[str, Any]:
        """How far rollouts may be trusted, as fields of an answer; none where nobody has measured it."""
        if world.calibration is None or asked is None or rolled.expected_error is None or rolled.distance is None:
            return {}
        must_be_finite(rolled.expected_error, rolled.distance)
        found = trust.of_rollouts(world, rolled, asked)
        self._metrics.observe_trust("rollout", world.name, found.radius, found.trusted_horizon)
        self._metrics.observe_p_values("rollout", world.name, found.ood_p_value)
        return {
            "calibrated": True,
            "level": asked.level.level,
            "radius": found.radius,
            "joint_radius": found.joint_radius,
            "readout_radius": found.readout_radius,
            "ood": tuple(found.ood),
            "ood_p_value": tuple(found.ood_p_value),
            "disagreement_p_value": tuple(found.disagreement_p_value),
            "trusted_horizon": tuple(found.trusted_horizon),
            "p_value_resolution": trust.resolution(world.calibration.trajectories),
        }

    async def _keep(self, world: World, encoded: Encoded) -> str | None:
        """Handle of latents; None where they cannot be kept, which is no reason not to answer."""
        try:
            return await self._latents.put(world, encoded.latents, encoded.ood)
        except StateUnavailable:
            self._metrics.unkept.labels("latents").inc()
            return None

    async def _decide(self, world: World, start: Start, actions: Floats, execute_steps: int) -> str | None:
        """Handle of a decision; None where it cannot be kept, which is no reason not to answer."""
        try:
            return await self._decisions.put(world, start, actions, execute_steps)
        except StateUnavailable:
            self._metrics.unkept.labels("decision").inc()
            return None

    async def _changed(self, world: World, session: str) -> bool:
        """Whether a session has seen its world change; StateUnavailable where that cannot be known: it may have."""
        if world.calibration is None:
            return False
        return await self._watches.changed(world.name, world.calibration.digest, session)

    def _observe_plan(
        self, world: World, algorithm: str, state: SearchState, judgement: Mapping[str, Any], decision_id: str | None
    ) -> None:
        assert state.stop_reason is not None
        assert state.best is not None
        self._metrics.observe_disagreement("plan", world.name, state.best.details["disagreement"][None], decision_id)
        if judgement.get("calibrated"):
            horizon = np.array([judgement["trusted_horizon"]])
            self._metrics.observe_trust("plan", world.name, judgement["radius"][None], horizon)
            self._metrics.observe_p_values("plan", world.name, np.array([judgement["ood_p_value"]]))
            gap = judgement["held_out_gap_p_value"]
            self._metrics.observe_gap(world.name, gap, decision_id)
        self._metrics.observe_refusal(world.name, judgement["reasons"])
        self._metrics.plan_iterations.labels(world.name, algorithm).observe(state.iterations)
        self._metrics.plan_stops.labels(world.name, state.stop_reason.value).inc()

    def _time_limit(self, timeout_ms: int | None) -> "TimeLimit":
        return TimeLimit(self._default_timeout_s if timeout_ms is None else timeout_ms / 1000)


class TimeLimit:
    """Ends its block with DeadlineExceeded when the time is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        """Begin."""
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        """End."""
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {self._seconds * 1000:.0f} ms") from None


def timing(started: float, encoded: float, spent: Progress) -> m.PlanTiming:
    """Where the time went, from the clock's readings at the start and after encoding."""
    return m.PlanTiming(
        encode_ms=(encoded - started) * 1000,
        cost_ms=spent.cost_s * 1000,
        search_ms=spent.search_s * 1000,
        total_ms=(perf_counter() - started) * 1000,
    )


def broken(asked: Asked, probabilities: tuple[float, ...]) -> bool:
    """Whether a constraint is broken with more than its risk."""
    boxes = asked.goal.constraints
    return any(found > box.risk for found, box in zip(probabilities, boxes, strict=True))


def strangest(seen: Seen | None) -> float | None:
    """How unlike others the strangest frame is; None where it is not known."""
    return None if seen is None or seen.ood is None else float(seen.ood.max())


def shaped(world: World, latents: Floats | None) -> Any:
    """Latents `[..., D]` in the shape that the contract gives them; None stays None."""
    return None if latents is None else latents.reshape(*latents.shape[:-1], *world.latent_shape)


def must_be_finite(*arrays: Floats | None) -> None:
    """End the call if an engine answered NaN or infinity: no caller shall act on that."""
    if not all(np.isfinite(array).all() for array in arrays if array is not None):
        raise BackendFault("the engine answered NaN or infinity")
