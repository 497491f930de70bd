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
    """Acts in each of a pool of environments by asking a server to plan from `pixels` to `goal`."""

    def __init__(self, client: Client, world: str, make: MakePolicy = holding_still) -> None:
        """`make(client, world)` is called once for each environment; give it to choose planner, limits or guard."""
        super().__init__()
        self.type = "wmserve"
        self._client = client
        self._world = world
        self._make = make
        self._policies: list[PlanningPolicy] = []
        self._begun: list[bool] = []

    def set_env(self, env: Any) -> None:
        """Make one policy for each environment of the pool."""
        super().set_env(env)
        count = env.num_envs
        self._policies = [self._make(self._client, self._world) for _ in range(count)]
        self._begun = [False] * count

    def get_action(self, info_dict: dict[str, Any], **_: Any) -> NDArray[np.float32]:
        """Actions `[num_envs, A]` for infos whose `pixels` and `goal` are `[num_envs, 1, h, w, 3]` uint8."""
        count = len(self._policies)
        ended = np.asarray(info_dict.get("terminated", np.zeros(count, bool))).reshape(count).astype(bool)
        begins = np.asarray(info_dict.pop("_needs_flush", np.zeros(count, bool))).reshape(count).astype(bool)
        actions = np.full((count, self.env.single_action_space.shape[-1]), np.nan, np.float32)

        def act(index: int) -> None:
            if begins[index] or not self._begun[index]:
                self._policies[index].reset(np.asarray(info_dict["goal"][index, -1]))
                self._begun[index] = True
            actions[index] = self._policies[index].act(np.asarray(info_dict["pixels"][index, -1]))

        with ThreadPoolExecutor(MAX_CONCURRENT_PLANS) as pool:
            list(pool.map(act, np.flatnonzero(~ended)))
        return actions.reshape(self.env.action_space.shape)
