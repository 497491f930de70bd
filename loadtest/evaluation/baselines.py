"""Policies to stand beside the served one: doing nothing, anything, the expert, and the plain latent distance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_worldmodel.envs.two_room import ExpertPolicy
from stable_worldmodel.policy import BasePolicy
from wmserve_client import Client
from wmserve_client.policy import PlanningPolicy
from wmserve_client.results import Floats, World


class Idle(BasePolicy):  # type: ignore[misc]
    """Does nothing."""

    def get_action(self, info_dict: dict[str, Any], **_: Any) -> NDArray[np.float32]:
        """Zeros `[num_envs, A]`."""
        del info_dict
        return np.zeros(self.env.action_space.shape, np.float32)


class Uniform(BasePolicy):  # type: ignore[misc]
    """Draws each action from the whole range."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def get_action(self, info_dict: dict[str, Any], **_: Any) -> NDArray[np.float32]:
        """Uniform actions `[num_envs, A]`."""
        del info_dict
        return self._rng.uniform(-1, 1, self.env.action_space.shape).astype(np.float32)


class Expert(ExpertPolicy):  # type: ignore[misc]
    """The environment's own expert, which sees positions."""

    def get_action(self, info_dict: dict[str, Any], **_: Any) -> NDArray[np.float32]:
        """Actions `[num_envs, A]`; those that have ended are left alone."""
        return np.asarray(super().get_action(info_dict), np.float32)


class LatentDistancePolicy(PlanningPolicy):
    """The same search, but minimising the squared distance of latents at the last step: the field's usual cost.

    The server has no such metric, so the search runs here and asks the server for rollouts with their latents.
    """

    def __init__(self, client: Client, world: str) -> None:
        super().__init__(client, world)
        self._contract: World = client.world(world)
        self._rng = np.random.default_rng(0)

    def _plan(self, observation: Any) -> None:
        planner, block = self._contract.planner, self._contract.action.action_block
        start = self._client.encode(self._world, observation)
        goal = self._client.encode(self._world, self._goal, return_latents=True).latents  # type: ignore[arg-type]
        shape = (planner.candidate_count, planner.horizon * block // planner.hold_steps, 2)
        mean, std = np.zeros(shape[1:]), np.full(shape[1:], 2 * planner.initial_std)
        best: tuple[float, Floats] = (np.inf, np.zeros(shape[1:], np.float32))
        for _ in range(planner.iterations):
            knots = np.clip(mean + std * self._rng.standard_normal(shape), -1, 1).astype(np.float32)
            rolled = self._client.rollout(
                self._world, start, np.repeat(knots, planner.hold_steps, axis=1), return_latents=True
            )
            costs = ((rolled.latents[:, -1] - goal[-1]) ** 2).sum(axis=-1)  # type: ignore[index]
            order = np.argsort(costs)[: planner.elite_count]
            mean, std = knots[order].mean(axis=0), knots[order].std(axis=0)
            if costs[order[0]] < best[0]:
                best = (float(costs[order[0]]), knots[order[0]])
        actions = np.repeat(best[1], planner.hold_steps, axis=0)
        self._actions.extend(actions[: planner.receding_horizon * block])
