"""Problems made of trajectories: of what was recorded at two moments of one, or of the actions between them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from wmserve import trajectories
from wmserve.trajectories import Trajectory, TrajectoryError

from wmserve_client.environments.problems import Offsets, Problem, random_actions
from wmserve_client.results import World

StatesFrom = Literal["states", "readouts", "columns"]


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
