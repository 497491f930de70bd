"""Adds up what the engine says of candidates into the one number that a search minimises.

Two goals, one sum: latents are held against the world's goal metric, computed in the engine; readout targets are
held against the expected readouts here, in a straight line, each in parts of its range. Both give a distance per
model step, which the world's weights add up: ``final_weight * d[H] + path_weight * mean(d[1..H])``.
"""

from dataclasses import dataclass

import numpy as np
from wmserve.world import World

from wmserve_server.backend import Floats, Scored
from wmserve_server.errors import BackendFault, InvalidArgument


@dataclass(frozen=True)
class ReadoutGoal:
    """Columns of the readouts `[R]`, the values wanted there, and the ranges that make them comparable."""

    columns: tuple[int, ...]
    values: Floats
    scales: Floats

    def distance(self, readouts: Floats) -> Floats:
        """Euclidean distance `[S, H]` of readouts `[S, H, R]` from the target, in parts of the readouts' ranges."""
        offset: Floats = (readouts[..., self.columns] - self.values) / self.scales
        return np.sqrt((offset**2).sum(axis=-1))


def readout_goal(values: dict[str, float], world: World) -> ReadoutGoal:
    """Look the named readouts up in the world; values outside a readout's range are refused."""
    names = [readout.name for readout in world.readouts]
    for name, value in values.items():
        if name not in names:
            raise InvalidArgument(f"unknown readout; world {world.name} has {', '.join(names)}", field="goal.readouts")
        readout = world.readouts[names.index(name)]
        if not readout.low <= value <= readout.high:
            bounds = f"[{readout.low:g}, {readout.high:g}] {readout.unit}"
            raise InvalidArgument(f"{name} must be within {bounds}", field="goal.readouts")
    columns = tuple(names.index(name) for name in values)
    ranges = [world.readouts[column].high - world.readouts[column].low for column in columns]
    return ReadoutGoal(columns, np.array(list(values.values()), np.float32), np.array(ranges, np.float32))


def add_up(distance: Floats, world: World) -> Floats:
    """Cost `[S]` of goal distances `[S, H]`; a NaN here would make a plan out of nothing, so it ends the plan."""
    metric = world.goal_metric
    cost = np.float32(metric.final_weight) * distance[:, -1] + np.float32(metric.path_weight) * distance.mean(axis=1)
    if not np.isfinite(cost).all():
        raise BackendFault("the cost engine answered NaN or infinity")
    return cost


def goal_distance(scored: Scored, readouts: ReadoutGoal | None) -> Floats:
    """Distance `[S, H]` from the goal: the engine's, or that of the readouts where they are the goal."""
    return scored.goal_distance if readouts is None else readouts.distance(scored.readouts)
