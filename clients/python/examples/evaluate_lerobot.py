"""Evaluates a server as a policy by LeRobot's own `eval_policy`.

python -m clients.python.examples.evaluate_lerobot [HOST:PORT] [EPISODES]     # of a running server

It needs LeRobot (`pip install 'wmserve[lerobot]'`; in this repository `make .lerobot/.installed`, and
PYTHONPATH=.lerobot).
"""

import sys
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from clients.python.examples.two_room import PICTURE, WORLD, TwoRoom

# Before LeRobot, which looks for torchvision, too.
from lerobot.policies.factory import make_pre_post_processors  # isort: skip
from lerobot.processor import PolicyProcessorPipeline  # isort: skip
from lerobot.scripts.lerobot_eval import eval_policy  # isort: skip
from wmserve_client.lerobot import WmserveConfig, WmservePolicy  # isort: skip


class TwoCameras(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Two-Room as LeRobot has environments: pictures under `pixels`, by camera."""

    task = task_description = "go to the goal"

    def __init__(self) -> None:
        super().__init__(TwoRoom())
        self.observation_space = spaces.Dict({"pixels": spaces.Dict({"top": PICTURE, "goal": PICTURE})})

    def observation(self, observation: Any) -> Any:
        """Sort the pictures."""
        return {"pixels": {"top": observation["pixels"], "goal": observation["goal"]}}


def main(address: str = "localhost:8081", episodes: str = "4") -> None:
    """Evaluate, and print LeRobot's own figures."""
    config = WmserveConfig(
        address=address, world=WORLD, camera="observation.images.top", safe_action=[0.0, 0.0], device="cpu"
    )
    before, after = make_pre_post_processors(config)
    nothing = PolicyProcessorPipeline[Any, Any](steps=[])
    env = SyncVectorEnv([TwoCameras] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    policy = WmservePolicy(config)
    found = eval_policy(env, policy, nothing, nothing, before, after, n_episodes=int(episodes), start_seed=0)
    print({name: found["aggregated"][name] for name in ("pc_success", "eval_ep_s")})


if __name__ == "__main__":
    main(*sys.argv[1:])
