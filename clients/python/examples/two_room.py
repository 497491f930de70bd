"""stable-worldmodel's Two-Room as the examples play it: what a camera sees, and the picture to bring about."""

from typing import Any

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision

# isort: split
import gymnasium
import numpy as np
import stable_worldmodel  # noqa: F401  # registers swm/TwoRoom-v1
from gymnasium import spaces
from numpy.typing import NDArray

WORLD = "two_room"
MAX_STEPS = 150
PICTURE = spaces.Box(0, 255, (224, 224, 3), np.uint8)

Pictures = dict[str, NDArray[np.uint8]]


class TwoRoom(gymnasium.Wrapper[Pictures, NDArray[np.float32], Any, Any]):
    """Observes `pixels` and `goal`; the environment draws start and goal from the seed."""

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        super().__init__(gymnasium.make("swm/TwoRoom-v1", max_episode_steps=max_steps, disable_env_checker=True))
        self.observation_space = spaces.Dict({"pixels": PICTURE, "goal": PICTURE})
        self._max_episode_steps = max_steps
        self._goal = np.zeros(PICTURE.shape, np.uint8)

    def reset(self, **how: Any) -> tuple[Pictures, dict[str, Any]]:
        """Begin an episode."""
        _, info = self.env.reset(**how)
        room: Any = self.env.unwrapped
        self._goal = picture(room, room.target_position)
        return self._pictures(), info | {"is_success": False}

    def step(self, action: NDArray[np.float32]) -> tuple[Pictures, float, bool, bool, dict[str, Any]]:
        """Move; the episode ends within 16 px of the goal."""
        _, reward, reached, out_of_time, info = self.env.step(action)
        return self._pictures(), float(reward), bool(reached), out_of_time, info | {"is_success": bool(reached)}

    def _pictures(self) -> Pictures:
        room: Any = self.env.unwrapped
        return {"pixels": picture(room, room.agent_position), "goal": self._goal}


def picture(room: Any, position: Any) -> NDArray[np.uint8]:
    """The frame `[224, 224, 3]` with the agent at a position."""
    return np.ascontiguousarray(room._render_frame(position).numpy().transpose(1, 2, 0))
