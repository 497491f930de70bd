"""Two-Room with a trap: a pit that holds whoever steps in, cannot be seen, and that no log has ever entered.

    python -m loadtest.trusting.pit --out loadtest/trusting/pit_world

makes its world, as the reference world is made, in some minutes. Who logged knew of the pit and went around it, at a
distance; what is trained on these logs has never seen the place and knows of no reason not to cross it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from wmserve_export.families.conv_jepa import save
from wmserve_export.reference import collect, environment, fit, goal_metric, train
from wmserve_export.reference.collect import Behaviour, Trajectories

NAME = "two_room_pit"
CENTER, HALF = np.float32([81, 112]), np.float32([23, 18])
"""In the left room, up to the wall; there is a way around it on the left."""
MARGIN = environment.SPEED * collect.ACTION_BLOCK
"""So far from its edge, px, keeps who logs and knows of it: one model step."""
DOOR = 49
"""Everywhere the same: what a pit is like is the matter here, not what walls are like."""
TRAINING_SEED, HELD_OUT_SEED = 12_000_000, 12_500_000
RECIPE = train.Recipe(
    per_layout=1500,
    world=fit.Recipe(layouts=1, trajectories=64, steps=1800, member_steps=4000, readout_steps=1500),
    metric=goal_metric.Recipe(steps=800),
)
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def inside(positions: Floats, margin: float = 0.0) -> Bools:
    """Whether positions `[..., 2]`, px, are in the pit, or nearer to it than a margin."""
    near = (np.abs(positions - CENTER) < HALF + np.float32(margin)).all(axis=-1)
    return np.asarray(near & (positions[..., 0] < environment.WALL))


def step(position: Floats, action: Floats, door: Floats) -> Floats:
    """Move agents `[M, 2]` one environment step; those in the pit stay there."""
    return np.where(inside(position)[:, None], position, environment.step(position, action, door))


def walk(rng: np.random.Generator, doors: environment.Ints) -> tuple[Floats, Floats]:
    """Positions `[M, N + 1, 2]` and actions `[M, N, 2]` of those who know of the pit; none of them enters it."""
    behaviour = Behaviour(rng, doors, collect.SHARES)
    doors = behaviour.doors
    positions, actions = [outside(rng, len(doors))], []
    way = rng.choice(np.float32([-1, 1]), len(doors))[:, None]
    for _ in range(collect.MODEL_STEPS * collect.ACTION_BLOCK):
        now, action = positions[-1], behaviour(positions[-1])
        away = now - CENTER
        away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        around = np.clip(way * np.stack([-away[:, 1], away[:, 0]], axis=1) + 0.5 * away, -1, 1)
        for other in (around, away):  # away from a point of a convex pit never leads into it
            action = np.where(inside(environment.step(now, action, doors), MARGIN)[:, None], other, action)
        actions.append(action.astype(np.float32))
        positions.append(environment.step(now, actions[-1], doors))
    walked = np.stack(positions, axis=1)
    assert not inside(walked, MARGIN).any(), "the logs stay outside"
    return walked, np.stack(actions, axis=1)


def outside(rng: np.random.Generator, count: int) -> Floats:
    """Free positions `[M, 2]` that keep the logs' distance from the pit."""
    found = environment.free_positions(rng, 4 * count + 100)
    return found[~inside(found, MARGIN)][:count]


def logs(seed: int, doors: environment.Ints) -> Trajectories:
    """One trajectory for each of ``doors`` `[M]`."""
    positions, actions = walk(np.random.default_rng(seed), doors)
    kept = positions[:, :: collect.ACTION_BLOCK]
    blocks = actions.reshape(len(doors), collect.MODEL_STEPS, collect.ACTION_BLOCK, 2)
    return Trajectories(
        collect.draw(kept, doors), torch.from_numpy(blocks), torch.from_numpy(kept), torch.from_numpy(doors)
    )


def main() -> None:
    """Train and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    data = logs(TRAINING_SEED, np.full(RECIPE.per_layout, DOOR))
    held_out = logs(HELD_OUT_SEED, np.full(RECIPE.held_out, DOOR))
    world, _ = train.make(RECIPE, data, held_out)
    description = "Two-Room with an unseen pit in the left room that no log has entered; for tests of trust."
    world.config = world.config.model_copy(update={"name": NAME, "description": description})
    save(world, world.config, out)


if __name__ == "__main__":
    main()
