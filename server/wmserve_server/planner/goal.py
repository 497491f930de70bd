"""Adds up what the cost engine says of candidates into the one number that a search minimises.

Two goals, one sum: latents are held against the world's goal metric, computed in the engine; readout targets are
held against the expected readouts here, in a straight line, each in parts of its range. Both give a distance per
model step, which the world's weights add up: ``final_weight * d[H] + path_weight * mean(d[1..H])``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
GOAL_DISTANCE, READOUTS = "goal_distance", "readouts"


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


@dataclass(frozen=True)
class GoalCost:
    """How a plan's distances `[S, H]` from its goal add up."""

    final_weight: float
    path_weight: float
    readouts: ReadoutGoal | None = None

    def __call__(self, scored: Mapping[str, Floats]) -> tuple[Floats, Mapping[str, Floats]]:
        """Costs `[S]` of what the engine said, and that as details; ValueError if it is NaN or infinite."""
        distance = scored[GOAL_DISTANCE] if self.readouts is None else self.readouts.distance(scored[READOUTS])
        cost = np.float32(self.final_weight) * distance[:, -1]
        if self.path_weight:
            cost = cost + np.float32(self.path_weight) * distance.mean(axis=1)
        if not np.isfinite(cost).all():  # a NaN here would make a plan out of nothing
            raise ValueError("the cost engine answered NaN or infinity")
        none = np.zeros((*distance.shape, 0), np.float32)  # of a world without readouts
        return cost, {READOUTS: none, **scored, GOAL_DISTANCE: distance}
