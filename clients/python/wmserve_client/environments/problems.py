"""Where to start and where to go: each problem is made from its number alone, so that a run can be taken up again.

Recorded    start and goal are moments of one trajectory, the goal later: it can be reached
Acted       start is a reset, and the goal is where recorded actions, or random ones, lead from there
Drawn       a function says the states of both
Own         start and goal are what the environment makes of a reset
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from wmserve import trajectories
from wmserve.trajectories import Trajectory, TrajectoryError

from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.simulators import Draw, Floats, Frame, State
from wmserve_client.results import World

StatesFrom = Literal["states", "readouts", "columns"]


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


class Files:
    """A folder of trajectories, gone through in a drawn order again and again: as evenly as can be."""

    def __init__(self, folder: Path, seed: int, world: World) -> None:
        self._files = trajectories.files(folder)
        self._order = np.random.default_rng(seed).permutation(len(self._files))
        self._world = world

    def __len__(self) -> int:
        return len(self._files)

    @property
    def first(self) -> Trajectory:
        """One of them, for what all have in common."""
        return trajectories.read(self._files[0])

    def window(self, number: int, rng: np.random.Generator, offsets: Offsets) -> tuple[Trajectory, int, int, str]:
        """A trajectory, the moment its context begins, how far ahead the goal is, and the file's name."""
        file = self._files[self._order[number % len(self._files)]]
        found = trajectories.read(file)
        length, context, block = len(found.observations), self._world.context_length, self._world.action.action_block
        wanted = [(length - 1) * block, len(self._world.action.axes)]
        if list(found.actions.shape) != wanted:
            raise TrajectoryError(
                f"{file.name}: actions of {length} frames must be {wanted} for world {self._world.name}, "
                f"not {list(found.actions.shape)}"
            )
        needed = context + (offsets.steps or 1)
        if length < needed:
            raise TrajectoryError(f"{file.name} has {length} frames; a start and a goal of it need {needed}")
        ahead = offsets.draw(rng, length - context)
        return found, int(rng.integers(length - context - ahead + 1)), ahead, file.name


@dataclass(frozen=True)
class Recorded:
    """From trajectories with states."""

    files: Files
    world: World
    seed: int
    offsets: Offsets
    states_from: StatesFrom = "states"
    state_names: tuple[str, ...] = ()
    """Of the columns that make up a state; empty for all."""

    def __call__(self, number: int) -> Problem:
        """Start and goal from one trajectory."""
        rng = np.random.default_rng(self.seed + number)
        found, first, ahead, name = self.files.window(number, rng, self.offsets)
        states = self._states(found, name)
        last = first + self.world.context_length - 1
        block = self.world.action.action_block
        return Problem(
            seed=self.seed + number,
            lead=found.actions[first * block : last * block],
            start=np.asarray(states[first], np.float64),
            goal=np.asarray(states[last + ahead], np.float64),
            picture=found.observations[last + ahead],
            seen=found.observations[first],
        )

    def _states(self, found: Trajectory, name: str) -> NDArray[Any]:
        """States `[L, K]`; TrajectoryError where they are not there."""
        states: NDArray[Any] | None = getattr(found, self.states_from)
        if states is None or len(states) != len(found.observations):
            raise TrajectoryError(f"{name} has no {self.states_from} of each frame: give them, or --from resets")
        if self.states_from != "columns" or not self.state_names:
            return states
        unknown = [one for one in self.state_names if one not in found.column_names]
        if unknown:
            raise TrajectoryError(f"{name} has no column {unknown[0]}; it has {', '.join(found.column_names)}")
        return states[:, [found.column_names.index(one) for one in self.state_names]]


@dataclass(frozen=True)
class Acted:
    """From resets; goals are where actions lead."""

    files: Files | None
    world: World
    seed: int
    offsets: Offsets

    def __call__(self, number: int) -> Problem:
        """A reset, and the actions of some window of a trajectory, or random ones."""
        rng = np.random.default_rng(self.seed + number)
        lead = self.world.context_length - 1
        if self.files is None:
            ahead = self.offsets.draw(rng, self.offsets.most)
            actions = random_actions(self.world, lead + ahead, rng)
        else:
            found, first, ahead, _ = self.files.window(number, rng, self.offsets)
            block = self.world.action.action_block
            actions = found.actions[first * block : (first + lead + ahead) * block]
        split = lead * self.world.action.action_block
        return Problem(seed=self.seed + number, lead=actions[:split], onward=actions[split:])


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
