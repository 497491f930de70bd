"""Puts a calibration together and binds it to the engines that it was measured with."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from wmserve.statistics import effective_rank, pooled
from wmserve.world import ByStep, Calibration, Quantiles, World

from wmserve_export import repository
from wmserve_export.calibration import conformal, health, plans
from wmserve_export.calibration.measure import FIT_STRIDE, Engines, Measured, measure
from wmserve_export.calibration.scores import (
    Distance,
    ExpectedError,
    Unlikeness,
    distance_engine,
    error_engine,
    fit_error,
    ood_engine,
)
from wmserve_export.calibration.trajectories import CalibrationError, Trajectory
from wmserve_export.contract import digest
from wmserve_export.export import one_thread

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
FIT_SHARE = 1 / 3
"""Of the trajectories, for the score engines; what is fitted may not be measured on."""
FEWEST = 300
OOD, ERRORS, DISTANCES = "encode/ood", ("rollout/error", "plan/error"), ("rollout/distance", "plan/distance")


def calibrate_world(
    place: Path,
    name: str,
    trajectories: Iterable[Trajectory],
    count: int,
    planned: Sequence[Trajectory] | None = None,
    tolerance: float | None = None,
    show: bool = True,
    placing: repository.Placing | None = None,
) -> Calibration:
    """Measure world `name` of the repository at `place` on `count` trajectories, and write a version that knows it.

    Plans that were executed, if there are any, say how far plans are to be believed. CalibrationError when
    trajectories or plans are too few or do not fit.
    """
    if planned is not None and len(planned) < plans.FEWEST:
        raise CalibrationError(f"{len(planned)} plans are too few; at least {plans.FEWEST}, better thousands")
    if count < FEWEST:
        raise CalibrationError(f"{count} trajectories are too few; at least {FEWEST}, better thousands")
    world = repository.read(place, name)
    if world.target.name != "cpu":
        raise CalibrationError(f"engines for {world.target.name} cannot be measured yet; export the world for cpu")
    engines, source = Engines(place, world), iter(trajectories)
    fitted = round(count * FIT_SHARE)
    with one_thread():
        fit = measure(engines, islice(source, fitted), fitted, FIT_STRIDE, "predicting, to learn from", show)
        held_out = measure(engines, source, count - fitted, None, "predicting, to measure", show)
        unlikeness = Unlikeness(torch.from_numpy(fit.features))
        error = fit_error(world, fit.rollouts, torch.from_numpy(fit.errors).float(), show)
        expecting = error_engine(error, world)
        distance = Distance(torch.from_numpy(np.concatenate([fit.context[:, -1:], fit.truth], axis=1)).flatten(0, 1))
        measuring = distance_engine(distance)
        files = named(
            {OOD: ood_engine(unlikeness)} | dict.fromkeys(ERRORS, expecting) | dict.fromkeys(DISTANCES, measuring)
        )
        executed = None
        if planned:
            executed = plans.measure(
                plans.Judge(place, world, error, unlikeness, distance), planned, len(planned), show
            )
        found = put_together(world, fit, held_out, unlikeness, error, distance, files, tolerance, executed)
    if repository.read(place, name).version != world.version:
        raise CalibrationError(f"world {name} has another live version by now; nothing was written")
    repository.calibrate(place, world, found, files, placing)
    return found


def named(files: dict[str, bytes]) -> dict[str, bytes]:
    """Score engines by names that say which they are, so that a new one never takes the place of one in use."""
    return {f"{key}_{digest(content)[7:15]}.onnx": content for key, content in files.items()}


def put_together(
    world: World,
    fit: Measured,
    held_out: Measured,
    unlikeness: Unlikeness,
    error: ExpectedError,
    distance: Distance,
    files: dict[str, bytes],
    tolerance: float | None,
    executed: plans.Executed | None,
) -> Calibration:
    """The calibration of held-out rollouts; scales come from what was fitted, so that they favour none of these."""
    with torch.inference_mode():
        expected = error(*held_out.rollouts)[:, 0].double().numpy()
        fitted = fit.errors / error(*fit.rollouts)[:, 0].double().numpy()
        ood = unlikeness(torch.from_numpy(held_out.features)[:, None])[:, 0].double().numpy()
        far, far_fitted = (
            distance(torch.from_numpy(one.latents)[:, None])[:, 0].double().numpy() for one in (held_out, fit)
        )
    relative = held_out.errors / expected
    spread = held_out.disagreement.astype(np.float64)
    scale, far_scale = (
        np.maximum(np.quantile(scores, 0.9, axis=0), 1e-12)
        for scores in (fit.disagreement.astype(np.float64), far_fitted)
    )
    start = held_out.context[:, -1]
    alike = pooled(start.reshape(len(start), *world.latent_shape)).astype(np.float64)
    found_health = health.measure(held_out.thumbnails, start, held_out.latents, held_out.truth)
    moves, named = usual_moves(held_out), tolerance is not None
    tolerance = float(moves[0]) if tolerance is None else tolerance
    true = conformal.came_true(held_out.errors, tolerance)
    found = Calibration(
        digest="sha256:" + 64 * "0",
        engines=world.digests.engines,
        files={key: digest(content) for key, content in files.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        trajectories=len(relative),
        tolerance=tolerance,
        levels=tuple(
            conformal.level(
                level,
                relative,
                held_out.readout_errors / expected[..., None],
                np.maximum(np.quantile(fitted, level, axis=0), 1e-12),
            )
            for level in LEVELS
        ),
        disagreement_scale=tuple(scale),
        distance_scale=tuple(far_scale),
        quantiles=Quantiles(
            ood=conformal.quantiles(ood),
            disagreement=by_step(np.maximum.accumulate(spread / scale, axis=1), true),
            distance=by_step(np.maximum.accumulate(far / far_scale, axis=1), true),
            surprise=by_step(np.square(relative)),
        ),
        effective_rank=max(1.0, effective_rank(alike)),
        smallest_std=float(alike.std(axis=0).min()),
        collapsed=health.finding(found_health),
        health=found_health,
    )
    if executed is not None:
        planned = plans.calibrated(executed, found, None if named else moves)
        found = found.model_copy(update={"planned": planned})
    return found.model_copy(update={"digest": found.own_digest()})


def by_step(scores: NDArray[np.float64], counted: NDArray[np.bool_] | None = None) -> ByStep:
    """Quantiles of each column of `[M, H]`, of the rows that count."""
    columns = zip(scores.T, np.ones_like(scores.T, bool) if counted is None else counted.T, strict=True)
    return sum((conformal.quantiles(column[rows]) for column, rows in columns), ())


def usual_moves(held_out: Measured) -> NDArray[np.float64]:
    """Median distances `[H]` that so many model steps cover: who may be off by more knows no more than a copy says."""
    apart = held_out.truth.astype(np.float64) - held_out.context[:, -1:]
    return np.median(np.linalg.norm(apart, axis=-1), axis=0)
