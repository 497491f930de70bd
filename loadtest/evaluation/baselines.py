"""Policies to stand beside the served one: doing nothing, anything, the expert, and the plain latent distance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_worldmodel.envs.two_room import ExpertPolicy
from stable_worldmodel.policy import BasePolicy
from wmserve_client import Client
from wmserve_client.policy import PlanningPolicy
from wmserve_client.requests import Frames
from wmserve_client.results import Floats, World
from wmserve_server.planner import Limits, Problem, Settings, Shape, search

from loadtest.evaluation.counting import HOLDING_STILL, Tally


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
    """The served search at its size, but minimising the squared distance of latents at the last step.

    That is the field's usual cost. The server has no such metric, so the search runs here, by the served planner's own
    code, and asks the server for rollouts with their latents. It refuses nothing.
    """

    def __init__(self, client: Client, world: str, tally: Tally, seed: int) -> None:
        super().__init__(client, world, safe_action=HOLDING_STILL)
        self._tally = tally
        self._rng = np.random.default_rng(seed)
        self._rest: Floats | None = None
        self._goal_latents: Floats | None = None

    def reset(self, goal: Any) -> None:
        """Begin an episode: encode the goal."""
        super().reset(goal)
        self._rest = None
        latents = self._client.encode(self._world, goal, return_latents=True).latents
        assert latents is not None, "they were asked for"
        self._goal_latents = latents[-1]

    def chunk(self, observation: Any) -> Floats:
        """Search now: the actions `[n, A]` to be executed before planning again."""
        self._actions.clear()
        self._tally.add("ok")
        found = self._search(observation)
        executed, self._rest = found[: self._chunk_steps], found[self._chunk_steps :]
        return executed

    def _search(self, observation: Frames) -> Floats:
        """The actions `[N, A]` after which the latents are expected to be nearest to the goal's."""
        start, goal = self._client.encode(self._world, observation), self._goal_latents

        def cost(candidates: Floats) -> tuple[Floats, dict[str, Floats]]:
            reached = self._client.rollout(self._world, start, candidates, return_latents=True).latents
            assert reached is not None, "they were asked for"
            return np.square(reached[:, -1] - goal).sum(axis=-1), {}

        best = search(cost, problem(self.contract, int(self._rng.integers(2**53))), self._rest).best
        assert best is not None, "a search has at least one iteration"
        return best.actions


def problem(contract: World, seed: int) -> Problem:
    """What the server would search for this world by default."""
    planner, axes, block = contract.planner, contract.action.axes, contract.action.action_block
    settings = Settings(
        algorithm=planner.algorithm,
        candidate_count=planner.candidate_count,
        iterations=planner.iterations,
        elite_count=planner.elite_count,
        initial_std=planner.initial_std,
    )
    low, high = (np.array([getattr(axis, side) for axis in axes], np.float32) for side in ("low", "high"))
    shape = Shape(planner.horizon * block, len(axes), planner.hold_steps)
    return Problem(shape, Limits(low, high), settings, seed)
