"""Gymnasium's vector environments: each of their environments is acted in by plans of a server.

    observations, _ = envs.reset()
    agent.reset()
    ended = None
    while True:
        observations, _, terminated, truncated, _ = envs.step(agent.act(observations, ended))
        ended = terminated | truncated

Environments end one at a time, and are reset by themselves. `envs.metadata["autoreset_mode"]` says when: in the step
that ends an episode (SAME_STEP), in the one after (NEXT_STEP), or by the caller before the next step (DISABLED).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmserve_client.gymnasium import Readings, pixels
from wmserve_client.policy import PlanningPolicy
from wmserve_client.requests import Observations, Source

try:
    import gymnasium
    from gymnasium import spaces
except ModuleNotFoundError as error:  # the plain install has no environments
    raise ModuleNotFoundError("this adapter needs: pip install 'wmserve[gymnasium]'") from error

MAX_CONCURRENT_PLANS = 8


class VectorAgent:
    """Acts in each environment of a pool; nothing of an episode outlives it."""

    def __init__(
        self,
        make: Callable[[], PlanningPolicy],
        envs: "gymnasium.vector.VectorEnv[Any, Any, Any]",
        goal: Callable[[Any], Source | Readings],
        camera: Callable[[Any], Observations] = pixels,
    ) -> None:
        """Make one policy for each environment; ask `goal` and `camera` of one environment's observation.

        ValueError where actions do not fit, or the pool does not say how it resets.
        """
        self._next_step = resets_in_the_next_step(envs)
        self._policies = [make() for _ in range(envs.num_envs)]
        axes, space = self._policies[0].contract.action.axes, envs.single_action_space
        if not isinstance(space, spaces.Box) or int(np.prod(space.shape)) != len(axes):
            raise ValueError(f"the world's actions are {', '.join(axis.name for axis in axes)}; these take {space}")
        self._space = space
        self._goal = goal
        self._camera = camera
        self._begins = np.ones(len(self._policies), bool)

    def reset(self) -> None:
        """Begin an episode in each environment."""
        self._begins[:] = True

    def act(self, observations: Any, ended: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """The next actions `[num_envs, ...]`, of the pool's action space.

        `ended` `[num_envs]`: which episodes were terminated or truncated by the step that these observations are of;
        None after a reset of all. Where an environment is reset in the next step, which ignores its action, that is
        the middle of the bounds.
        """
        over = np.zeros(len(self._policies), bool) if ended is None else np.asarray(ended, bool)
        begins = self._begins if self._next_step else self._begins | over
        acting = [index for index in range(len(over)) if not (self._next_step and over[index])]
        seen = {index: self._camera(of_one(observations, index)) for index in acting}

        def prepare(index: int) -> None:
            policy, goal = self._policies[index], self._goal(of_one(observations, index))
            if begins[index]:
                policy.reset(goal)
            policy.aim(goal)
            policy.prepare(seen[index])

        with ThreadPoolExecutor(MAX_CONCURRENT_PLANS) as pool:
            list(pool.map(prepare, acting))
        self._begins = over if self._next_step else np.zeros_like(over)
        middle = (self._space.low + self._space.high) / 2
        actions = np.tile(middle, (len(over), *(1,) * middle.ndim)).astype(self._space.dtype)
        for index in acting:
            actions[index] = self._fitting(self._policies[index].act(seen[index]))
        return actions

    def _fitting(self, action: NDArray[np.float32]) -> NDArray[Any]:
        shaped = action.reshape(self._space.shape).astype(self._space.dtype)
        if shaped not in self._space:
            raise ValueError(f"the plan says {shaped.tolist()}, and the environments take {self._space}")
        return shaped


def resets_in_the_next_step(envs: "gymnasium.vector.VectorEnv[Any, Any, Any]") -> bool:
    """Whether an environment that has ended is reset by the step after; ValueError where the pool does not say."""
    mode = envs.metadata.get("autoreset_mode")
    if not isinstance(mode, gymnasium.vector.AutoresetMode):
        raise ValueError(f"metadata['autoreset_mode'] must be an AutoresetMode, and is {mode!r}")
    return mode is gymnasium.vector.AutoresetMode.NEXT_STEP


def of_one(observations: Any, index: int) -> Any:
    """One environment's part of the pool's observations."""
    if isinstance(observations, Mapping):
        return {name: of_one(part, index) for name, part in observations.items()}
    return observations[index]
