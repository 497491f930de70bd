"""Episodes of Two-Room through a server that is told what came of each model step: in its own world, and in others.

Changes cannot be seen: frames are drawn as ever, only what actions do is another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import trange
from wmserve_client import Acted, Client, PlanningPolicy
from wmserve_client.results import Observed
from wmserve_export.reference import collect, environment

from loadtest.execute_plans import Step, path, picture
from loadtest.trusting.rollouts import WORLD

MODEL_STEPS = 10
SLOWER = 0.5
Floats = NDArray[np.float32]


def slower(position: Floats, action: Floats, door: Floats) -> Floats:
    """Actions do half of what they did."""
    return environment.step(position, np.float32(SLOWER) * action, door)


def closer(position: Floats, action: Floats, door: Floats) -> Floats:
    """The wall is nearer than it looks, by a model step's way, and there is no door in it."""
    way = np.float32(environment.SPEED * collect.ACTION_BLOCK)
    side = np.where(position[:, :1] < environment.WALL, way, -way) * np.float32([1, 0])
    return environment.step(position + side, action, np.full_like(door, -1000.0)) - side


CHANGES: Mapping[str, Step] = {"none": environment.step, "actions halved": slower, "wall moved, unseen": closer}


@dataclass(frozen=True)
class Played:
    """What one episode's observations said; and, of a session that all episodes share, the coverage so far."""

    outcomes: list[Observed]
    coverage: float

    @property
    def flagged(self) -> bool:
        """Whether the world was called another."""
        return bool(self.outcomes[-1].changed)


def play(client: Client, change: str, count: int, seed: int) -> list[Played]:
    """Episodes from room to room; the first model steps of each."""
    rng, policy = np.random.default_rng(seed), PlanningPolicy(client, WORLD, safe_action=(0, 0))
    return [
        episode(client, policy, change, f"{change} {number}", rng)
        for number in trange(count, desc=f"change: {change}", unit="episode", mininterval=2)
    ]


def episode(client: Client, policy: PlanningPolicy, change: str, name: str, rng: np.random.Generator) -> Played:
    """Play one."""
    door = int(collect.any_doors(rng, 1)[0])
    position, goal = opposite_positions(rng)
    policy.reset(picture(goal, door))
    frame, outcomes, coverage = picture(position, door), [], 0.0
    for _ in range(MODEL_STEPS):
        actions = np.stack([policy.act(frame) for _ in range(collect.ACTION_BLOCK)])
        position = path(position, actions, door, CHANGES[change])[-1:]
        before, frame = frame, picture(position, door)
        acted, plan = Acted(before, actions), policy.last_plan
        done = plan if plan is not None and plan.status == "ok" else acted  # a refused plan was not executed
        outcomes.append(client.observe(WORLD, frame, done, session=name))
        shared = client.observe(WORLD, frame, acted, session=f"all of {change}")
        coverage = shared.coverage or 0.0
    return Played(outcomes, coverage)


def opposite_positions(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A start and a goal `[1, 2]` in different rooms."""
    while True:
        start, goal = (environment.free_positions(rng, 1) for _ in range(2))
        if (start[0, 0] < environment.WALL) != (goal[0, 0] < environment.WALL):
            return start, goal
