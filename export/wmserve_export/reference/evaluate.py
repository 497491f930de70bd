"""Plays Two-Room with a checkpoint, in process and without a server: quick figures while a world is being made.

`python -m wmserve_export.reference.evaluate CHECKPOINT` prints a table of the four protocols and their baselines on
the tuning seeds and the tuning doors. Final figures are the business of `make eval`, through a running server.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from wmserve.intervals import wilson
from wmserve.world import PlannerDefaults

from wmserve_export.families.conv_jepa import ConvJepa, load
from wmserve_export.families.images import reduce_frames
from wmserve_export.reference import environment
from wmserve_export.reference.collect import ACTION_BLOCK, DEFAULT_DOOR, IMAGE_SIZE, TUNING_DOORS, TUNING_SEED, walk
from wmserve_export.reference.environment import Floats, Ints
from wmserve_export.reference.planning import goal_cost, latent_cost, plan

RECORDED_SHARES = (0.6, 0.0, 0.4)
"""Experts, probers and walkers among recorded trajectories: starts and goals are not those of probers."""
GOAL_OFFSET = 25
SEARCH = PlannerDefaults(
    algorithm="cem", horizon=5, candidate_count=64, iterations=4, elite_count=8, hold_steps=5, initial_std=0.5
)
"""CEM for all episodes at once; what is served searches less, and is judged through a server."""


@dataclass(frozen=True)
class Protocol:
    """One way to draw episodes."""

    name: str
    doors: tuple[int, ...]
    recorded: bool
    """Start and goal from one recorded trajectory, GOAL_OFFSET environment steps apart; else from different rooms."""
    budget: int
    """Environment steps."""


PROTOCOLS = (
    Protocol("lewm_protocol", (DEFAULT_DOOR,), True, 50),
    Protocol("hard_protocol", (DEFAULT_DOOR,), False, 150),
    Protocol("doors_lewm_protocol", TUNING_DOORS, True, 50),
    Protocol("doors_hard_protocol", TUNING_DOORS, False, 150),
)


@dataclass(frozen=True)
class Episodes:
    """Starts `[M, 2]`, goals `[M, 2]` and doors `[M]`, pixels; no start is within the goal's radius."""

    start: Floats
    goal: Floats
    door: Ints


Policy = Callable[[Floats, Episodes], Floats]
"""Positions `[M, 2]` and their episodes -> the actions `[M, n, 2]` of the next model step."""


def draw_episodes(protocol: Protocol, count: int, seed: int) -> Episodes:
    """The first ``count`` fair ones of many drawn."""
    rng = np.random.default_rng(seed)
    drawn = 4 * count
    door = rng.choice(np.array(protocol.doors), drawn)
    if protocol.recorded:
        positions, _ = walk(rng, door, RECORDED_SHARES)
        time = rng.integers(0, positions.shape[1] - GOAL_OFFSET, drawn)
        start, goal = positions[np.arange(drawn), time], positions[np.arange(drawn), time + GOAL_OFFSET]
        fair = np.ones(drawn, bool)
    else:
        start, goal = environment.free_positions(rng, drawn), environment.free_positions(rng, drawn)
        fair = (start[:, 0] < environment.WALL) != (goal[:, 0] < environment.WALL)
    fair &= np.linalg.norm(start - goal, axis=1) >= environment.SUCCESS_RADIUS
    chosen = np.flatnonzero(fair)[:count]
    return Episodes(start[chosen], goal[chosen], door[chosen])


def play(episodes: Episodes, budget: int, policy: Policy) -> NDArray[np.bool_]:
    """Which episodes `[M]` come within the goal's radius at any step of the budget."""
    position = episodes.start.copy()
    done = np.zeros(len(position), bool)
    for _ in range(0, budget, ACTION_BLOCK):
        live = np.flatnonzero(~done)
        if not len(live):
            break
        some = Episodes(episodes.start[live], episodes.goal[live], episodes.door[live])
        actions = policy(position[live], some)
        for step in range(ACTION_BLOCK):
            position[live] = environment.step(position[live], actions[:, step], some.door.astype(np.float32))
            done[live] |= np.linalg.norm(position[live] - some.goal, axis=1) < environment.SUCCESS_RADIUS
    return done


@torch.no_grad()
def see(world: ConvJepa, positions: Floats, doors: Ints) -> Tensor:
    """Latents `[M, D]` of agents at positions `[M, 2]` behind doors `[M]`."""
    frames = [environment.render(positions[index : index + 1], int(door)) for index, door in enumerate(doors)]
    return world.encoder(torch.cat([reduce_frames(frame, IMAGE_SIZE) for frame in frames]))


def planner_policy(world: ConvJepa, cost: Callable[[Tensor, Tensor], Tensor], seed: int) -> Policy:
    """Plan again at every model step."""
    generator = torch.Generator().manual_seed(seed)

    def act(position: Floats, episodes: Episodes) -> Floats:
        latents, goal = see(world, position, episodes.door), see(world, episodes.goal, episodes.door)
        actions = plan(world, latents, goal, cost, SEARCH, generator)
        return actions[:, :ACTION_BLOCK].numpy()

    return act


def policies(world: ConvJepa, seed: int) -> dict[str, Policy]:
    """The world's planner and what it is held against."""
    rng = np.random.default_rng(seed)
    shape = (ACTION_BLOCK, 2)
    plain = latent_cost(torch.eye(world.config.latent_dim), path_weight=0.0)
    return {
        "world": planner_policy(world, goal_cost(world), seed),
        "plain latent distance": planner_policy(world, plain, seed),
        "random": lambda position, _: rng.uniform(-1, 1, (len(position), *shape)).astype(np.float32),
        "no action": lambda position, _: np.zeros((len(position), *shape), np.float32),
    }


def evaluate(world: ConvJepa, count: int, seed: int = TUNING_SEED) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Success rate with its interval, by policy and protocol; printed as it comes."""
    table: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, policy in policies(world, seed).items():
        row = {}
        for protocol in PROTOCOLS:
            done = play(draw_episodes(protocol, count, seed), protocol.budget, policy)
            row[protocol.name] = (float(done.mean()), *wilson(int(done.sum()), count))
            rate, low, high = row[protocol.name]
            print(f"{name:24} {protocol.name:22} {100 * rate:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]", flush=True)
        table[name] = row
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--episodes", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    evaluate(load(arguments.checkpoint), arguments.episodes)


if __name__ == "__main__":
    main()
