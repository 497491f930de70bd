"""What a calibration makes of a world's answers: radii, p-values, and how far ahead they may be trusted.

It knows the contract and numbers, no engine. Where a world is not calibrated, nothing is said.

    expected error  x  the level's factors  ->  radius, joint radius, readout radius  ->  trusted horizon
    disagreement    /  the usual            ->  ood  ->  p-value

Axes: `S` candidates, `H` model steps, `R` readouts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from wmserve.world import QUANTILE_LEVELS, Calibration, Level, World

from wmserve_server.backend import Floats, Rolled
from wmserve_server.errors import InvalidArgument

DEFAULT_LEVEL = 0.9


@dataclass(frozen=True)
class Confidence:
    """What a caller wants of radii: the probability that they hold with, and the largest that is of use to it."""

    level: Level
    tolerance: float


@dataclass(frozen=True)
class Trust:
    """How far rollouts may be trusted."""

    radius: Floats
    """`[S, H]`, latent units: each step by itself."""
    joint_radius: Floats
    """`[S, H]`, latent units: all steps at once."""
    readout_radius: Floats | None
    """`[S, H, R]`, the readouts' units; None where the truth about them was not known."""
    ood: NDArray[np.float64]
    """`[S]`: the largest disagreement of a step, over what is usual there."""
    ood_p_value: NDArray[np.float64]
    """`[S]`."""
    trusted_horizon: NDArray[np.int64]
    """`[S]`: model steps up to which every radius is within the tolerance."""


def confidence(world: World, level: float | None, tolerance: float | None) -> Confidence | None:
    """Look the level up in the world's calibration; None where it has none.

    InvalidArgument where a caller asks for what the world cannot say.
    """
    calibration = world.calibration
    if calibration is None:
        if level is not None or tolerance is not None:
            field = "tolerance" if level is None else "level"
            raise InvalidArgument(f"world {world.name} is not calibrated; leave it out", field=field)
        return None
    wanted = DEFAULT_LEVEL if level is None else level
    for known in calibration.levels:
        if abs(known.level - wanted) < 1e-9:
            return Confidence(known, calibration.tolerance if tolerance is None else tolerance)
    there = ", ".join(f"{known.level:g}" for known in calibration.levels)
    raise InvalidArgument(f"world {world.name} is calibrated at {there}", field="level")


def of_rollouts(world: World, rolled: Rolled, asked: Confidence) -> Trust:
    """Judge rollouts by the error that their world expects of them."""
    assert world.calibration is not None, "who is confident has a calibration"
    assert rolled.expected_error is not None, "a calibrated world's engine answers it"
    error, horizon = rolled.expected_error, rolled.expected_error.shape[1]
    radius = error * np.array(asked.level.radius[:horizon], np.float32)
    usual = np.maximum(world.calibration.disagreement_scale[:horizon], 1e-12)
    ood = (rolled.disagreement / usual).max(axis=1)
    return Trust(
        radius=radius,
        joint_radius=error * np.array(asked.level.joint_radius[:horizon], np.float32),
        readout_radius=readout_radius(world, asked.level, error),
        ood=ood,
        ood_p_value=p_values(world.calibration.quantiles.rollout_ood, ood, world.calibration.trajectories),
        trusted_horizon=np.cumprod(radius <= asked.tolerance, axis=1).sum(axis=1),
    )


def readout_radius(world: World, level: Level, error: Floats) -> Floats | None:
    """Radii `[S, H, R]` of readouts, of expected errors `[S, H]`."""
    if not level.readout_radius:
        return None
    factors = np.array(level.readout_radius, np.float32).reshape(world.horizon_limit, len(world.readouts))
    return error[..., None] * factors[: error.shape[1]]


@lru_cache(maxsize=1024)
def distribution(quantiles: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores that rise, and the part of all that lies under each."""
    scores, first = np.unique(quantiles, return_index=True)
    return scores, np.array(QUANTILE_LEVELS)[first]


def p_values(quantiles: Sequence[float], values: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """Which part of `count` scores and one more is as high as `values` `[...]` or higher; `[...]`, never 0.

    Between the quantiles of those scores along straight lines; of equal ones all count as as high.
    """
    below = np.interp(values, *distribution(tuple(quantiles)), left=0.0, right=1.0)
    return ((1.0 - below) * count + 1.0) / (count + 1.0)


@dataclass(frozen=True)
class Surprise:
    """What came of a prediction, against what its world expected of it."""

    value: float
    """Square of the error over the square of the expected one."""
    p_value: float
    expected_error: float
    quantiles: tuple[float, ...]
    """Of the calibration's surprises after as many steps."""
    least_rate: float
    """Miss rate under which no radius was ever seen to hold."""

    def radius(self, miss_rate: float) -> float | None:
        """Radius that a part `miss_rate` of the calibration exceeded; None where that is too few for one."""
        if miss_rate < self.least_rate:
            return None
        level = 1 - min(miss_rate, 1.0)
        return self.expected_error * float(np.sqrt(np.interp(level, QUANTILE_LEVELS, self.quantiles)))


def surprise(calibration: Calibration, error: float, expected_error: float, steps: int) -> Surprise:
    """Judge an error, latent units, after `steps` model steps."""
    first = (steps - 1) * len(QUANTILE_LEVELS)
    quantiles = calibration.quantiles.surprise[first : first + len(QUANTILE_LEVELS)]
    value = (error / max(expected_error, 1e-12)) ** 2
    p_value = float(p_values(quantiles, np.array(value), calibration.trajectories))
    return Surprise(value, p_value, expected_error, quantiles, 1 / (calibration.trajectories + 1))
