"""Episodes that lead straight across the pit: does a planner fall in, and does the gate see it coming?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wmserve_client import Guard
from wmserve_export.__main__ import main as export
from wmserve_export.calibration.calibrate import calibrate_world
from wmserve_export.calibration.trajectories import Trajectory
from wmserve_export.reference import collect, environment

from loadtest.trusting import pit
from loadtest.trusting.pit import NAME, Floats

CHECKPOINT = Path(__file__).parent / "pit_world"
LOGS, LOGS_SEED = 2400, 13_000_000
PLANS, PLANS_SEED = 1000, 14_000_000
EPISODES_SEED = 15_000_000
MODEL_STEPS = 20
ANYWAY = Guard(return_refused=True)


def picture(place: Floats, door: int) -> NDArray[np.uint8]:
    """The frame `[h, w, 3]` with the agent at `[1, 2]`; the pit cannot be seen."""
    frame: NDArray[np.uint8] = environment.render(place, door)[0].numpy()
    return frame


def logs(count: int) -> Iterator[Trajectory]:
    """Trajectories as training has them: none of them enters the pit."""
    rng = np.random.default_rng(LOGS_SEED)
    for _ in range(count):
        doors = collect.any_doors(rng, 1)
        positions, actions = pit.walk(rng, doors)
        places = positions[0, :: collect.ACTION_BLOCK]
        readouts = np.column_stack([places, np.full(len(places), doors[0])]).astype(np.float32)
        yield Trajectory(environment.render(places, int(doors[0])).numpy(), actions[0], readouts)


def prepare(place: Path) -> None:
    """Export the world into a repository and calibrate it on logs."""
    export([str(CHECKPOINT), "--repository", str(place), "--quiet"])
    calibrate_world(place, NAME, logs(LOGS), LOGS)
