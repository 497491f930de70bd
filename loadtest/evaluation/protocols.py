"""The four protocols on `swm/TwoRoom-v1`, as problems that stable-worldmodel's `World.evaluate` plays.

LeWM protocol: start and goal from one held-out trajectory, the goal 25 environment steps ahead, budget 50.
Hard protocol: start and goal in different rooms, drawn anywhere, budget 150. Each with the door where it always is, and
with doors at positions that training never saw. Success is the environment's own: within 16 px at any step; problems
that are solved at the start are drawn again, and counted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stable_worldmodel import World
from stable_worldmodel.envs.two_room import TwoRoomEnv
from tqdm import tqdm
from wmserve_export.reference import collect, environment

GOAL_OFFSET = 25
MAX_EPISODE_STEPS = 10_000
"""Over every budget: `World`'s own default of 100 would cut the hard protocol short."""
IMAGE_SHAPE = (224, 224)


@dataclass(frozen=True)
class Protocol:
    """How problems are drawn, and how many environment steps there are to solve them."""

    name: str
    budget: int
    doors: tuple[int, ...]
    different_rooms: bool
    seed: int


PROTOCOLS = tuple(
    Protocol(f"{prefix}{name}", budget, doors, different_rooms, collect.EVALUATION_SEED + number)
    for number, (prefix, doors, name, budget, different_rooms) in enumerate(
        (prefix, doors, *rest)
        for prefix, doors in (("", (collect.DEFAULT_DOOR,)), ("doors_", collect.EVALUATION_DOORS))
        for rest in (("lewm_protocol", 50, False), ("hard_protocol", 150, True))
    )
)


@dataclass(frozen=True)
class Problems:
    """`M` problems: start and goal positions `[M, 2]`, pixels, and doors `[M]`."""

    starts: NDArray[np.float32]
    goals: NDArray[np.float32]
    doors: NDArray[np.int64]
    solved_at_start: int
    """Problems that were drawn and left out because their start is their goal."""


def draw(protocol: Protocol, count: int) -> Problems:
    """Draw problems from the seeds that nothing else uses; the same for every policy."""
    rng = np.random.default_rng(protocol.seed)
    drawn = 4 * count
    doors = rng.choice(np.array(protocol.doors), drawn)
    if protocol.different_rooms:
        starts, goals = (environment.free_positions(rng, drawn) for _ in range(2))
        keep = (starts[:, 0] < environment.WALL) != (goals[:, 0] < environment.WALL)
    else:
        positions, _ = collect.walk(rng, doors)
        at = rng.integers(0, positions.shape[1] - GOAL_OFFSET, drawn)
        starts, goals = positions[np.arange(drawn), at], positions[np.arange(drawn), at + GOAL_OFFSET]
        keep = np.ones(drawn, bool)
    solved = np.linalg.norm(starts - goals, axis=1) < environment.SUCCESS_RADIUS
    chosen = np.flatnonzero(keep & ~solved)[:count]
    left_out = int((keep & solved)[: chosen[-1] + 1].sum())
    return Problems(starts[chosen], goals[chosen], doors[chosen], left_out)


def set_door(env: TwoRoomEnv, door: int) -> None:
    """Put the door where the problem has it, also after a reset."""
    env.variation_space["door"]["position"].set_init_value(np.array([door] * env.MAX_DOOR))


class Start:
    """Problems as the data set that `World.evaluate` asks: of each episode it reads the first frame and the last."""

    column_names = ("pixels", "state")

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._env = TwoRoomEnv()

    def load_chunk(
        self, episodes: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> list[dict[str, torch.Tensor]]:
        """Start and goal of each episode: `pixels` `[2, 3, h, w]` uint8 and `state` `[2, 2]`."""
        del starts, ends
        return [self._episode(int(index)) for index in episodes]

    def _episode(self, index: int) -> dict[str, torch.Tensor]:
        set_door(self._env, int(self._problems.doors[index]))
        self._env.reset()
        state = torch.tensor(np.stack([self._problems.starts[index], self._problems.goals[index]]))
        return {"pixels": torch.stack([self._env._render_frame(position) for position in state]), "state": state}


CALLABLES = [
    {"method": "_set_state", "args": {"state": {"value": "state"}}},
    {"method": "_set_goal_state", "args": {"goal_state": {"value": "goal_state"}}},
]
"""How stable-worldmodel puts its Two-Room environment into a recorded state."""


class Progress:
    """A policy that counts the steps of the policy inside on a progress bar."""

    def __init__(self, policy: object, label: str, budget: int) -> None:
        self._policy = policy
        self._bar = tqdm(total=budget, desc=label, unit="step", leave=False, mininterval=1)

    def set_env(self, env: object) -> None:
        """Pass on."""
        self._policy.set_env(env)  # type: ignore[attr-defined]

    def get_action(self, infos: dict[str, object]) -> NDArray[np.float32]:
        """Pass on, and count."""
        self._bar.update()
        return self._policy.get_action(infos)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


def arena(problems: Problems) -> World:
    """A pool with an environment for each problem, its door in its place."""
    world = World("swm/TwoRoom-v1", len(problems.starts), image_shape=IMAGE_SHAPE, max_episode_steps=MAX_EPISODE_STEPS)
    for env, door in zip(world.envs.envs, problems.doors, strict=True):
        set_door(env.unwrapped, int(door))
    return world


def evaluate(world: World, problems: Problems, budget: int) -> NDArray[np.bool_]:
    """Successes `[M]` of the policy that the pool has been given, by the peer's own evaluation."""
    count = len(problems.starts)
    result = world.evaluate(
        dataset=Start(problems),
        episodes_idx=list(range(count)),
        start_steps=[0] * count,
        goal_offset=GOAL_OFFSET,
        eval_budget=budget,
        callables=CALLABLES,
    )
    return np.asarray(result["episode_successes"], bool)


def play(protocol: Protocol, problems: Problems, policy: object, label: str) -> NDArray[np.bool_]:
    """Successes `[M]` of a policy in a pool of its own, with a progress bar."""
    world, progress = arena(problems), Progress(policy, f"{protocol.name}: {label}", protocol.budget)
    world.set_policy(progress)
    successes = evaluate(world, problems, protocol.budget)
    progress.close()
    world.close()
    return successes
