"""Radii that hold: split conformal prediction over independent trajectories.

The radius at level `p` is the ceil((n + 1) p)-th smallest of n calibration scores: a new, exchangeable score is within
it with probability at least `p` (Vovk et al., 2005; Lei et al., 2018). For all steps at once, scores are the largest of
the steps' errors, each over a scale of its own.
"""

import math

import numpy as np
from numpy.typing import NDArray
from wmserve.world import QUANTILE_LEVELS, Level

from wmserve_export.calibration.trajectories import CalibrationError

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
USUALLY = 0.5
"""Part of the predictions that come true in a world that predicts at all."""


def radius(scores: Doubles, level: float) -> Doubles:
    """Radii `[...]` at a level, of scores `[M, ...]`; CalibrationError if there are too few for it."""
    count = len(scores)
    rank = math.ceil((count + 1) * level)
    if rank > count:
        raise CalibrationError(
            f"{count} trajectories are too few for a radius at {level:g}; at least {math.ceil(level / (1 - level))}"
        )
    return np.sort(scores, axis=0)[rank - 1]


def joint_radius(scores: Doubles, scale: Doubles, level: float) -> Doubles:
    """Radii `[H]` that hold for all steps at once, of scores `[M, H]`: a factor times a scale `[H]` of others."""
    return scale * radius((scores / scale).max(axis=1), level)


def quantiles(scores: Doubles) -> tuple[float, ...]:
    """Quantiles of `[M]` at the levels that a calibration keeps."""
    return tuple(float(value) for value in np.quantile(scores, QUANTILE_LEVELS))


def came_true(errors: Doubles, tolerance: float) -> Bools:
    """Which predictions `[M, H]` were within the tolerance up to each step; all, where at some step hardly any is.

    What is usual is learned from these: a prediction that went astray, also where no log has been, is no example.
    """
    true = np.maximum.accumulate(errors, axis=1) <= tolerance
    return true if true[:, -1].mean() >= USUALLY else np.ones_like(true)


def level(probability: float, relative: Doubles, readouts: Doubles, scale: Doubles) -> Level:
    """Radii of errors `[M, H]` and of readouts' errors `[M, H, R]`, each over the expected error.

    All steps at once are as wide as a scale `[H]`, which comes from other errors, says of each.
    """
    return Level(
        level=probability,
        radius=tuple(radius(relative, probability)),
        joint_radius=tuple(joint_radius(relative, scale, probability)),
        readout_radius=tuple(radius(readouts, probability).flatten()),
    )
