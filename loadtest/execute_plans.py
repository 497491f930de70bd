"""Plans of Two-Room that are executed, for measurements; what a calibration needs comes of `wmserve execute`."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from wmserve_client import Client, Plan
from wmserve_client.environments import executing
from wmserve_client.environments.opening import Opening
from wmserve_client.environments.problems import Drawn
from wmserve_export.calibration.trajectories import Trajectory
from wmserve_export.reference import collect, environment
from wmserve_export.reference.calibrate import WORLD
from wmserve_export.reference.rooms import Rooms

TEST_SEED = 11_000_000
"""First seed; the Makefile's calibration has another range."""
AT_ONCE = 4
Floats = NDArray[np.float32]
Step = Callable[[Floats, Floats, Floats], Floats]
"""Positions `[1, 2]`, actions `[1, 2]` and doors `[1]` to positions `[1, 2]`."""


def picture(place: Floats, door: int) -> NDArray[np.uint8]:
    """The frame `[h, w, 3]` with the agent at `[1, 2]`."""
    frame: NDArray[np.uint8] = environment.render(place, door)[0].numpy()
    return frame


def path(start: Floats, actions: Floats, door: int, step: Step = environment.step) -> Floats:
    """Positions `[N + 1, 2]` that actions `[N, 2]` lead through."""
    places, doors = [start], np.array([door], np.float32)
    for action in actions:
        places.append(step(places[-1], action[None], doors))
    return np.concatenate(places)


def trajectory(positions: Floats, actions: Floats, door: int, goal: NDArray[np.uint8] | None = None) -> Trajectory:
    """What was done and seen, a frame at each model step of positions `[N + 1, 2]`."""
    places = positions[:: collect.ACTION_BLOCK]
    readouts = np.column_stack([places, np.full(len(places), door)]).astype(np.float32)
    return Trajectory(environment.render(places, door).numpy(), actions, readouts, goal)


def executed(client: Client, seed: int, count: int) -> Iterator[tuple[Plan, Trajectory]]:
    """Plans with what came of them, as they come; each of a problem of its own."""
    world, rooms = client.world(WORLD), Opening(f"{Rooms.__module__}:{Rooms.__name__}")
    problems = Drawn(Rooms().draw, world, seed)
    done = executing.executed(client, world, rooms, problems, list(range(count)), AT_ONCE)
    for _, one in tqdm(done, "executing plans", total=count, unit="plan", mininterval=2):
        yield one.plan, Trajectory(**vars(one.trajectory))


def prediction_errors(client: Client, plan: Plan, done: Trajectory) -> NDArray[np.float64]:
    """How far off each step `[H]` of a plan was, latent units; the server's rollouts are its plans' predictions."""
    said = client.rollout(WORLD, plan.latents_id, done.actions, return_latents=True).latents
    seen = [client.encode(WORLD, frame, return_latents=True).latents for frame in done.observations[1:]]
    assert said is not None
    errors: NDArray[np.float64] = np.linalg.norm(np.float64(said[0]) - np.concatenate(seen), axis=-1)  # type: ignore[arg-type]
    return errors
