"""Problems that are hard to plan for: starts and goals drawn as `wmserve evaluate --problems` takes them."""

import numpy as np
from numpy.typing import NDArray

State = NDArray[np.float64]
LEFT, RIGHT = (24.0, 90.0), (134.0, 200.0)
"""x of places in Two-Room that are clear of the wall, pixels of the 224 x 224 frame."""
Y = (24.0, 200.0)


def cross_rooms(rng: np.random.Generator) -> tuple[State, State]:
    """Two-Room: a start in one room and a goal in the other."""
    sides = [LEFT, RIGHT] if rng.random() < 0.5 else [RIGHT, LEFT]
    start, goal = (np.array([rng.uniform(*x), rng.uniform(*Y)]) for x in sides)
    return start, goal
