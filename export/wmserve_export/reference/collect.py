"""The data of the reference world: trajectories of a noisy expert and of random walks, grouped by layout.

A layout is one door position; several trajectories share it, and training knows which do. Bands of door positions
are kept out of training altogether, one half for tuning, the other for the final evaluation; so are ranges of seeds.
Who acts here knows where the door is, as the environment's own expert does; what is trained on it sees frames.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from wmserve_export.families.images import reduce_frames
from wmserve_export.reference import environment
from wmserve_export.reference.environment import Floats, Ints

TRAINING_SEED = 1_000_000
HELD_OUT_SEED = 2_000_000
"""Frames and rollouts on which errors are reported."""
TUNING_SEED = 3_000_000
EVALUATION_SEED = 4_000_000
"""First seeds of four ranges a million wide; nothing but the final evaluation uses the last."""

DEFAULT_DOOR = 49
TUNING_DOORS = (*range(60, 70), *range(130, 140))
EVALUATION_DOORS = (*range(95, 105), *range(165, 175))
TRAINING_DOORS = tuple(door for door in range(35, 190) if door not in TUNING_DOORS + EVALUATION_DOORS)

ACTION_BLOCK = 5
MODEL_STEPS = 16
"""Length of a trajectory; a frame is kept at each model step."""
IMAGE_SIZE = 64

SHARES = (0.4, 0.3, 0.3)
"""Parts of the trajectories that experts, probers and walkers make."""
PROBE_DEPTH = 35.0
PROBE_REACH = 50.0
"""How far behind the wall, and how far beside the door's centre, a prober's goal may lie, pixels."""
PROBE_RENEWAL = 0.06
"""Chance that a prober takes a new goal before it arrives, each environment step."""


def any_doors(rng: np.random.Generator, count: int) -> Ints:
    """Doors anywhere along the wall, those of the training among them."""
    return rng.integers(min(TRAINING_DOORS), max(TRAINING_DOORS) + 1, count)


@dataclass(frozen=True)
class Trajectories:
    """`M` trajectories of `L` model steps, `n` environment steps a block."""

    frames: Tensor
    """`[M, L + 1, 3, 64, 64]` uint8."""
    actions: Tensor
    """`[M, L, n, 2]` float32 in [-1, 1]."""
    positions: Tensor
    """`[M, L + 1, 2]` float32, pixels; only probes and evaluation look at it."""
    doors: Tensor
    """`[M]` int64, pixels; training uses it only to tell which trajectories share a layout."""


class Behaviour:
    """Acts for `M` agents at once, each in one of three ways.

    Experts go from goal to goal through the door. Probers run at the wall near the door, from side to side, so that
    the data shows where exactly the door ends. Walkers hold a random action for a while.
    """

    EXPERT, PROBER, WALKER = range(3)

    def __init__(self, rng: np.random.Generator, doors: Ints, shares: tuple[float, float, float]) -> None:
        count = len(doors)
        self.rng = rng
        self.doors = doors.astype(np.float32)
        self.kind = rng.choice(3, count, p=shares)
        self.noise = rng.choice([0.1, 0.3, 0.6], count).astype(np.float32)[:, None]
        self.hold = rng.choice([1, 3, 5, 10, 20], count)
        self.goal = environment.free_positions(rng, count)
        self.held = self.random_actions(count)

    def __call__(self, position: Floats) -> Floats:
        """Actions `[M, 2]` at positions `[M, 2]`."""
        arrived = np.linalg.norm(position - self.goal, axis=1) < environment.SUCCESS_RADIUS
        tired = (self.kind == self.PROBER) & (self.rng.random(len(position)) < PROBE_RENEWAL)
        self.goal = np.where((arrived | tired)[:, None], self.next_goal(position), self.goal)
        # Probers take the straight way: to a door at the height of their goal.
        doors = np.where(self.kind == self.PROBER, self.goal[:, 1], self.doors)
        guided = environment.expert_action(position, self.goal, doors)
        guided += self.noise * self.rng.standard_normal(guided.shape, dtype=np.float32)
        renewed = self.rng.random(len(position)) < 1.0 / self.hold
        self.held = np.where(renewed[:, None], self.random_actions(len(position)), self.held)
        walker = (self.kind == self.WALKER)[:, None]
        return np.clip(np.where(walker, self.held, guided), -1.0, 1.0).astype(np.float32)

    def random_actions(self, count: int) -> Floats:
        """Actions `[M, 2]` over the whole square, its edges more often than its inside, as planners choose them."""
        return np.clip(self.rng.uniform(-1.5, 1.5, (count, 2)), -1.0, 1.0).astype(np.float32)

    def next_goal(self, position: Floats) -> Floats:
        """Goals `[M, 2]`: anywhere; for probers across the wall, at the door's height or next to it."""
        anywhere = environment.free_positions(self.rng, len(position))
        side = np.where(position[:, 0] < environment.WALL, PROBE_DEPTH, -PROBE_DEPTH)
        height = self.doors + self.rng.uniform(-PROBE_REACH, PROBE_REACH, len(position))
        across = np.stack([environment.WALL + side, height.clip(environment.LOW, environment.HIGH)], axis=1)
        return np.where((self.kind == self.PROBER)[:, None], across, anywhere).astype(np.float32)


def walk(rng: np.random.Generator, doors: Ints, shares: tuple[float, float, float] = SHARES) -> tuple[Floats, Floats]:
    """Positions `[M, N + 1, 2]` and actions `[M, N, 2]` at every environment step."""
    behaviour = Behaviour(rng, doors, shares)
    positions = [environment.free_positions(rng, len(doors))]
    actions = []
    for _ in range(MODEL_STEPS * ACTION_BLOCK):
        actions.append(behaviour(positions[-1]))
        positions.append(environment.step(positions[-1], actions[-1], behaviour.doors))
    return np.stack(positions, axis=1), np.stack(actions, axis=1)


def draw(positions: Floats, doors: Ints) -> Tensor:
    """Frames `[M, L + 1, 3, 64, 64]` uint8 of positions `[M, L + 1, 2]`, reduced as the served encoder reduces them."""
    count, length = positions.shape[:2]
    frames = torch.empty((count, length, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    for index in tqdm(range(count), desc="rendering", unit="trajectory", mininterval=5):
        rendered = environment.render(positions[index], int(doors[index]))
        frames[index] = reduce_frames(rendered, IMAGE_SIZE).round().to(torch.uint8)
    return frames


def collect(seed: int, doors: Ints) -> Trajectories:
    """One trajectory for each of ``doors`` `[M]`."""
    positions, actions = walk(np.random.default_rng(seed), doors)
    kept = positions[:, ::ACTION_BLOCK]
    blocks = actions.reshape(len(doors), MODEL_STEPS, ACTION_BLOCK, 2)
    return Trajectories(draw(kept, doors), torch.from_numpy(blocks), torch.from_numpy(kept), torch.from_numpy(doors))


def training_data(per_layout: int, per_default_layout: int, layouts: tuple[int, ...] | None = None) -> Trajectories:
    """The training set: ``per_layout`` trajectories of every training door, or these, more of the default one."""
    doors = np.repeat(np.array(TRAINING_DOORS if layouts is None else layouts), per_layout)
    extra = np.full(per_default_layout - per_layout, DEFAULT_DOOR)
    return collect(TRAINING_SEED, np.sort(np.concatenate([doors, extra])))


def held_out_data(count: int) -> Trajectories:
    """Trajectories behind doors never trained on, for the training card."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    return collect(HELD_OUT_SEED + 1, rng.choice(np.array(TUNING_DOORS), count))
