"""Reads what a world is fitted to: the files of :mod:`wmserve.trajectories`, of any length, with named columns.

Beside `observations` and `actions`, a file may have

    columns         `[L, K]` float32 and `column_names` `[K]`, as ``wmserve trajectories --readout`` writes them
    readouts        `[L, K]` float32, and `readout_names` `[K]`, if there are no such columns
    proprioception  `[L, Q]` float32, for a world that feels
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wmserve.trajectories import UNREADABLE, Floats, TrajectoryError
from wmserve.world import World

TABLES = (("columns", "column_names"), ("readouts", "readout_names"))
LEAST_FRAMES = 2
FEELING = "proprioception"


@dataclass(frozen=True)
class Logged:
    """One trajectory."""

    observed: Mapping[str, NDArray[np.generic]]
    """`[L, h, w, 3]` uint8 and `[L, Q]` float32, by the names of the encoder's inputs."""
    actions: Floats
    """`[(L - 1) x action_block, A]`."""
    columns: Floats
    """`[L, K]`."""
    names: tuple[str, ...]
    """Of the columns; empty where the file does not say them."""


def read(file: Path, world: World) -> Logged:
    """Read a file; TrajectoryError names it where it does not fit the world."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            observed = {name: arrays[name] for name in inputs(world) if name in arrays}
            actions = arrays["actions"].astype(np.float32)
            found = next(((arrays[table], names(arrays, key)) for table, key in TABLES if table in arrays), None)
    except UNREADABLE as error:
        raise TrajectoryError(f"{file.name} cannot be read: {error}") from None
    length = len(next(iter(observed.values()), ()))
    table, named = found or (np.zeros((length, 0), np.float32), ())
    logged = Logged(observed, actions, np.asarray(table, np.float32), named)
    check(logged, world, file.name)
    return logged


def inputs(world: World) -> Sequence[str]:
    """What the encoder sees of a trajectory."""
    seen = ("observations",) if world.observation.frames else ()
    return (*seen, FEELING) if world.observation.proprioception else seen


def names(arrays: Mapping[str, NDArray[np.generic]], key: str) -> tuple[str, ...]:
    """Of columns, where a file has them."""
    return tuple(map(str, arrays[key])) if key in arrays else ()


def check(logged: Logged, world: World, name: str) -> None:
    """TrajectoryError unless arrays have the shapes that they must have."""
    for wanted in inputs(world):
        if wanted not in logged.observed:
            raise TrajectoryError(f"{name} has no array {wanted}, which world {world.name} encodes")
    length = len(next(iter(logged.observed.values())))
    if length < LEAST_FRAMES:
        raise TrajectoryError(f"{name} has {length} frames; at least {LEAST_FRAMES} are needed")
    frames, felt = logged.observed.get("observations"), logged.observed.get(FEELING)
    if frames is not None and not (frames.ndim == 4 and frames.shape[-1] == 3 and frames.dtype == np.uint8):
        raise TrajectoryError(f"{name}: observations must be [L, h, w, 3] uint8")
    sensed = (length, len(world.observation.proprioception))
    if felt is not None and felt.shape != sensed:
        raise TrajectoryError(f"{name}: proprioception must be {list(sensed)}, not {list(felt.shape)}")
    wanted_actions = ((length - 1) * world.action.action_block, len(world.action.axes))
    if world.action.axes and (logged.actions.shape != wanted_actions or not np.isfinite(logged.actions).all()):
        raise TrajectoryError(
            f"{name}: actions must be {list(wanted_actions)}, finite, not {list(logged.actions.shape)}"
        )
    if logged.columns.ndim != 2 or len(logged.columns) != length or not np.isfinite(logged.columns).all():
        raise TrajectoryError(f"{name}: readouts must be [{length}, K], finite, not {list(logged.columns.shape)}")
    if logged.names and len(logged.names) != logged.columns.shape[1]:
        raise TrajectoryError(f"{name} names {len(logged.names)} columns and has {logged.columns.shape[1]}")
