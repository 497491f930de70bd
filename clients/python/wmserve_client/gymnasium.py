"""Gymnasium, both ways round.

Agent      acts in an environment that has a camera, by plans of a server (in a vector environment: VectorAgent)
DreamEnv   is an environment: a served world, in which an agent may rehearse

Neither executes a refused plan: the agent does what its policy does then, which is to raise `PlanRefusedError` unless
the caller has named a safe action.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from wmserve.v1 import world_model_pb2 as pb

from wmserve_client.client import Client
from wmserve_client.policy import PlanningPolicy
from wmserve_client.requests import Context, Observations, Source
from wmserve_client.results import Encoded, Floats, Rollout

try:
    import gymnasium
    from gymnasium import spaces
except ModuleNotFoundError as error:  # the plain install has no environments
    raise ModuleNotFoundError("this adapter needs: pip install 'wmserve[gymnasium]'") from error

Readings = Mapping[str, float]
"""Readouts by name, in their units."""
Start = Observations | Encoded | Context
"""What an episode starts from: frames, or an earlier answer; with the actions between them, where there are several."""


def pixels(observation: Any) -> Observations:
    """The frame `[h, w, 3]` uint8 that an observation is, or has under ``pixels``; TypeError where there is none."""
    frame = observation.get("pixels") if isinstance(observation, Mapping) else observation
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        raise TypeError(
            "the observation is no frame of uint8 and has none under 'pixels': say where the camera's frame is "
            "(camera=), or wrap the environment in gymnasium's AddRenderObservation"
        )
    return frame


class Agent:
    """Acts in an environment: `reset(goal)`, then `env.step(agent.act(observation))` until the episode ends."""

    def __init__(
        self, policy: PlanningPolicy, env: "gymnasium.Env[Any, Any]", camera: Callable[[Any], Observations] = pixels
    ) -> None:
        """Ask `camera` for what the world is shown of an observation. ValueError where actions do not fit."""
        if isinstance(env, gymnasium.vector.VectorEnv):
            raise ValueError("a vector environment has many episodes: use wmserve_client.gymnasium_vector.VectorAgent")
        space, axes = env.action_space, policy.contract.action.axes
        if not isinstance(space, spaces.Box) or int(np.prod(space.shape)) != len(axes):
            names = ", ".join(axis.name for axis in axes)
            raise ValueError(f"the world's actions are {names}; the environment takes {space}")
        self.policy = policy
        self._space = space
        self._camera = camera

    def reset(self, goal: Source | Readings) -> None:
        """Begin an episode."""
        self.policy.reset(goal)

    def act(self, observation: Any) -> Any:
        """The next action, of the environment's space; ValueError where it is outside: give the policy `limits`."""
        action = self.policy.act(self._camera(observation)).reshape(self._space.shape).astype(self._space.dtype)
        if action not in self._space:
            raise ValueError(f"the plan says {action.tolist()}, and the environment takes {self._space}")
        return action


class DreamEnv(gymnasium.Env[Floats, Floats]):
    """A served world as an environment: what a rollout expects is what is observed.

    A step is a model step: its action `[action_block, A]`, environment units, what is observed `[R]`, the readouts
    expected after it, within the bounds that the contract gives them. What the task is, the caller says.

    Every step is predicted from the episode's start, so its `radius` is that of so many steps. Where radii are over the
    tolerance, predictions are of no use: there the episode is truncated (the world's knowledge ends, no terminal state
    is reached), like at the world's horizon. Infos say `steps`, `trusted`, and, where the world is calibrated,
    `radius`, `readout_radius` `[R]`, `disagreement`, `trusted_horizon`, `ood_p_value`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # as gymnasium declares it

    def __init__(
        self,
        client: Client,
        world: str,
        starts: Sequence[Start],
        reward: Callable[[Readings], float],
        reached: Callable[[Readings], bool] = lambda _: False,
        *,
        level: float | None = None,
        tolerance: float | None = None,
        past_trust: bool = False,
    ) -> None:
        """Start each episode from one of `starts`, drawn; `reward` and `reached` judge what is expected after a step.

        Radii hold with probability `level`, one of the world's, and are of use up to `tolerance`, latent units.
        `past_trust` goes on to the world's horizon whatever they are. ValueError for a world that has no readouts, or
        knows no actions.
        """
        contract = client.world(world)
        if not contract.readouts or not contract.action.axes:
            raise ValueError(f"world {world} has no readouts to observe, or knows no actions")
        self._client = client
        self._world = world
        self._starts = starts
        self._judges = reward, reached
        self._trust = level, tolerance, past_trust
        self._names = tuple(readout.name for readout in contract.readouts)
        self._limit = contract.horizon_limit
        self._context: Source | Context | None = None
        self._actions: list[Floats] = []
        self._bounds = self.observation_space = box(contract.readouts)
        self.action_space = box(contract.action.axes, contract.action.action_block)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode, from ``options["start"]`` where that is given."""
        super().reset(seed=seed)
        self._context = None  # if encoding fails, nothing of the last episode goes on
        drawn = int(self.np_random.integers(len(self._starts)))
        start: Start = (options or {}).get("start", self._starts[drawn])
        encoded = self._encoded(start.source if isinstance(start, Context) else start)
        self._context = Context(encoded, start.action_history) if isinstance(start, Context) else encoded
        self._actions = []
        return self._observed(encoded.readouts[-1]), {"steps": 0, "trusted": True, "latents_id": encoded.latents_id}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Expect what one more model step of these actions will do."""
        if self._context is None or len(self._actions) == self._limit:
            raise gymnasium.error.ResetNeeded("the episode has not begun, or is at the world's horizon: reset")
        actions = [*self._actions, np.array(action, np.float32).reshape(self.action_space.shape)]
        level, tolerance, past_trust = self._trust
        rollout = self._client.rollout(
            self._world, self._context, np.concatenate(actions), level=level, tolerance=tolerance
        )
        self._actions = actions  # a step that failed was not taken
        observation, info = self._observed(rollout.readouts[0, -1]), told(rollout)
        readings = dict(zip(self._names, observation.tolist(), strict=True))
        reward, reached = self._judges
        truncated = info["steps"] == self._limit or not (info["trusted"] or past_trust)
        return observation, float(reward(readings)), bool(reached(readings)), truncated, info

    def _encoded(self, source: Source) -> Encoded:
        if isinstance(source, Encoded):
            return source
        if isinstance(source, str):
            raise TypeError("a start is frames, or the answer that a handle came with: the handle says no readouts")
        return self._client.encode(self._world, source)

    def _observed(self, readouts: Floats) -> Floats:
        return np.clip(readouts, self._bounds.low, self._bounds.high)


def told(rollout: Rollout) -> dict[str, Any]:
    """What the last step of a rollout is worth."""
    steps = rollout.readouts.shape[1]
    info: dict[str, Any] = {"steps": steps, "trusted": True, "disagreement": float(rollout.disagreement[0, -1])}
    if rollout.trusted_horizon is not None:
        info["trusted_horizon"] = rollout.trusted_horizon[0]
        info["trusted"] = rollout.trusted_horizon[0] >= steps
    if rollout.radius is not None:
        info["radius"] = float(rollout.radius[0, -1])
    if rollout.readout_radius is not None:
        info["readout_radius"] = rollout.readout_radius[0, -1]
    if rollout.ood_p_value is not None:
        info["ood_p_value"] = float(rollout.ood_p_value[0])
    return info


def box(bounded: Sequence[pb.Axis] | Sequence[pb.Readout], rows: int | None = None) -> "spaces.Box[np.float32]":
    """The space `[len(bounded)]`, or `[rows, len(bounded)]`, float32, between their bounds."""
    low, high = (np.array([getattr(one, side) for one in bounded], np.float32) for side in ("low", "high"))
    if rows is None:
        return spaces.Box(low, high, dtype=np.float32)
    return spaces.Box(np.tile(low, (rows, 1)), np.tile(high, (rows, 1)), dtype=np.float32)
