"""Judges a plan by what its search was not asked to minimise.

A search finds the places where the model errs in its favour: whatever it minimises looks better than it is. So a part
of the ensemble is kept from it, and asked once, about the plan that it has found.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .goal import DISAGREEMENT, GOAL_DISTANCE, READOUTS, Floats, GoalCost, mean_readouts
from .search import Best

EXPECTED_ERROR, DISTANCE = "error", "distance"
HELD_OUT_GAP = "held_out_gap"
BROKEN = "broken"


def judged(goal: GoalCost, best: Best, said: Mapping[str, Floats], search_members: int) -> Best:
    """The best plan with details of the whole ensemble, and by how much held-out members find it worse.

    ``said`` is of this plan alone, `S` = 1: disagreement `[S, H]` and readouts `[S, E, H, R]` of all members, the
    expected error and the distance `[S, H]` if they are known, and the goal distance `[S, H]` of the members that the
    search did not ask, if there are any. Details gain ``error`` and ``distance`` `[H]`; ``held_out_gap`` `[1]`, the
    goal cost by the latter less the goal cost by the former, without penalties; and ``broken``, the probability of each
    constraint's being broken.
    """
    details = {
        **best.details,
        DISAGREEMENT: said[DISAGREEMENT][0],
        READOUTS: mean_readouts(said, said[DISAGREEMENT].shape)[0],
    }
    for name in (EXPECTED_ERROR, DISTANCE):
        if name in said:
            details[name] = said[name][0]
    if GOAL_DISTANCE in said:
        held_out = {name: array[:, search_members:] if name == READOUTS else array for name, array in said.items()}
        found = goal.goal_cost(best.details[GOAL_DISTANCE][None])
        details[HELD_OUT_GAP] = goal.goal_cost(goal.distance(held_out)) - found
    if goal.constraints:
        expected = details.get(EXPECTED_ERROR)
        details[BROKEN] = np.concatenate([box.broken(said[READOUTS], expected) for box in goal.constraints])
    finite = all(np.isfinite(array).all() for array in details.values())
    if not finite:
        raise ValueError("the engine that judges plans answered NaN or infinity")
    return replace(best, details=details)
