"""What an environment is to `wmserve execute` and `wmserve evaluate`.

A function of your own (`--env MODULE:FUNCTION`) returns a Gymnasium environment, or any object that fits `Simulator`.
Beside its three methods an object may have, each used where it is there:

    reset(seed)              begin anew, without a state
    set_goal(state)          what success is measured against
    readouts() -> [R]        what the world's readouts should say now, in their order and units
    expert() -> [A]          the action of somebody who knows the way to the goal
    draw(rng) -> (start, goal)   a problem: two states, drawn by numpy's generator
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""`[h, w, 3]`, RGB."""
State = NDArray[np.float64]
"""`[K]`: whatever the environment is set to; what trajectories have as `states`."""
Floats = NDArray[np.float32]

Success = Callable[[Any, dict[str, Any], State | None], bool]
"""Environment, its info after a step, the goal's state -> whether the goal is reached."""
SetState = Callable[[Any, State], None]
"""Puts an environment into a state."""
Readings = Callable[[Any, dict[str, Any]], Any]
"""Environment and its info -> what the world's readouts should say, `[R]`."""
Expert = Callable[[Any, dict[str, Any]], Any]
"""Environment and its info -> the action `[A]` of somebody who knows the way."""
Draw = Callable[[np.random.Generator], tuple[Any, Any]]
"""A problem: the states of start and goal."""


class Simulator(Protocol):
    """The least that plans can be executed in."""

    def reset_to(self, state: State) -> None:
        """Begin in a state `[K]`."""

    def render(self) -> Frame:
        """What the world's camera sees now, `[h, w, 3]` uint8, RGB."""

    def step(self, action: Floats) -> Any:
        """Do an action `[A]` for an environment step; True where the goal is reached, or Gymnasium's five-tuple."""
