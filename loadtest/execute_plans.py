"""Has a server plan in Two-Room, executes the plans, and keeps what came of them: what plans are calibrated on.

    python -m loadtest.execute_plans --out build/plans [--count 3000] [--server HOST:PORT]

Each plan is of a problem of its own: a start, a goal and a door, each anywhere. It is executed to its end, whether it
was refused or not.
"""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from wmserve_client import Client, Guard, Plan, PlannerOptions
from wmserve_export.calibration.trajectories import Trajectory
from wmserve_export.reference import collect, environment
from wmserve_export.reference.calibrate import WORLD

from loadtest.evaluation.two_room import connected

SEED, TEST_SEED = 10_000_000, 11_000_000
"""First seeds of two ranges: what is calibrated on one is tested on the other."""
AT_ONCE = 4
ALL = Guard(return_refused=True)
Floats = NDArray[np.float32]
Step = Callable[[Floats, Floats, Floats], Floats]
"""Positions `[1, 2]`, actions `[1, 2]` and doors `[1]` to positions `[1, 2]`."""


@dataclass(frozen=True)
class Problem:
    """Where to start, where to go `[1, 2]`, px, and where the door is."""

    start: Floats
    goal: Floats
    door: int

    def picture(self, place: Floats) -> NDArray[np.uint8]:
        """The frame `[h, w, 3]` with the agent at `[1, 2]`."""
        return picture(place, self.door)


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


def problem(seed: int) -> Problem:
    """A problem, the same for the same seed."""
    rng = np.random.default_rng(seed)
    start, goal = environment.free_positions(rng, 1), environment.free_positions(rng, 1)
    return Problem(start, goal, int(collect.any_doors(rng, 1)[0]))


def execute(asked: Problem, plan: Plan) -> Trajectory:
    """Execute a plan to its end."""
    assert plan.actions is not None, "refused plans are asked for, too"
    walked = path(asked.start, plan.actions, asked.door)
    return trajectory(walked, plan.actions, asked.door, asked.picture(asked.goal))


def executed(client: Client, seed: int, count: int) -> Iterator[tuple[Plan, Trajectory]]:
    """Plans with what came of them, in the order of their seeds."""

    def one(number: int) -> tuple[Plan, Trajectory]:
        asked = problem(seed + number)
        options = PlannerOptions(seed=seed + number)
        plan = client.plan(WORLD, asked.picture(asked.start), asked.picture(asked.goal), planner=options, guard=ALL)
        return plan, execute(asked, plan)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from tqdm(pool.map(one, range(count)), "executing plans", total=count, unit="plan", mininterval=2)


def prediction_errors(client: Client, plan: Plan, done: Trajectory) -> NDArray[np.float64]:
    """How far off each step `[H]` of a plan was, latent units; the server's rollouts are its plans' predictions."""
    said = client.rollout(WORLD, plan.latents_id, done.actions, return_latents=True).latents
    seen = [client.encode(WORLD, frame, return_latents=True).latents for frame in done.observations[1:]]
    assert said is not None
    errors: NDArray[np.float64] = np.linalg.norm(np.float64(said[0]) - np.concatenate(seen), axis=-1)  # type: ignore[arg-type]
    return errors


def main() -> None:
    """Write the plans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=3000, help="plans (default: %(default)s)")
    parser.add_argument("--server", help="host:port of a running server; starts one without")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with connected(options.server) as client:
        for number, (_, done) in enumerate(executed(client, SEED, options.count)):
            arrays = {name: value for name, value in vars(done).items() if value is not None}
            np.savez_compressed(options.out / f"{number:05}.npz", **arrays)


if __name__ == "__main__":
    main()
