"""Adds up what the cost engine says of candidates into the one number that a search minimises.

Three parts: how far from the goal a candidate leads, what it costs that members of the ensemble disagree about it, and
what it costs to break constraints.

Two goals, one sum: latents are held against the world's goal metric, computed in the engine; readout targets are
held against the expected readouts here, in a straight line, each in parts of its range. Both give a distance per
model step, which the world's weights add up: ``final_weight * d[H] + path_weight * mean(d[1..H])``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import constraints
from .constraints import Box

Floats = NDArray[np.float32]
GOAL_DISTANCE, READOUTS, DISAGREEMENT = "goal_distance", "readouts", "disagreement"


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
    """How a plan's distances `[S, H]` from its goal add up, and what a latent unit of disagreement costs on top."""

    final_weight: float
    path_weight: float
    readouts: ReadoutGoal | None = None
    penalty: float = 0.0
    constraints: tuple[Box, ...] = ()

    def __call__(self, scored: Mapping[str, Floats]) -> tuple[Floats, Mapping[str, Floats]]:
        """Costs `[S]` of what the engine said, and that as details; ValueError if it is NaN or infinite.

        Readouts are those of each member, `[S, E, H, R]`; the details' are their mean.
        """
        distance = self.distance(scored)
        cost = self.goal_cost(distance)
        if self.penalty:
            cost = cost + np.float32(self.penalty) * scored[DISAGREEMENT].mean(axis=1)
        if self.constraints:
            cost = cost + constraints.cost(self.constraints, scored[READOUTS])
        if not np.isfinite(cost).all():  # a NaN here would make a plan out of nothing
            raise ValueError("the cost engine answered NaN or infinity")
        return cost, {**scored, READOUTS: mean_readouts(scored, distance.shape), GOAL_DISTANCE: distance}

    def distance(self, scored: Mapping[str, Floats]) -> Floats:
        """Distances `[S, H]` from the goal."""
        if self.readouts is None:
            return scored[GOAL_DISTANCE]
        return self.readouts.distance(scored[READOUTS].mean(axis=1))

    def goal_cost(self, distance: Floats) -> Floats:
        """Costs `[S]` of distances `[S, H]`, disagreement and constraints apart."""
        cost = np.float32(self.final_weight) * distance[:, -1]
        return cost + np.float32(self.path_weight) * distance.mean(axis=1) if self.path_weight else cost


def mean_readouts(scored: Mapping[str, Floats], shape: tuple[int, ...]) -> Floats:
    """Readouts `[S, H, R]`, the mean of the members'; R is 0 in a world without any."""
    return scored[READOUTS].mean(axis=1) if READOUTS in scored else np.zeros((*shape, 0), np.float32)
