"""Evaluates a server as a policy by stable-worldmodel's own `World.evaluate`, on goals that its noisy expert came by.

python -m clients.python.examples.evaluate_stable_worldmodel [HOST:PORT] [EPISODES]     # of a running server

`wmserve evaluate two_room --env stable-worldmodel:swm/TwoRoom-v1 --trajectories DIR` does the like without any code,
beside that package's own solver.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from clients.python.examples.two_room import WORLD

# After that example, which lets stable-worldmodel import torchvision.
from stable_worldmodel import World  # isort: skip
from stable_worldmodel.data import load_dataset  # isort: skip
from stable_worldmodel.envs.two_room import ExpertPolicy  # isort: skip
from wmserve_client import Client  # isort: skip
from wmserve_client.stable_worldmodel import ServerPolicy  # isort: skip

ENVIRONMENT, IMAGE_SHAPE = "swm/TwoRoom-v1", (224, 224)
GOAL_OFFSET, BUDGET = 25, 50
"""Environment steps from start to goal, and to reach it in."""
SET_STATE = [
    {"method": "_set_state", "args": {"state": {"value": "state"}}},
    {"method": "_set_goal_state", "args": {"goal_state": {"value": "goal_state"}}},
]
"""How that package puts its environment into a recorded state."""


def record(folder: Path, episodes: int) -> Path:
    """A dataset in the package's own format."""
    world = World(ENVIRONMENT, 4, image_shape=IMAGE_SHAPE)
    world.set_policy(ExpertPolicy(action_noise=0.5, seed=0))
    world.collect(folder / "data.lance", episodes=episodes, seed=0, progress=False)
    world.close()
    return folder / "data.lance"


def main(address: str = "localhost:8081", episodes: str = "4") -> None:
    """Evaluate, and print the package's own figures."""
    count = int(episodes)
    with tempfile.TemporaryDirectory() as folder, Client(address) as client:
        dataset = load_dataset(str(record(Path(folder), 4 * count)))
        long_enough = np.flatnonzero(np.asarray(dataset.lengths) > GOAL_OFFSET)[:count].tolist()
        world = World(ENVIRONMENT, len(long_enough), image_shape=IMAGE_SHAPE, max_episode_steps=10 * BUDGET)
        world.set_policy(ServerPolicy(client, WORLD))
        found = world.evaluate(
            dataset=dataset,
            episodes_idx=long_enough,
            start_steps=[0] * len(long_enough),
            goal_offset=GOAL_OFFSET,
            eval_budget=BUDGET,
            callables=SET_STATE,
        )
        world.close()
    print(f"success: {found['success_rate']:.0f} % of {len(long_enough)} episodes")


if __name__ == "__main__":
    main(*sys.argv[1:])
