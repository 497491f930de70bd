"""Who plays an episode: the server, chance, or the environment's expert; the peer's solver is in `peer.py`."""

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.acting import Path, context_of
from wmserve_client.environments.problems import Problem
from wmserve_client.environments.serving import patiently
from wmserve_client.environments.simulators import Floats, Frame
from wmserve_client.environments.stage import Stage
from wmserve_client.requests import PlannerOptions
from wmserve_client.results import World


class Player(Protocol):
    """Plays one episode."""

    def begin(self, stage: Stage, problem: Problem, goal: Frame) -> None:
        """Hear what the goal is."""

    def act(self, path: Path) -> Floats:
        """Actions `[n, A]`, environment units, to be done before it is asked again."""


@dataclass
class Refusals:
    """What a server refused, over all episodes."""

    plans: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    episodes: int = 0
    """Episodes with a refused plan."""
    plan_ms: list[float] = field(default_factory=list)

    def add(self, other: "Refusals") -> None:
        """Count another's."""
        self.plans += other.plans
        self.refused += other.refused
        self.reasons += other.reasons
        self.episodes += other.episodes
        self.plan_ms += other.plan_ms


def holding(world: World) -> Floats:
    """The action `[A]` nearest to zero: what is done where nothing is to be done."""
    return np.array([min(max(0.0, axis.low), axis.high) for axis in world.action.axes], np.float32)


class Served:
    """Plans of a server as `PlanningPolicy` executes them: in part, then on from there; a refused one is not executed.

    Each plan has a seed of its own, drawn from the episode's: after a refusal the same search would be refused again.
    """

    def __init__(self, client: Client, world: World, planner: PlannerOptions, receding_horizon: int | None) -> None:
        self.counts = Refusals()
        self._client, self._world, self._planner = client, world, planner
        block = world.action.action_block
        self._executed = (receding_horizon or world.planner.receding_horizon) * block
        self._still = np.tile(holding(world), (block, 1))

    def begin(self, stage: Stage, problem: Problem, goal: Frame) -> None:
        """Plan anew."""
        del stage
        self._goal: Frame | str = goal
        self._left: Floats | None = None
        self._seeds = np.random.default_rng(problem.seed)

    def act(self, path: Path) -> Floats:
        """Part of a plan, or holding still for a model step."""
        seed = int(self._seeds.integers(2**31))
        options, context = replace(self._planner, seed=seed, warm_start=self._left), context_of(path, self._world)
        began = time.perf_counter()
        plan = patiently(lambda: self._client.plan(self._world.name, context, self._goal, planner=options))
        self.counts.plan_ms.append(1000 * (time.perf_counter() - began))
        self.counts.plans += 1
        self._goal, self._left = plan.goal_latents_id or self._goal, None
        if plan.status != "ok" or plan.actions is None:
            self.counts.episodes = 1
            self.counts.refused += 1
            self.counts.reasons.update(plan.reasons)
            return self._still
        if len(plan.actions) > self._executed:
            self._left = plan.actions[self._executed :]
        return plan.actions[: self._executed]


class Random:
    """Draws each action from the whole range that the contract has."""

    def __init__(self, world: World) -> None:
        self._low, self._high = ([getattr(axis, side) for axis in world.action.axes] for side in ("low", "high"))

    def begin(self, stage: Stage, problem: Problem, goal: Frame) -> None:
        """Draw anew."""
        del stage, goal
        self._rng = np.random.default_rng(problem.seed)

    def act(self, path: Path) -> Floats:
        """One action."""
        del path
        return self._rng.uniform(self._low, self._high).astype(np.float32)[None]


class Expert:
    """Whoever the environment says knows the way."""

    def begin(self, stage: Stage, problem: Problem, goal: Frame) -> None:
        """Ask the environment for it."""
        del problem, goal
        expert = stage.expert()
        if expert is None:
            raise EnvironmentFault(f"environment {stage.name} has no expert: give --expert MODULE:FUNCTION")
        self._expert = expert

    def act(self, path: Path) -> Floats:
        """One action."""
        del path
        return self._expert()[None]
