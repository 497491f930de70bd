"""Has a world's engines judge plans that a search proposed, beside what happened when the environment executed them.

Predictions err more where a search has chosen the actions: it looks for errors in its favour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from wmserve.world import QUANTILE_LEVELS, USUALLY, ByStep, Calibration, Level, Planned, Quantiles, World
from wmserve.world import Executed as ByExecution

from wmserve_export.calibration import conformal
from wmserve_export.calibration.measure import verified
from wmserve_export.calibration.trajectories import CalibrationError, Floats, Trajectory
from wmserve_export.engines import Engine, search_members
from wmserve_export.runtime import Runner
from wmserve_export.scoring import total

FEWEST = 300
RADIUS_LEVEL, BEYOND, ASTRAY = 0.9, 0.99, 1 / 3
"""Level of radii that are held against the tolerance; of logs' scores that are left, and part that then goes astray."""
REFUSAL_LEVEL, MOST_REFUSED = 0.999, 0.01
"""What each check lets pass of healthy plans by default, and the part that all of them may refuse then."""
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Executed:
    """`M` plans and what came of them."""

    errors: Doubles
    """`[M, H]`: `|| predicted - encoded ||`."""
    expected: Doubles
    """`[M, H]`."""
    disagreement: Doubles
    """`[M, H]`, of all members."""
    distance: Doubles
    """`[M, H]`, from known latents."""
    readout_errors: Doubles
    """`[M, H, R]`; R is 0 where the truth about them is not known."""
    ood: Doubles
    """`[2 M]`: of the strangest frame of each context, and of each goal."""
    gaps: Doubles | None
    """`[M]`: goal cost by members that searches do not ask less that by those they ask; None where there are none."""


class Judge:
    """The engines that a plan of a world in a repository is made and judged with, at its planner's horizon."""

    def __init__(self, place: Path, world: World, error: nn.Module, unlikeness: nn.Module, distance: nn.Module) -> None:
        self.world, self._error, self._unlikeness, self._distance = world, error, unlikeness, distance
        self.horizon = world.search.horizon
        unrolled = min(steps for steps in world.engine_horizons if steps >= self.horizon)
        self._padding = (unrolled - self.horizon) * world.action.action_block
        engine = Engine("plan", unrolled)
        self._encode = Runner(verified(place, world, Engine("encode")))
        self._search = Runner(verified(place, world, engine))
        self._judge = Runner(verified(place, world, engine.beside("judge")))

    def encode(self, frames: NDArray[np.uint8]) -> tuple[Floats, Doubles]:
        """Latents `[L, D]` and unlikeness `[L]` of frames `[L, h, w, 3]`, one by one as a server runs them."""
        rows = [self._encode({"observations": torch.from_numpy(frame[None, None])}) for frame in frames]
        latents, features = (np.concatenate([row[name][0] for row in rows]) for name in ("latents", "features"))
        with torch.inference_mode():
            return latents, self._unlikeness(torch.from_numpy(features)[None])[0].double().numpy()

    def __call__(self, plan: Trajectory) -> Executed:
        """One plan, `M` = 1."""
        world, steps = self.world, self.horizon
        known = world.context_length
        assert plan.goal is not None, "it was read as a plan"
        seen, strange = self.encode(plan.observations[: known + steps])
        goal, goal_strange = self.encode(plan.goal[None])
        first = (known - 1) * world.action.action_block
        actions = plan.actions[first : first + steps * world.action.action_block]
        inputs: dict[str, Tensor] = {
            "context": torch.from_numpy(seen[None, :known]),
            "goal": torch.from_numpy(goal),
            "actions": torch.from_numpy(np.pad(actions, ((0, self._padding), (0, 0)), mode="edge")[None, None]),
        }
        if known > 1:
            inputs["action_history"] = torch.from_numpy(plan.actions[None, :first])
        said = self._judge(inputs)
        latents, spread = said["latents"][:, :, :steps], said["disagreement"][:, :, :steps]
        with torch.inference_mode():
            rollout = (inputs["context"], torch.from_numpy(actions)[None, None], torch.from_numpy(latents))
            expected = self._error(*rollout, torch.from_numpy(spread))[0].double().numpy()
            distance = self._distance(torch.from_numpy(latents))[0].double().numpy()
        truth = seen[None, known:].astype(np.float64)
        return Executed(
            errors=np.linalg.norm(latents[0] - truth, axis=-1),
            expected=expected,
            disagreement=spread[0].astype(np.float64),
            distance=distance,
            readout_errors=self._readout_errors(said, plan),
            ood=np.concatenate([[strange[:known].max()], goal_strange]),
            gaps=self._gap(said, inputs),
        )

    def _readout_errors(self, said: dict[str, Floats], plan: Trajectory) -> Doubles:
        if plan.readouts is None:
            return np.zeros((1, self.horizon, 0))
        wanted = plan.readouts[self.world.context_length :][: self.horizon]
        return np.abs(said["readouts"].mean(axis=2)[0, :, : self.horizon] - wanted).astype(np.float64)

    def _gap(self, said: dict[str, Floats], inputs: dict[str, Tensor]) -> Doubles | None:
        if search_members(self.world.ensemble_size) == self.world.ensemble_size:
            return None
        metric, steps = self.world.metric, self.horizon
        held_out = total(metric, said["goal_distance"][:, :, :steps])
        return (held_out - total(metric, self._search(inputs)["goal_distance"][:, :, :steps])).astype(np.float64)


def measure(judge: Judge, plans: Iterable[Trajectory], count: int, show: bool) -> Executed:
    """Judge `count` plans; CalibrationError where some bring the truth about readouts and others do not."""
    rows = [judge(plan) for plan in tqdm(plans, "judging plans", total=count, mininterval=2, disable=not show)]
    if len({row.readout_errors.shape for row in rows}) > 1:
        raise CalibrationError("some plans have readouts and others have none")
    gaps = [row.gaps for row in rows]
    return Executed(
        **{
            name: np.concatenate([getattr(row, name) for row in rows])
            for name in ("errors", "expected", "disagreement", "distance", "readout_errors", "ood")
        },
        gaps=None if gaps[0] is None else np.concatenate([gap for gap in gaps if gap is not None]),
    )


def calibrated(executed: Executed, logged: Calibration, moves: Doubles | None) -> Planned:
    """What plans came to, beside the calibration of logged trajectories, whose scales are used: they favour none.

    `moves` `[H]` is what so many model steps usually cover; None where an operator has named the tolerance.
    """
    relative = executed.errors / executed.expected
    count, steps = relative.shape
    disagreement, distance = (
        np.maximum.accumulate(scores / np.maximum(scale[:steps], 1e-12), axis=1)
        for scores, scale in (
            (executed.disagreement, logged.disagreement_scale),
            (executed.distance, logged.distance_scale),
        )
    )
    usual, came_true = conformal.so_far(executed.errors, logged.tolerance, moves)
    levels = tuple(
        conformal.level(
            level.level,
            relative,
            executed.readout_errors / executed.expected[..., None],
            np.maximum(level.radius[:steps], 1e-12),
        )
        for level in logged.levels
    )
    radius = uncertainty(executed, levels, logged.tolerance)
    true = usual[:, -1]
    scores = [*executed.ood.reshape(count, 2).T, distance[:, -1], disagreement[:, -1], radius[:, -1]]
    scores += [] if executed.gaps is None else [executed.gaps]
    return Planned(
        plans=count,
        levels=levels,
        ood=conformal.quantiles(executed.ood),
        disagreement=conformal.quantiles(disagreement[true, -1]),
        distance=conformal.quantiles(distance[true, -1]),
        held_out_gap=None if executed.gaps is None else conformal.quantiles(executed.gaps[true]),
        executed=ByExecution(
            came_true=tuple(came_true),
            disagreement=by_steps(disagreement, usual),
            distance=by_steps(distance, usual),
            radius=None if moves is None else by_steps(np.where(came_true >= USUALLY, radius, 0.0), usual),
            beyond_logs=tuple(
                name
                for name, score, known in (
                    ("unfamiliar", distance, logged.quantiles.distance),
                    ("disagreement", disagreement, logged.quantiles.disagreement),
                )
                if leads_astray(score[:, -1], Quantiles.after(steps, known), true)
            ),
            margin=margin(np.stack(scores, axis=1)[true], count),
        ),
    )


def uncertainty(executed: Executed, levels: Sequence[Level], tolerance: float) -> Doubles:
    """The largest radius at 0.9 of the first steps `[M, H]`, over the tolerance."""
    chosen = next((level for level in levels if level.level == RADIUS_LEVEL), levels[-1])
    return np.maximum.accumulate(executed.expected * chosen.radius / tolerance, axis=1)


def by_steps(scores: Doubles, counted: NDArray[np.bool_]) -> ByStep:
    """Quantiles of each column of `[M, H]`, of the rows that count."""
    columns = zip(scores.T, counted.T, strict=True)
    return sum((conformal.quantiles(column[rows]) for column, rows in columns), ())


def leads_astray(scores: Doubles, logged: Sequence[float], true: NDArray[np.bool_]) -> bool:
    """Whether of plans whose scores `[M]` are beyond those of logs many did not come true; so, where there are none."""
    beyond = scores > logged[QUANTILE_LEVELS.index(BEYOND)]
    return not beyond.any() or float((~true[beyond]).mean()) >= ASTRAY


def margin(scores: Doubles, plans: int) -> float:
    """How far beyond all scores `[M, K]` of usual plans one has to be for all checks to refuse at most MOST_REFUSED.

    The first two columns are of frames, which twice as many speak of.
    """
    counts = [2 * plans] * 2 + [len(scores)] * (scores.shape[1] - 2)
    refused = sum(max(1 - REFUSAL_LEVEL, 1 / (count + 1)) for count in counts)
    return 1.0 if refused <= MOST_REFUSED else conformal.margin(scores, 1 - MOST_REFUSED)
