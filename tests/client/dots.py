"""A Gymnasium environment as small as they get: a colour that two pushes change, seen in frames of 8 x 8.

Its actions and readout fit the linear world of the exporter's tests, which believes in it as little as it should.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class Colours(gymnasium.Env[Any, Any]):
    """Two pushes move red and green; success is to be near the goal's colour."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, render_mode: str | None = None, high: float = 2.0, drifts: bool = False) -> None:
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1.0, high, (2,), np.float32)
        self.observation_space = spaces.Dict({"top": spaces.Box(0, 255, (8, 8, 3), np.uint8)})
        self.colour = np.zeros(3)
        self.goal = np.full(3, 128.0)
        self._drifts = drifts

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A colour of the seed; one that drifts is another each time."""
        super().reset(seed=None if self._drifts and seed is not None else seed)
        del options
        self.colour = self.np_random.uniform(64, 192, 3)
        return {"top": self.picture()}, {"goal": np.full((8, 8, 3), 128, np.uint8)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Push."""
        self.colour[:2] = np.clip(self.colour[:2] + 4 * np.asarray(action), 0, 255)
        near = bool(np.abs(self.colour - self.goal)[:2].max() < 16)
        return {"top": self.picture()}, 0.0, False, False, {"success": near}

    def render(self) -> Any:
        """The frame, where it was asked for."""
        return self.picture() if self.render_mode == "rgb_array" else None

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Be a colour."""
        self.colour = np.array(state, np.float64)

    def set_goal(self, state: NDArray[np.float64]) -> None:
        """Want a colour."""
        self.goal = np.array(state, np.float64)

    def picture(self) -> NDArray[np.uint8]:
        """All of one colour."""
        return np.tile(np.round(self.colour).astype(np.uint8), (8, 8, 1))


gymnasium.register("Colours-v0", Colours)
gymnasium.register("NarrowColours-v0", Colours, kwargs={"high": 1.5})
gymnasium.register("DriftingColours-v0", Colours, kwargs={"drifts": True})


def height(env: Colours, info: dict[str, Any]) -> list[float]:
    """What the linear world's readout should say."""
    del info
    return [float(env.colour[0] / 255)]


def colours(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A problem."""
    return rng.uniform(64, 192, 3), rng.uniform(64, 192, 3)


def always(env: Colours, info: dict[str, Any], goal: Any) -> bool:
    """All is well."""
    del env, info, goal
    return True
