"""Builds requests from what a caller has at hand: arrays, image files, handles, earlier answers.

What an array is, its dtype says: uint8 are frames, floats are latents. Nothing is checked here that the server
checks; it knows the world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from wmserve.arrays import to_tensor
from wmserve.v1 import world_model_pb2 as pb

from wmserve_client.results import Encoded, Plan

Array: TypeAlias = NDArray[Any]
Frames: TypeAlias = Array | bytes | Sequence[bytes]
"""Frames `[T, h, w, 3]` or `[h, w, 3]` uint8, RGB; or a PNG or JPEG file; or T such files."""


@dataclass(frozen=True)
class Observation:
    """What was observed where frames are not all: of a robot that also says of itself where it is."""

    frames: Frames | None
    """None for a world that looks at none."""
    proprioception: ArrayLike
    """`[T, Q]` or `[Q]`, environment units, one row per frame."""


Observations: TypeAlias = Frames | Observation
Source: TypeAlias = Observations | Encoded | str
"""What was observed, or latents `[T, D]` or `[D]` float32, or an earlier answer, or its `latents_id`."""


@dataclass(frozen=True)
class Context:
    """A start of several frames: its source, and the actions between the frames `[(T - 1) * action_block, A]`."""

    source: Source
    action_history: ArrayLike


@dataclass(frozen=True)
class Acted:
    """What was done: from a source on, actions `[N, A]`, environment units."""

    source: "Source | Context"
    actions: ArrayLike


@dataclass(frozen=True)
class PlannerOptions:
    """Overrides the world's planner, field by field; None leaves it to the world."""

    algorithm: str | None = None
    """``cem``, ``icem`` or ``mppi``."""
    horizon: int | None = None
    """Model steps looked ahead."""
    candidate_count: int | None = None
    iterations: int | None = None
    elite_count: int | None = None
    hold_steps: int | None = None
    """Environment steps for which a sampled action is held; a divisor of the action block."""
    initial_std: float | None = None
    """Fraction of each action axis' range, in (0, 1]."""
    seed: int | None = None
    """Equal seeds give equal plans. In a loop it is that of an episode's first plan: the others' follow from it."""
    warm_start: ArrayLike | None = None
    """`[M, A]`, M <= N, environment units: where the search starts."""


@dataclass(frozen=True)
class ActionLimits:
    """Narrows what a plan may do; each is `[A]`, environment units."""

    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    max_rate: Sequence[float] | None = None
    """Largest change from one environment step to the next."""
    previous_action: Sequence[float] | None = None
    """The action executed last, from which the rate limit starts."""


@dataclass(frozen=True)
class Constraint:
    """A box of readouts that a plan is to keep out of, or within, at every step."""

    kind: str
    """``keep_out`` or ``keep_in``."""
    readouts: Mapping[str, tuple[float, float]]
    """Lowest and highest value of some readouts, in their units; the box is where all are between."""
    risk: float | None = None
    """Largest probability that it is broken at any step."""


@dataclass(frozen=True)
class Guard:
    """Says when a plan is to be refused; None takes the default, which is safe."""

    level: float | None = None
    """Probability that radii are to hold with, one of the world's."""
    tolerance: float | None = None
    """Largest radius that is of use, latent units: a bound that is held whatever the refusal level."""
    penalty: float | None = None
    """What a latent unit of the searching members' disagreement, mean over the plan, costs the search."""
    refusal_level: float | None = None
    """Part of the plans that came true in the calibration that each check lets pass, such as 0.999."""
    return_refused: bool = False
    """Whether to return the actions of a refused plan, too."""


def floats(array: ArrayLike) -> pb.Tensor:
    """Any numbers as a float32 tensor."""
    return to_tensor(np.asarray(array, np.float32))


def observations(frames: Observations) -> pb.Observations:
    """What was observed as a message."""
    if isinstance(frames, Observation):
        message = pb.Observations() if frames.frames is None else observations(frames.frames)
        message.proprioception.CopyFrom(floats(frames.proprioception))
        return message
    if isinstance(frames, bytes):
        return pb.Observations(images=pb.Images(files=[frames]))
    if isinstance(frames, np.ndarray):
        return pb.Observations(array=to_tensor(frames))
    return pb.Observations(images=pb.Images(files=frames))


def source(given: Source, observation_field: str) -> dict[str, Any]:
    """Where latents come from, as fields of a Context or a Goal."""
    if isinstance(given, Encoded):
        return {"latents_id": given.latents_id}
    if isinstance(given, str):
        return {"latents_id": given}
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        return {"latents": floats(given)}
    return {observation_field: observations(given)}


def context(given: Source | Context) -> pb.Context:
    """A context as a message."""
    if isinstance(given, Context):
        history = floats(given.action_history)
        return pb.Context(**source(given.source, "observations"), action_history=history)
    return pb.Context(**source(given, "observations"))


def goal(given: Source | Mapping[str, float]) -> pb.Goal:
    """A goal as a message; a mapping names readouts and their wanted values."""
    if isinstance(given, Mapping):
        return pb.Goal(readouts=pb.ReadoutTargets(values=given))
    return pb.Goal(**source(given, "observation"))


def planner(options: PlannerOptions | None) -> pb.PlannerOptions:
    """Planner options as a message; None is left to the server."""
    given = {} if options is None else {name: value for name, value in vars(options).items() if value is not None}
    warm_start = given.pop("warm_start", None)
    return pb.PlannerOptions(**given, warm_start=None if warm_start is None else floats(warm_start))


def limits(given: ActionLimits | None) -> pb.ActionLimits:
    """Action limits as a message."""
    return pb.ActionLimits(**({} if given is None else {k: v for k, v in vars(given).items() if v is not None}))


def constraint(given: Constraint) -> pb.Constraint:
    """A constraint as a message."""
    bounds = {name: pb.Interval(low=low, high=high) for name, (low, high) in given.readouts.items()}
    return pb.Constraint(kind=f"CONSTRAINT_KIND_{given.kind.upper()}", readouts=bounds, risk=given.risk or 0)


def encode(world: str, frames: Observations, return_latents: bool, session: str = "") -> pb.EncodeRequest:
    """A request to encode."""
    seen = observations(frames)
    return pb.EncodeRequest(world=world, observations=seen, return_latents=return_latents, session=session)


def rollout(
    world: str,
    start: Source | Context,
    actions: ArrayLike | None,
    hidden: ArrayLike | None,
    return_latents: bool,
    level: float | None,
    tolerance: float | None,
    session: str = "",
) -> pb.RolloutRequest:
    """A request to roll out."""
    return pb.RolloutRequest(
        world=world,
        context=context(start),
        actions=None if actions is None else floats(actions),
        hidden=None if hidden is None else to_tensor(np.asarray(hidden, np.uint8)),
        return_latents=return_latents,
        level=level,
        tolerance=tolerance,
        session=session,
    )


def observe(
    world: str,
    frame: Observations,
    done: "str | Plan | Acted",
    executed_steps: int | None,
    session: str,
    level: float | None,
) -> pb.ObserveRequest:
    """A request that tells what came of actions."""
    request = pb.ObserveRequest(
        world=world,
        observation=observations(frame),
        executed_steps=executed_steps,
        session=session,
        level=level,
    )
    if isinstance(done, Acted):
        request.acted.CopyFrom(pb.Acted(context=context(done.source), actions=floats(done.actions)))
    else:
        request.decision_id = done if isinstance(done, str) else done.decision_id
    return request


def plan(
    world: str,
    start: Source | Context | None,
    target: Source | Mapping[str, float] | None,
    options: PlannerOptions | None,
    action_limits: ActionLimits | None,
    deadline_ms: int | None,
    constraints: Sequence[Constraint],
    guard: Guard | None,
    session: str,
    execute_steps: int | None = None,
) -> pb.PlanRequest:
    """A request to plan; without a start it does not say yet from where on."""
    return pb.PlanRequest(
        world=world,
        context=None if start is None else context(start),
        goal=None if target is None else goal(target),
        planner=planner(options),
        limits=limits(action_limits),
        deadline_ms=deadline_ms or 0,
        constraints=[constraint(one) for one in constraints],
        guard=pb.Guard(**({} if guard is None else {k: v for k, v in vars(guard).items() if v is not None})),
        session=session,
        execute_steps=execute_steps or 0,
    )
