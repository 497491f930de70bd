"""What a calibration makes of a world's answers: radii, p-values, and how far ahead they may be trusted.

It knows the contract and numbers, no engine. Where a world is not calibrated, nothing is said.

    expected error  x  the level's factors  ->  radius, joint radius, readout radius  ->  trusted horizon
    distance        /  the usual            ->  ood  ->  p-value, and the same of disagreement
    p-values, trusted horizon               ->  reasons to refuse a plan

Axes: `S` candidates, `H` model steps, `R` readouts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from wmserve.world import QUANTILE_LEVELS, ByStep, Calibration, Check, Level, Planned, Quantiles, World

from wmserve_server.backend import Floats, Rolled
from wmserve_server.errors import InvalidArgument

DEFAULT_LEVEL, DEFAULT_REFUSAL_LEVEL = 0.9, 0.999


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
    """`[S]`: the largest distance of a step from known latents, over what is usual there."""
    ood_p_value: NDArray[np.float64]
    """`[S]`."""
    disagreement_p_value: NDArray[np.float64]
    """`[S]`: of the largest disagreement of a step, over what is usual there."""
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
    return Confidence(
        at_level(world, calibration.levels, level, "level"), calibration.tolerance if tolerance is None else tolerance
    )


def at_level(world: World, levels: Sequence[Level], level: float | None, field: str) -> Level:
    """The level that is asked for; InvalidArgument says which there are."""
    wanted = DEFAULT_LEVEL if level is None else level
    for known in levels:
        if abs(known.level - wanted) < 1e-9:
            return known
    there = ", ".join(f"{known.level:g}" for known in levels)
    raise InvalidArgument(f"world {world.name} is calibrated at {there}", field=field)


def of_rollouts(world: World, rolled: Rolled, asked: Confidence) -> Trust:
    """Judge rollouts by the error that their world expects of them."""
    assert world.calibration is not None, "who is confident has a calibration"
    assert rolled.expected_error is not None, "a calibrated world's engine answers it"
    assert rolled.distance is not None, "and that"
    error, horizon = rolled.expected_error, rolled.expected_error.shape[1]
    radius = error * np.array(asked.level.radius[:horizon], np.float32)
    calibration = world.calibration
    ood = largest(rolled.distance, calibration.distance_scale)
    spread = largest(rolled.disagreement, calibration.disagreement_scale)
    ood_quantiles, spread_quantiles = (
        Quantiles.after(horizon, scores)
        for scores in (calibration.quantiles.distance, calibration.quantiles.disagreement)
    )
    return Trust(
        radius=radius,
        joint_radius=error * np.array(asked.level.joint_radius[:horizon], np.float32),
        readout_radius=readout_radius(asked.level, error),
        ood=ood,
        ood_p_value=p_values(ood_quantiles, ood, calibration.trajectories),
        disagreement_p_value=p_values(spread_quantiles, spread, calibration.trajectories),
        trusted_horizon=np.cumprod(radius <= asked.tolerance, axis=1).sum(axis=1),
    )


def largest(scores: Floats, scale: Sequence[float]) -> NDArray[np.float64]:
    """The largest score of a step, over what is usual there: `[S]` of `[S, H]`."""
    usual = np.maximum(scale[: scores.shape[1]], 1e-12)
    return np.asarray((scores / usual).max(axis=1), np.float64)


def readout_radius(level: Level, error: Floats) -> Floats | None:
    """Radii `[..., H, R]` of readouts, of expected errors `[..., H]`."""
    if not level.readout_radius:
        return None
    factors = np.array(level.readout_radius, np.float32).reshape(len(level.radius), -1)
    return error[..., None] * factors[: error.shape[-1]]


@dataclass(frozen=True)
class Guarded:
    """What a plan is judged by."""

    planned: Planned
    level: Level
    tolerance: float
    bound: bool
    """Whether the tolerance is held whatever is usual of plans: a caller has named it, or an operator."""
    refusal_level: float
    executed: int
    """Model steps whose radius counts: those that are executed before planning again."""
    judged: int
    """Model steps that all else counts of: these, where a caller has said so, or the whole plan."""

    @property
    def plans(self) -> int:
        """Plans that came true so far, which p-values are taken from."""
        return self.planned.counted(self.judged)

    @property
    def known_level(self) -> float:
        """Part of healthy plans that a check is known to let pass."""
        return min(self.refusal_level, self.plans / (self.plans + 1))


@dataclass(frozen=True)
class Judgement:
    """How far a plan may be trusted, and why not."""

    radius: Floats
    """`[H]`, latent units: each step by itself."""
    joint_radius: Floats
    """`[H]`, latent units: all steps at once."""
    readout_radius: Floats | None
    """`[H, R]`, the readouts' units; None where the truth about them was not known."""
    ood: float
    ood_p_value: float
    disagreement_p_value: float
    trusted_horizon: int
    held_out_gap_p_value: float | None
    frame_p_values: Mapping[str, float | None]
    reasons: tuple[str, ...]


def guarded(
    world: World,
    level: float | None,
    tolerance: float | None,
    refusal_level: float | None,
    horizon: int,
    execute: int | None = None,
) -> Guarded | None:
    """Look a guard up in the world's calibration; None where it knows nothing of plans, or of plans so long.

    `execute` is the model steps that the caller says it executes, None where it says nothing. InvalidArgument where a
    caller asks for what the world cannot say.
    """
    calibration = world.calibration
    planned = None if calibration is None else calibration.planned
    if calibration is None or planned is None or horizon > len(planned.levels[0].radius):
        for field, given in {"level": level, "tolerance": tolerance, "refusal_level": refusal_level}.items():
            if given is not None:
                longer = f" of {horizon} model steps" if planned else ""
                message = f"world {world.name} is not calibrated for plans{longer}; leave it out"
                raise InvalidArgument(message, field=f"guard.{field}")
        return None
    return Guarded(
        planned,
        at_level(world, planned.levels, level, "guard.level"),
        calibration.tolerance if tolerance is None else tolerance,
        tolerance is not None or planned.executed is None or planned.executed.radius is None,
        DEFAULT_REFUSAL_LEVEL if refusal_level is None else refusal_level,
        executed_steps(world, horizon, execute),
        horizon if execute is None else execute,
    )


def executed_steps(world: World, horizon: int, execute: int | None) -> int:
    """Model steps of a plan that are executed before planning again: what the caller says, or the world's."""
    return min(world.search.receding_horizon, horizon) if execute is None else execute


def of_plan(
    world: World,
    asked: Guarded,
    expected_error: Floats,
    disagreement: Floats,
    distance: Floats,
    held_out_gap: float | None,
    frames: Mapping[str, float | None],
) -> Judgement:
    """Judge a plan: its expected error, disagreement and distance `[H]`, its gap, how unlike frames it rests on are.

    No gap is held against the calibration's where the goal is not one of latents.
    """
    assert world.calibration is not None, "who is guarded has a calibration"
    planned, horizon = asked.planned, len(expected_error)
    radius = expected_error * np.array(asked.level.radius[:horizon], np.float32)
    logged, judged = world.calibration, asked.judged
    ood = float(largest(distance[None, :judged], logged.distance_scale)[0])
    spread = float(largest(disagreement[None, :judged], logged.disagreement_scale)[0])
    by_steps = planned.executed
    far = planned.distance if by_steps is None else Quantiles.after(judged, by_steps.distance)
    apart = planned.disagreement if by_steps is None else Quantiles.after(judged, by_steps.disagreement)
    checks = {name: unusual(asked, planned.ood, score, 2 * planned.plans) for name, score in frames.items()}
    checks["unfamiliar"] = of_steps(world, asked, "unfamiliar", far, logged.quantiles.distance, ood)
    checks["disagreement"] = of_steps(world, asked, "disagreement", apart, logged.quantiles.disagreement, spread)
    checks["held_out_gap"] = unusual(asked, planned.held_out_gap, held_out_gap, planned.counted(horizon))
    reasons = [name for name, found in checks.items() if found.refused]
    trusted = int(np.cumprod(radius <= asked.tolerance).sum())
    if too_uncertain(asked, expected_error, trusted):
        reasons.append("radius")
    return Judgement(
        radius=radius,
        joint_radius=expected_error * np.array(asked.level.joint_radius[:horizon], np.float32),
        readout_radius=readout_radius(asked.level, expected_error),
        ood=ood,
        ood_p_value=checks["unfamiliar"].known,
        disagreement_p_value=checks["disagreement"].known,
        trusted_horizon=trusted,
        held_out_gap_p_value=checks["held_out_gap"].p_value,
        frame_p_values={name: checks[name].p_value for name in frames},
        reasons=tuple(reasons),
    )


@dataclass(frozen=True)
class Checked:
    """How unusual a score is, and whether so much as to refuse the plan; no p-value where there is no score."""

    p_value: float | None
    refused: bool

    @property
    def known(self) -> float:
        """The p-value of a score that there is."""
        assert self.p_value is not None, "every plan has this score"
        return self.p_value


def unusual(asked: Guarded, quantiles: Sequence[float] | None, score: float | None, count: int) -> Checked:
    """Hold a score against those of `count` plans that came true.

    What none of them came up to is refused at any level: so few cannot tell how rare it is. Where they are so few that
    the checks together would then refuse too many healthy plans, it has to be beyond them by a margin.
    """
    if score is None or quantiles is None:
        return Checked(None, refused=False)
    p_value = float(p_values(quantiles, np.array(score), count))
    finest, part = 1.0001 / (count + 1), 1 - asked.refusal_level
    refused = p_value <= max(part, finest)
    if refused and part < finest and asked.planned.executed is not None:
        median, most = quantiles[len(QUANTILE_LEVELS) // 2], quantiles[-1]
        refused = score - median >= asked.planned.executed.margin * (most - median)
    return Checked(p_value, refused)


def of_steps(
    world: World, asked: Guarded, name: Check, of_plans: Sequence[float], of_logs: ByStep, score: float
) -> Checked:
    """Hold a score of a plan's steps against plans and, unless most plans that left logs came true, against logs.

    Executed plans may themselves have gone where no log had.
    """
    assert world.calibration is not None, "who is guarded has a calibration"
    found = unusual(asked, of_plans, score, asked.plans)
    if asked.planned.executed is not None and name not in asked.planned.executed.beyond_logs:
        return found
    logged = Quantiles.after(asked.judged, of_logs)
    p_value = float(p_values(logged, np.array(score), world.calibration.trajectories))
    refused = p_value <= max(1 - asked.refusal_level, 1.0001 / (asked.plans + 1))
    return Checked(min(found.known, p_value), found.refused or refused)


def too_uncertain(asked: Guarded, expected_error: Floats, trusted: int) -> bool:
    """Whether the radius of a step that is executed is over the tolerance, and over what is usual of plans.

    A tolerance that somebody has named is held whatever is usual.
    """
    if asked.bound:
        return trusted < asked.executed
    executed = asked.planned.executed
    assert executed is not None, "guarded has looked"
    assert executed.radius is not None, "guarded has looked"
    ratio = uncertainty(asked, expected_error[: asked.executed])
    usual = Quantiles.after(asked.executed, executed.radius)
    return ratio > 1 and unusual(asked, usual, ratio, asked.planned.counted(asked.executed)).refused


def uncertainty(asked: Guarded, expected_error: Floats) -> float:
    """The largest radius of a step at 0.9, over the tolerance: what `Executed.radius` has quantiles of."""
    level = next((one for one in asked.planned.levels if one.level == DEFAULT_LEVEL), asked.level)
    radius = expected_error * np.array(level.radius[: len(expected_error)], np.float32)
    return float(radius.max() / asked.tolerance)


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


def resolution(count: int) -> float:
    """The smallest p-value that `count` scores can show."""
    return 1 / (count + 1)


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
    quantiles = Quantiles.after(steps, calibration.quantiles.surprise)
    value = (error / max(expected_error, 1e-12)) ** 2
    p_value = float(p_values(quantiles, np.array(value), calibration.trajectories))
    return Surprise(value, p_value, expected_error, quantiles, 1 / (calibration.trajectories + 1))
