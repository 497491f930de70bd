"""Radii that hold: split conformal prediction over independent trajectories.

The radius at level `p` is the ceil((n + 1) p)-th smallest of n calibration scores: a new, exchangeable score is within
it with probability at least `p` (Vovk et al., 2005; Lei et al., 2018). For all steps at once, scores are the largest of
the steps' errors, each over a scale of its own.
"""

import math

import numpy as np
from numpy.typing import NDArray
from wmserve.world import QUANTILE_LEVELS, USUALLY, Level

from wmserve_export.calibration.trajectories import CalibrationError

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


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


def so_far(errors: Doubles, tolerance: float, moves: Doubles | None) -> tuple[Bools, Doubles]:
    """Which predictions `[M, H]` count as usual up to each step, and which part `[H]` of them came true.

    Where hardly any is within the tolerance, as in worlds that move far in a model step, those count that are within
    what so many steps usually cover, `moves` `[H]`: they know more than a copy of the last latents. All, where hardly
    any is.
    """
    true = np.maximum.accumulate(errors, axis=1) <= tolerance
    if moves is not None:
        wider = np.logical_and.accumulate(errors <= np.maximum(tolerance, moves[: errors.shape[1]]), axis=1)
        true = np.where(true.mean(axis=0) >= USUALLY, true, wider)
    part = true.mean(axis=0)
    return np.where(part >= USUALLY, true, True), part


def margin(scores: Doubles, level: float) -> float:
    """How far beyond the largest scores `[M, K]` of one half of the plans those of the other half stay, at a level.

    Over the distance of each largest score from its median; at least 1. For calibrations that are too small for as many
    checks as there are: one number says how far all of them may go.
    """
    beyond = []
    for one, other in ((scores[::2], scores[1::2]), (scores[1::2], scores[::2])):
        median, most = np.median(one, axis=0), one.max(axis=0)
        wide = np.where(most > median, most - median, np.inf)
        beyond.append(((other - median) / wide).max(axis=1))
    return max(1.0, float(radius(np.concatenate(beyond), level)))


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
