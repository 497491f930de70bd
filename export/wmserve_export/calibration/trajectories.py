"""What a world is calibrated on: trajectories that were logged, each independent of the others.

Their files are those of `wmserve.trajectories`; here they are held against the world that they are to calibrate. What
its readouts should have said is found by name in `columns`, as `wmserve trajectories --readout` writes them and
`wmserve fit` reads them, or is `readouts`, in the contract's order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from wmserve import trajectories
from wmserve.trajectories import UNREADABLE, Floats, TrajectoryError, files
from wmserve.world import World

__all__ = ["UNREADABLE", "CalibrationError", "Floats", "Plans", "Trajectory", "files", "read", "read_one"]

CalibrationError = TrajectoryError
"""Trajectories that a world cannot be calibrated on; the message says what to do."""


@dataclass(frozen=True)
class Trajectory(trajectories.Trajectory):
    """A trajectory that can be held against a world; if it was planned, it has the goal."""

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


def read(found: list[Path], world: World) -> Iterator[Trajectory]:
    """Read files one after the other; CalibrationError names the one that does not fit."""
    for file in found:
        yield read_one(file, world, planned=False)


def read_one(file: Path, world: World, planned: bool) -> Trajectory:
    """Read a trajectory, or a plan; CalibrationError names it where it does not fit."""
    trajectory = Trajectory(**vars(trajectories.read(file, planned)))
    trajectory = replace(trajectory, readouts=readouts(trajectory, world, file.name))
    trajectory.check(world, file.name)
    return trajectory


def readouts(trajectory: Trajectory, world: World, name: str) -> Floats | None:
    """What the world's readouts `[L, R]` should have said; None where nobody knows.

    CalibrationError where there are columns, and not one for each readout, and no `readouts` in their place.
    """
    wanted, there = [readout.name for readout in world.readouts], list(trajectory.column_names)
    missing = [one for one in wanted if one not in there]
    if trajectory.columns is None or not wanted or (missing and trajectory.readouts is not None):
        return trajectory.readouts
    if trajectory.columns.shape[1:] != (len(there),):
        raise CalibrationError(
            f"{name}: columns must be [L, {len(there)}], one for each of column_names, "
            f"not {list(trajectory.columns.shape)}"
        )
    if missing:
        raise CalibrationError(
            f"{name} has no column {', '.join(missing)}, a readout of world {world.name}; it has: {', '.join(there)}. "
            "Write it with `wmserve trajectories --readout NAME=KEY[I]`, or leave all columns out"
        )
    return trajectory.columns[:, [there.index(one) for one in wanted]].astype(np.float32)


class Plans(Sequence[Trajectory]):
    """The executed plans of a folder, read when they are needed; CalibrationError names one that does not fit."""

    def __init__(self, folder: Path, world: World) -> None:
        self._files, self._world = files(folder), world

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        return read_one(self._files[index], self._world, planned=True)
