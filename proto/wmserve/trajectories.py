"""The files that trajectories are kept in: what logs are turned into, what plans leave behind, what both are judged by.

A folder of ``*.npz`` files, one a trajectory, without pickles:

    observations  `[L, h, w, 3]` uint8, a frame at each model step, as the world's camera sees it
    actions       `[(L - 1) x action_block, A]` float32, environment units
    columns       `[L, C]` float64, named quantities that were recorded at each frame, with `column_names` `[C]`: what a
                  world can be fitted to, and what its readouts of these names should have said; left out if nothing
    readouts      `[L, R]` float32, what the readouts should have said where no columns have their names, in the
                  contract's order; in all of them or in none
    states        `[L, K]` float64, what the environment can be set to, at each frame; left out where it cannot be set

A plan that a search proposed and the environment executed is such a file, too: its actions are the plan's, and it has

    goal          `[h, w, 3]` uint8, what the plan was to reach
"""

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for files that are none, cut off, or of something else."""


class TrajectoryError(ValueError):
    """Trajectories that cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Trajectory:
    """What was observed and done; fields and shapes as in the files."""

    observations: NDArray[np.uint8]
    actions: Floats
    readouts: Floats | None = None
    goal: NDArray[np.uint8] | None = None
    states: NDArray[np.float64] | None = None
    columns: NDArray[np.float64] | None = None
    column_names: tuple[str, ...] = ()


def files(folder: Path) -> list[Path]:
    """The trajectories of a folder, by name; TrajectoryError if there are none."""
    found = sorted(folder.glob("*.npz"))
    if not found:
        raise TrajectoryError(f"there are no .npz files in {folder}; one trajectory each, see {__name__}")
    return found


def read(file: Path, planned: bool = False) -> Trajectory:
    """Read a trajectory, or with its goal a plan; TrajectoryError names a file that is none."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return Trajectory(
                observations=arrays["observations"],
                actions=arrays["actions"].astype(np.float32),
                readouts=arrays["readouts"].astype(np.float32) if "readouts" in arrays else None,
                goal=arrays["goal"] if planned else None,
                states=arrays["states"].astype(np.float64) if "states" in arrays else None,
                columns=arrays["columns"].astype(np.float64) if "columns" in arrays else None,
                column_names=tuple(map(str, arrays["column_names"])) if "column_names" in arrays else (),
            )
    except UNREADABLE as error:
        raise TrajectoryError(f"{file.name} cannot be read: {error}") from None


def write(file: Path, trajectory: Trajectory) -> None:
    """Write a trajectory; the file is there as a whole or not at all."""
    arrays = {field.name: getattr(trajectory, field.name) for field in fields(Trajectory)}
    there = {name: array for name, array in arrays.items() if array is not None and len(array)}
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, **there)
    part.replace(file)
