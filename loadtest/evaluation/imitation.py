"""Whether a baseline acts as the served policy does: then it is that policy under another name, and compares nothing.

Both are asked for actions at the same frames, those that the served policy comes by in a few problems. Searches get
one seed, whoever asks for them, so that the served policy in disguise gives the very actions of the served policy.
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmserve_client import Client, PlannerOptions
from wmserve_client.requests import Context, Source
from wmserve_client.results import Plan

from loadtest.evaluation import protocols

PROTOCOL = protocols.PROTOCOLS[1]
PROBLEMS, STEPS, SEED = 6, 10, 1
"""Two plans of the reference world in each problem."""
Actions = NDArray[np.float32]


class SeededClient(Client):
    """A client all of whose plans have one seed."""

    def plan(
        self, world: str, context: Source | Context, goal: Any = None, *, planner: Any = None, **options: Any
    ) -> Plan:
        """Plan with that seed."""
        seeded = replace(planner or PlannerOptions(), seed=SEED)
        return super().plan(world, context, goal, planner=seeded, **options)


class Recorder:
    """Acts as another policy does, and keeps what that saw and did."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.env: Any = None
        self.seen: list[dict[str, Any]] = []
        self.actions: list[Actions] = []

    def set_env(self, env: Any) -> None:
        """Pass on."""
        self.env = env
        self._policy.set_env(env)

    def get_action(self, infos: dict[str, Any]) -> Actions:
        """Pass on, and keep."""
        self.seen.append(deepcopy(infos))
        self.actions.append(np.asarray(self._policy.get_action(infos)))
        return self.actions[-1]


def recorded(served: object) -> Recorder:
    """What the served policy saw and did in a few problems."""
    recorder = Recorder(served)
    problems = protocols.draw(PROTOCOL, PROBLEMS)
    protocols.play(replace(PROTOCOL, budget=STEPS), problems, recorder, "as the baselines see it")
    return recorder


def acts_alike(served: Recorder, other: Any) -> bool:
    """Whether in most problems the other policy does exactly what the served one did, at each step."""
    other.set_env(served.env)
    actions = [other.get_action(deepcopy(infos)) for infos in served.seen]
    same = np.isclose(np.stack(served.actions), np.stack(actions), atol=1e-6, equal_nan=True)
    alike: NDArray[np.bool_] = same.all(axis=(0, 2))
    return float(alike.mean()) > 0.5
