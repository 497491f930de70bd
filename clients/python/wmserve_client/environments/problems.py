"""Where to start and where to go: each problem is made from its number alone, so that a run can be taken up again.

Recorded    start and goal are moments of one trajectory, the goal later: it can be reached (recorded.py)
Acted       start is a reset, and the goal is where recorded actions, or random ones, lead from there (recorded.py)
Drawn       a function says the states of both
Own         start and goal are what the environment makes of a reset
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.simulators import Draw, Floats, Frame, State
from wmserve_client.results import World


@dataclass(frozen=True)
class Problem:
    """A start, the way into the context, and a goal."""

    seed: int
    """Of the environment's reset, and of the planner."""
    lead: Floats
    """Actions `[(T - 1) x action_block, A]` between the context's frames."""
    start: State | None = None
    """Of the context's first frame; None leaves it to the reset."""
    goal: State | None = None
    """The goal's state; None where it is known by its frame, or by how to come there."""
    picture: Frame | None = None
    """The goal's frame, where it was recorded."""
    onward: Floats | None = None
    """Actions that lead from the context's last frame to the goal, where there is no other word of it."""
    seen: Frame | None = None
    """The context's first frame, where it was recorded."""


class Problems(Protocol):
    """Problems by number."""

    def __call__(self, number: int) -> Problem:
        """The same for the same number."""


@dataclass(frozen=True)
class Offsets:
    """How many model steps a goal is ahead of the context's last frame: so many, or any number up to `most`."""

    steps: int | None = None
    most: int = 10

    def draw(self, rng: np.random.Generator, room: int) -> int:
        """A number of model steps, at most `room`."""
        return self.steps if self.steps is not None else int(rng.integers(1, max(1, room) + 1))


def random_actions(world: World, blocks: int, rng: np.random.Generator) -> Floats:
    """Actions `[blocks x action_block, A]` within the contract's bounds, each held for a model step."""
    low, high = ([getattr(axis, side) for axis in world.action.axes] for side in ("low", "high"))
    drawn = rng.uniform(low, high, (blocks, len(low))).astype(np.float32)
    return np.repeat(drawn, world.action.action_block, axis=0)


@dataclass(frozen=True)
class Drawn:
    """From a function that draws two states."""

    draw: Draw
    world: World
    seed: int

    def __call__(self, number: int) -> Problem:
        """What the function draws, by a generator of the problem's own."""
        rng = np.random.default_rng(self.seed + number)
        try:
            start, goal = self.draw(rng)
        except Exception as error:  # whatever functions of others raise
            raise EnvironmentFault(f"problems cannot be drawn: {type(error).__name__}: {error}") from error
        lead = random_actions(self.world, self.world.context_length - 1, rng)
        return Problem(self.seed + number, lead, np.asarray(start, np.float64), np.asarray(goal, np.float64))


@dataclass(frozen=True)
class Own:
    """From resets, with a goal that is always the same or that the environment shows."""

    world: World
    seed: int
    picture: Frame | None = None

    def __call__(self, number: int) -> Problem:
        """A reset."""
        lead = random_actions(self.world, self.world.context_length - 1, np.random.default_rng(self.seed + number))
        return Problem(self.seed + number, lead, picture=self.picture)


def shown_goal(info: Mapping[str, Any]) -> Frame | None:
    """The goal's frame among what an environment says of itself."""
    frame = info.get("goal")
    fits = isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[-1] == 3 and frame.dtype == np.uint8
    return frame if fits else None
