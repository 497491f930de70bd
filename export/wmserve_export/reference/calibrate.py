"""Calibrates the reference world in a repository on fresh trajectories of Two-Room, and on plans that were executed.

`python -m wmserve_export.reference.calibrate --repository DIR --planned DIR`; seeds are fixed, progress is shown. Plans
come from a server: `wmserve execute two_room --env wmserve_export.reference.rooms:Rooms`. Doors are anywhere
along the wall, those of the training among them: a calibration speaks for what a server will see, not for the worst.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wmserve_export import repository
from wmserve_export.calibration.__main__ import summary
from wmserve_export.calibration.calibrate import calibrate_world
from wmserve_export.calibration.trajectories import Plans, Trajectory
from wmserve_export.reference import collect, environment

CALIBRATION_SEED = 6_000_000
TEST_SEED = 7_000_000
"""First seeds of two ranges; nothing else uses either, and what is calibrated on one is tested on the other."""
WORLD = "two_room"
COUNT = 6000
"""A third of them are what scores are fitted to, 4000 are measured on."""
CHUNK = 500


def trajectories(seed: int, count: int) -> Iterator[Trajectory]:
    """Trajectories as training has them, with frames at full size and the truth about readouts."""
    rng = np.random.default_rng(seed)
    for first in range(0, count, CHUNK):
        doors = collect.any_doors(rng, min(CHUNK, count - first))
        positions, actions = collect.walk(rng, doors)
        kept = positions[:, :: collect.ACTION_BLOCK]
        for places, done, door in zip(kept, actions, doors, strict=True):
            readouts = np.column_stack([places, np.full(len(places), door)]).astype(np.float32)
            yield Trajectory(environment.render(places, int(door)).numpy(), done, readouts)


def main(argv: list[str] | None = None) -> int:
    """0 when the calibration is in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--count", type=int, default=COUNT, help="trajectories (default: %(default)s)")
    parser.add_argument("--planned", type=Path, help="folder of plans that were executed")
    options = parser.parse_args(argv)
    world = repository.read(options.repository, WORLD)
    planned = None if options.planned is None else Plans(options.planned, world)
    source = trajectories(CALIBRATION_SEED, options.count)
    alone = repository.Placing(replace=True)  # the repository of the source tree holds one version
    found = calibrate_world(options.repository, WORLD, source, options.count, planned, placing=alone)
    print(summary(world, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
