"""What each tool does: flat arguments -> the core's request -> the core -> its answer, told.

Arguments have been checked when they come here; errors of the core leave with the fields' names that the caller knows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from wmserve_server import messages as m
from wmserve_server.errors import InvalidArgument, WmserveError
from wmserve_server.json_arrays import AnyArray
from wmserve_server.tools import answers as a
from wmserve_server.tools import arguments as given
from wmserve_server.tools import telling
from wmserve_server.tools.cards import described, listed
from wmserve_server.world_model import WorldModel

NAMES: Mapping[str, str] = {
    "acted.context.latents_id": "latents_id",
    "acted.context.observations": "start_images",
    "acted.context.action_history": "action_history",
    "acted.context": "start_images",
    "acted.actions": "actions",
    "context.latents_id": "latents_id",
    "context.observations": "images",
    "context.action_history": "action_history",
    "context": "images",
    "goal.latents_id": "goal_latents_id",
    "goal.readouts": "goal_readouts",
    "goal": "goal_latents_id",
    "observations.proprioception": "proprioception",
    "observation.proprioception": "proprioception",
    "observations": "images",
    "observation": "images",
    "constraints": "keep_out, keep_in",
}
"""The core's fields, as tools name them; the longer ones first."""


@contextmanager
def renamed() -> Iterator[None]:
    """Let errors of the core name the field that the caller knows."""
    try:
        yield
    except WmserveError as error:
        if error.field is not None:
            known = (name for name in NAMES if error.field == name or error.field.startswith((f"{name}.", f"{name}[")))
            error.field = NAMES.get(next(known, ""), error.field)
        raise


async def worlds(core: WorldModel, arguments: given.WorldsArguments) -> a.WorldsAnswer:
    """List the worlds, or describe one: the only one needs no name."""
    served = core.worlds()
    if arguments.world is None and len(served) != 1:
        return listed(served)
    return described(core.world(arguments.world or next(iter(served))))


async def encode(core: WorldModel, arguments: given.EncodeArguments) -> a.EncodeAnswer:
    """Encode what is seen."""
    world = core.world(arguments.world)
    with renamed():
        observations = seen(arguments.images, arguments.proprioception)
        answer = await core.encode(m.EncodeRequest(world=world.name, observations=observations))
    return telling.encode(world, answer, full=arguments.detail == "full")


async def rollout(core: WorldModel, arguments: given.RolloutArguments) -> a.RolloutAnswer:
    """Predict what actions will do."""
    world = core.world(arguments.world)
    rows = rectangle(arguments.actions)
    actions = np.repeat(rows, arguments.hold_steps or 1, axis=0)
    with renamed():
        answer = await core.rollout(m.RolloutRequest(world=world.name, context=context(arguments), actions=actions))
    return telling.rollout(world, answer, full=arguments.detail == "full")


async def search(core: WorldModel, arguments: given.PlanArguments) -> m.PlanResponse:
    """Search for a plan; the answer holds its actions also where it is refused."""
    boxes = (("keep_out", arguments.keep_out), ("keep_in", arguments.keep_in))
    with renamed():
        return await core.plan(
            m.PlanRequest(
                world=arguments.world,
                context=context(arguments),
                goal=goal(arguments),
                planner=m.PlannerOptions(seed=arguments.seed),
                constraints=tuple(
                    m.Constraint(kind=kind, readouts={one.readout: (one.low, one.high) for one in box})
                    for kind, box in boxes
                    if box
                ),
                guard=m.Guard(return_refused=True),
                session=arguments.session or "",
                execute_steps=arguments.execute_steps,
            )
        )


async def plan(core: WorldModel, arguments: given.PlanArguments) -> a.PlanAnswer:
    """Plan; a refused plan comes without its actions."""
    world, found = core.world(arguments.world), await search(core, arguments)
    return telling.plan(world, found, full=arguments.detail == "full")


async def observe(core: WorldModel, arguments: given.ObserveArguments) -> a.ObserveAnswer:
    """Say what came of actions."""
    world = core.world(arguments.world)
    acted = None
    if arguments.actions:
        acted = m.Acted(context=context(arguments), actions=rectangle(arguments.actions))
    request = m.ObserveRequest(
        world=world.name,
        decision_id=arguments.decision_id,
        acted=acted,
        observation=seen(arguments.images, arguments.proprioception),
        executed_steps=arguments.executed_steps,
        session=arguments.session or "",
    )
    with renamed():
        answer = await core.observe(request)
    return telling.observe(world, answer, full=arguments.detail == "full")


def seen(images: list[bytes], proprioception: list[float]) -> m.Observations:
    """Frames, and what a robot says of itself."""
    if not images and not proprioception:
        raise InvalidArgument("images or proprioception are needed", field="images")
    felt = np.array(proprioception) if proprioception else None
    return m.Observations(images=tuple(images) or None, proprioception=felt)


def context(arguments: given.Started | given.ObserveArguments) -> m.Context:
    """Where it starts."""
    images = arguments.start_images if isinstance(arguments, given.ObserveArguments) else arguments.images
    return m.Context(
        latents_id=arguments.latents_id,
        observations=m.Observations(images=tuple(images)) if images else None,
        action_history=rectangle(arguments.action_history, "action_history") if arguments.action_history else None,
    )


def goal(arguments: given.PlanArguments) -> m.Goal | None:
    """What is wanted; None where nothing is said."""
    if arguments.goal_latents_id is not None:
        return m.Goal(latents_id=arguments.goal_latents_id)
    if arguments.goal_readouts:
        return m.Goal(readouts={target.readout: target.value for target in arguments.goal_readouts})
    return None


def rectangle(rows: list[list[float]], field: str = "actions") -> AnyArray:
    """Rows of equal length as an array `[N, A]`."""
    if len({len(row) for row in rows}) != 1:
        raise InvalidArgument("rows must be of equal length", field=field)
    return np.array(rows)
