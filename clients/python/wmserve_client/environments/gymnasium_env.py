"""Gymnasium's environments as simulators; stable-worldmodel's are such environments, too."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.simulators import Expert, Floats, Frame, SetState, State

SETTERS = ("reset_to", "_set_state", "set_state")
"""Methods of environments that can be put into a state, the first that is there."""
GOAL_SETTERS = ("set_goal", "_set_goal_state", "set_goal_state")
CLASSIC = "gymnasium.envs.classic_control."
"""Its environments keep their state in the attribute `state`, once they have been reset."""
PEER = "stable_worldmodel.envs."


class GymnasiumSimulator:
    """A Gymnasium environment, its frames rendered or taken from its observations."""

    def __init__(self, env: Any, camera: str | None = None, set_state: SetState | None = None) -> None:
        """Take frames from the observation's key `camera` (``observation``: all of it), else render them."""
        self.env = env
        self.base = env.unwrapped
        self.action_space = env.action_space
        self.info: dict[str, Any] = {}
        self._camera = camera
        self._observation: Any = None
        self._set_state = set_state or setter(self.base)

    @property
    def settable(self) -> bool:
        """Whether it can be put into a state."""
        return self._set_state is not None

    def reset(self, seed: int) -> None:
        """Begin anew."""
        self._observation, self.info = self.env.reset(seed=seed)

    def reset_to(self, state: State) -> None:
        """Put it into a state; observations are stale until the next step, so frames are rendered."""
        assert self._set_state is not None, "it was asked whether it is settable"
        self._set_state(self.base, state)
        told = getattr(self.base, "_get_info", None)  # what the reset said is of another state
        self.info = {**self.info, **(told() if callable(told) else {"state": state})}

    def set_goal(self, state: State) -> None:
        """Name the goal, where it can be named."""
        for name in GOAL_SETTERS:
            if callable(getattr(self.base, name, None)):
                getattr(self.base, name)(state)
                self.info = {**self.info, "goal_state": state}
                return

    @property
    def aims(self) -> bool:
        """Whether its goal can be named."""
        return any(callable(getattr(self.base, name, None)) for name in GOAL_SETTERS)

    def render(self) -> Frame:
        """The frame that it shows."""
        if self._camera is None:
            frame = self.env.render()
            if frame is None:
                raise EnvironmentFault("it renders nothing: make it with render_mode='rgb_array', or name --camera KEY")
            return frame[0] if isinstance(frame, list | tuple) else frame
        seen = self._observation
        if self._camera == "observation":
            return seen
        if not isinstance(seen, Mapping) or self._camera not in seen:
            keys = ", ".join(seen) if isinstance(seen, Mapping) else "none"
            raise EnvironmentFault(f"its observations have no {self._camera}; keys: {keys}")
        return seen[self._camera]

    def step(self, action: Floats) -> Any:
        """Do an action of its space."""
        space = self.action_space
        answer = self.env.step(np.asarray(action, space.dtype).reshape(space.shape))
        self._observation, self.info = answer[0], answer[4]
        return answer

    @property
    def expert(self) -> Expert | None:
        """The expert of the environment's own package, where stable-worldmodel has one for it."""
        module = type(self.base).__module__
        if not module.startswith(PEER):
            return None
        made = getattr(importlib.import_module(module.rpartition(".")[0]), "ExpertPolicy", None)
        if made is None:
            return None
        policy = made()
        policy.set_env(self.env)

        def act(env: Any, info: dict[str, Any]) -> Any:
            del env
            return policy.get_action(info)

        return act

    def close(self) -> None:
        """End it."""
        self.env.close()


def setter(base: Any) -> SetState | None:
    """How an environment is put into a state; None where it cannot be."""
    if hasattr(base, "model") and hasattr(base.model, "nq") and callable(getattr(base, "set_state", None)):
        return lambda env, state: env.set_state(state[: env.model.nq], state[env.model.nq :])  # MuJoCo's
    for name in SETTERS:
        if callable(getattr(base, name, None)):
            return lambda env, state, name=name: getattr(env, name)(state)  # type: ignore[misc]
    if hasattr(base, "state") or type(base).__module__.startswith(CLASSIC):

        def assign(env: Any, state: State) -> None:
            env.state = state.copy()

        return assign
    return None
