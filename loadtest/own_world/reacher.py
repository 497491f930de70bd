"""dm_control's Reacher as stable-worldmodel has it, quick to draw, registered as `own/Reacher-v0`.

    wmserve execute WORLD --env gymnasium:loadtest.own_world.reacher:own/Reacher-v0 …

An arm of two joints is to be where it was in a goal's frame; success is that of the peer's task `qpos_match`: each
joint within 0.05 radians. Without shadows and smoothed edges a frame takes a third of the time where no GPU draws it.
Beside that, the environment is put into recorded states, and says its state under a name that recordings keep.
"""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium
import numpy as np
from numpy.typing import NDArray
from wmserve.torchvision import declare_operators

declare_operators()
from stable_worldmodel.envs.dmcontrol.reacher import ReacherDMControlWrapper  # noqa: E402
from stable_worldmodel.policy import BasePolicy  # noqa: E402

JOINTS = 2
ID = "own/Reacher-v0"


class Reacher(ReacherDMControlWrapper):  # type: ignore[misc]
    """The arm; its state `[4]` is the joints' angles in radians and their speeds in radians a second."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(task="qpos_match", render_mode=render_mode)
        self.render_mode = render_mode
        self._goal: NDArray[np.float64] | None = None

    def compile_model(self, seed: int | None = None, environment_kwargs: dict[str, Any] | None = None) -> None:
        """Build the physics, drawn plainly; the files that they were read from are not needed again."""
        super().compile_model(seed, environment_kwargs)
        self._mjcf_tempdir.cleanup()
        self.env.physics.model.vis.quality.offsamples = 0
        self.env.physics.model.vis.quality.shadowsize = 0

    @property
    def info(self) -> dict[str, Any]:
        """The peer's, the state, and whether every joint is where the goal has it.

        The peer's task ends its episode there, and its next step begins another: plans are executed to their end.
        """
        said, state = super().info, self._state()
        if self._goal is not None:
            said["success"] = bool(np.all(np.abs(state - self._goal)[:JOINTS] < self.env.task.qpos_threshold))
        return {**said, "state": state}

    def _state(self) -> NDArray[np.float64]:
        data = self.env.physics.data
        return np.concatenate([data.qpos, data.qvel])

    def _get_info(self) -> dict[str, Any]:
        return self.info

    def reset_to(self, state: NDArray[np.float64]) -> None:
        """Put the arm into a state `[4]`."""
        self.set_state(state[:JOINTS], state[JOINTS:])

    def set_goal(self, state: NDArray[np.float64]) -> None:
        """Name the goal by a state `[4]`: its angles are to be matched, its speeds are not."""
        self._goal = np.asarray(state, np.float64)


class Swinging(BasePolicy):  # type: ignore[misc]
    """Torques drawn anew every few steps: drawn at each step they cancel out, and the arm hardly moves."""

    HELD = 5

    def __init__(self, most: float, seed: int) -> None:
        super().__init__()
        self._most, self._rng, self._step = most, np.random.default_rng(seed), 0

    def get_action(self, obs: Any, **unused: Any) -> NDArray[np.float32]:
        """Torques `[environments, 2]` within `most` of full torque."""
        del obs, unused
        if self._step % self.HELD == 0:
            shape: Sequence[int] = self.env.action_space.shape
            self._torques = self._rng.uniform(-self._most, self._most, shape).astype(np.float32)
        self._step += 1
        return self._torques


gymnasium.register(ID, Reacher)
