"""What a world is calibrated on: trajectories that were logged, each independent of the others.

A folder of ``*.npz`` files, one a trajectory, without pickles:

    observations  `[L, h, w, 3]` uint8, a frame at each model step, as the world's camera sees it
    actions       `[(L - 1) x action_block, A]` float32, environment units
    readouts      `[L, R]` float32, what the world's readouts should have said; in all of them or in none

A plan that a search proposed and the environment executed is such a file, too: its actions are the plan's, and it has

    goal          `[h, w, 3]` uint8, what the plan was to reach
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmserve.world import World

Floats = NDArray[np.float32]
UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for files that are none, cut off, or of something else."""


class CalibrationError(ValueError):
    """Trajectories that a world cannot be calibrated on; the message says what to do."""


@dataclass(frozen=True)
class Trajectory:
    """Frames `[L, h, w, 3]` uint8, actions `[(L - 1) x action_block, A]`, true readouts `[L, R]` if they are known.

    If it was planned, the goal `[h, w, 3]` uint8.
    """

    observations: NDArray[np.uint8]
    actions: Floats
    readouts: Floats | None = None
    goal: NDArray[np.uint8] | None = None

    def check(self, world: World, name: str) -> None:
        """CalibrationError unless it fits the world and is as long as its longest rollout, a plan as its planner's."""
        needed = world.context_length + (world.horizon_limit if self.goal is None else world.search.horizon)
        if self.goal is not None and (self.goal.ndim != 3 or self.goal.shape[-1] != 3 or self.goal.dtype != np.uint8):
            raise CalibrationError(f"{name}: goal must be [h, w, 3] uint8")
        if self.observations.ndim != 4 or self.observations.shape[-1] != 3 or self.observations.dtype != np.uint8:
            raise CalibrationError(f"{name}: observations must be [L, h, w, 3] uint8")
        length = len(self.observations)
        if length < needed:
            what = "rollout" if self.goal is None else "plan"
            raise CalibrationError(f"{name} has {length} frames; a {what} of world {world.name} needs {needed}")
        expected = ((length - 1) * world.action.action_block, len(world.action.axes))
        if self.actions.shape != expected or not np.isfinite(self.actions).all():
            raise CalibrationError(f"{name}: actions must be {list(expected)}, finite, not {list(self.actions.shape)}")
        readouts = self.readouts
        if readouts is not None and not (
            readouts.shape == (length, len(world.readouts)) and np.isfinite(readouts).all()
        ):
            raise CalibrationError(f"{name}: readouts must be [{length}, {len(world.readouts)}], finite")


def files(folder: Path) -> list[Path]:
    """The trajectories of a folder, by name; CalibrationError if there are none."""
    found = sorted(folder.glob("*.npz"))
    if not found:
        raise CalibrationError(f"there are no .npz files in {folder}; one trajectory each, see {__name__}")
    return found


def read(found: list[Path], world: World) -> Iterator[Trajectory]:
    """Read files one after the other; CalibrationError names the one that does not fit."""
    for file in found:
        yield read_one(file, world, planned=False)


def read_one(file: Path, world: World, planned: bool) -> Trajectory:
    """Read a trajectory, or a plan; CalibrationError names it where it does not fit."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            readouts = arrays["readouts"].astype(np.float32) if "readouts" in arrays else None
            goal = arrays["goal"] if planned else None
            trajectory = Trajectory(arrays["observations"], arrays["actions"].astype(np.float32), readouts, goal)
    except UNREADABLE as error:
        raise CalibrationError(f"{file.name} cannot be read: {error}") from None
    trajectory.check(world, file.name)
    return trajectory


class Plans(Sequence[Trajectory]):
    """The executed plans of a folder, read when they are needed; CalibrationError names one that does not fit."""

    def __init__(self, folder: Path, world: World) -> None:
        self._files, self._world = files(folder), world

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        return read_one(self._files[index], self._world, planned=True)
