"""Two-Room behind any door as `wmserve execute` plays it: `--env wmserve_export.reference.rooms:Rooms`.

The environment of stable-worldmodel can be put anywhere, but not behind another door; the replica can. A state is
`[x, y, door]`, pixels, which are the readouts of the reference world, too.
"""

import numpy as np
from numpy.typing import NDArray

from wmserve_export.reference import collect, environment
from wmserve_export.reference.environment import Floats

Doubles = NDArray[np.float64]


class Rooms:
    """One agent in Two-Room."""

    def __init__(self) -> None:
        self._position = np.zeros((1, 2), np.float32)
        self._goal = np.zeros((1, 2), np.float32)
        self._door = collect.DEFAULT_DOOR

    def draw(self, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
        """A start, a goal and a door, each anywhere."""
        start, goal = environment.free_positions(rng, 1), environment.free_positions(rng, 1)
        door = collect.any_doors(rng, 1)
        return np.concatenate([start[0], door]), np.concatenate([goal[0], door])

    def reset_to(self, state: Doubles) -> None:
        """Put the agent down, behind its door."""
        self._position, self._door = np.asarray(state[None, :2], np.float32), int(state[2])

    def set_goal(self, state: Doubles) -> None:
        """Where success is."""
        self._goal = np.asarray(state[None, :2], np.float32)

    def render(self) -> NDArray[np.uint8]:
        """The frame `[224, 224, 3]`."""
        frame: NDArray[np.uint8] = environment.render(self._position, self._door)[0].numpy()
        return frame

    def step(self, action: Floats) -> bool:
        """Move; True within the environment's radius of the goal."""
        self._position = environment.step(self._position, action[None], self._doors)
        return bool(np.linalg.norm(self._position - self._goal) < environment.SUCCESS_RADIUS)

    def readouts(self) -> Floats:
        """Position and door."""
        return np.array([*self._position[0], self._door], np.float32)

    def expert(self) -> Floats:
        """The environment's own expert's action."""
        return environment.expert_action(self._position, self._goal, self._doors)[0]

    @property
    def _doors(self) -> Floats:
        return np.array([self._door], np.float32)
