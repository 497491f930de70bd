"""Plays the same episodes with one policy after another."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from wmserve_client.environments import EnvironmentFault, acting
from wmserve_client.environments.opening import Opening
from wmserve_client.environments.policies import Player, Refusals, Served, holding
from wmserve_client.environments.problems import Problem, Problems
from wmserve_client.environments.reporting import Row
from wmserve_client.environments.simulators import Frame
from wmserve_client.environments.stage import Stage
from wmserve_client.environments.stages import Stages
from wmserve_client.results import World

DRAWN_FOR_ONE = 10
"""Problems that are looked at for each that is played, before the search for unsolved ones is given up."""


@dataclass(frozen=True)
class Episode:
    """A problem with its goal's frame."""

    problem: Problem
    goal: Frame


def draw(problems: Problems, count: int, world: World, stage: Stage) -> tuple[list[Episode], int]:
    """The first episodes that holding still does not solve, and how many were left out."""
    episodes: list[Episode] = []
    block, still = world.action.action_block, holding(world)
    for number in range(DRAWN_FOR_ONE * count):
        problem = problems(number)
        goal = acting.goal_frame(stage, problem, block)
        acting.begin(stage, problem, block)
        if not stage.step(still).reached:
            episodes.append(Episode(problem, goal))
        if len(episodes) == count:
            return episodes, number + 1 - len(episodes)
    raise EnvironmentFault(
        f"of {DRAWN_FOR_ONE * count} problems only {len(episodes)} are not solved at the start: "
        "take goals that are farther away (--goal-offset)"
    )


def play(
    name: str,
    make: Callable[[], Player],
    episodes: list[Episode],
    chosen: Opening,
    world: World,
    budget: int,
    at_once: int,
    quiet: bool,
) -> Row:
    """All episodes with one policy."""
    lock, refusals = threading.Lock(), Refusals()
    with Stages(chosen, at_once) as stages:

        def one(episode: Episode) -> bool:
            player = make()
            reached = played(stages.own(), world, episode, player, budget)
            if isinstance(player, Served):
                with lock:
                    refusals.add(player.counts)
            return reached

        shown = tqdm(total=len(episodes), desc=name, unit="episode", mininterval=2, disable=quiet, leave=False)
        reached = []
        for future in [stages.submit(one, episode) for episode in episodes]:
            reached.append(future.result())
            shown.update()
        shown.close()
    return Row(name, tuple(reached), refusals)


def played(stage: Stage, world: World, episode: Episode, player: Player, budget: int) -> bool:
    """One episode; whether the goal was reached at any step."""
    block = world.action.action_block
    path = acting.begin(stage, episode.problem, block)
    player.begin(stage, episode.problem, episode.goal)
    steps = 0
    while steps < budget:
        for action in player.act(path):
            outcome = stage.step(action)
            path.actions.append(action)
            steps += 1
            if outcome.reached or outcome.ended or steps == budget:
                return outcome.reached
            if steps % block == 0:
                path.look(stage)
    return False
