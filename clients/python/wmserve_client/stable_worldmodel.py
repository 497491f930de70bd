"""Lets stable-worldmodel's own loops drive a server: `World.set_policy(ServerPolicy(...))`, then `World.evaluate`.

It plays the part of that package's `WorldModelPolicy`, with the server in the place of its solver: the same buffers,
the same rules for episodes that have ended or begin anew.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmserve_client.client import Client
from wmserve_client.policy import PlanningPolicy

try:
    from stable_worldmodel.policy import BasePolicy
except ModuleNotFoundError as error:  # the plain install has no environments
    raise ModuleNotFoundError("this adapter needs: pip install stable-worldmodel (tested with 0.1.1)") from error

MAX_CONCURRENT_PLANS = 8
MakePolicy = Callable[[Client, str], PlanningPolicy]


def holding_still(client: Client, world: str) -> PlanningPolicy:
    """A policy with the world's defaults; where a plan is refused it does nothing for a model step."""
    return PlanningPolicy(client, world, safe_action=np.zeros(len(client.world(world).action.axes)))


class ServerPolicy(BasePolicy):  # type: ignore[misc]  # stable-worldmodel ships no types
    """Acts in each of a pool of environments by asking a server to plan from `pixels` to `goal`.

    It may be used for one evaluation after another: an episode begins where the pool says so, where an environment's
    steps are counted anew, and where its goal is another than at the last call. Nothing of an earlier one is executed.
    """

    def __init__(self, client: Client, world: str, make: MakePolicy = holding_still) -> None:
        """`make(client, world)` is called once for each environment; give it to choose planner, limits or guard."""
        super().__init__()
        self.type = "wmserve"
        self._client = client
        self._world = world
        self._make = make
        self._policies: list[PlanningPolicy] = []
        self._steps = np.zeros(0, np.int64)

    def set_env(self, env: Any) -> None:
        """Make one policy for each environment of the pool."""
        super().set_env(env)
        count = env.num_envs
        self._policies = [self._make(self._client, self._world) for _ in range(count)]
        self._steps = np.full(count, -1)

    def get_action(self, info_dict: dict[str, Any], **_: Any) -> NDArray[np.float32]:
        """Actions `[num_envs, A]` for infos whose `pixels` and `goal` are `[num_envs, 1, h, w, 3]` uint8.

        Those of environments that have ended are NaN. ValueError for infos of another pool than `set_env` was told.
        """
        count = len(self._policies)
        if len(info_dict["pixels"]) != count:
            shown = len(info_dict["pixels"])
            raise ValueError(f"infos of {shown} environments, set_env was called with {count}: call set_policy again")
        acting = np.flatnonzero(~flags(info_dict.get("terminated"), count))
        begins = flags(info_dict.pop("_needs_flush", None), count) | self._began(info_dict)

        def prepare(index: int) -> None:
            policy, goal = self._policies[index], np.asarray(info_dict["goal"][index, -1])
            if begins[index]:
                policy.reset(goal)
            policy.aim(goal)
            policy.prepare(np.asarray(info_dict["pixels"][index, -1]))

        with ThreadPoolExecutor(MAX_CONCURRENT_PLANS) as pool:
            list(pool.map(prepare, acting))
        actions = np.full((count, self.env.single_action_space.shape[-1]), np.nan, np.float32)
        for index in acting:
            actions[index] = self._policies[index].act(np.asarray(info_dict["pixels"][index, -1]))
        return actions.reshape(self.env.action_space.shape)

    def _began(self, info_dict: dict[str, Any]) -> NDArray[np.bool_]:
        """Which environments `[num_envs]` are in another episode than at the last call.

        An evaluation resets all of them and says so by no flag: their counts of steps begin again.
        """
        if "step_idx" not in info_dict:
            return np.zeros(len(self._steps), bool)
        before, self._steps = self._steps, np.array(info_dict["step_idx"]).reshape(len(self._steps))
        return (self._steps == 0) | (self._steps < before)


def flags(given: Any, count: int) -> NDArray[np.bool_]:
    """Flags `[count]` of an info `[count]` or `[count, 1]`; all False where it is missing."""
    return np.zeros(count, bool) if given is None else np.asarray(given).reshape(count).astype(bool)
