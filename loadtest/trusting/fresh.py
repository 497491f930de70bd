"""Does a calibration hold on fresh data? Of any world in a repository, without a server.

    python -m loadtest.trusting.fresh WORLD --repository DIR --trajectories DIR --planned DIR [--execute-steps N]

The folders are as `wmserve calibrate` takes them, and the calibration may not have seen them. Prints one line of JSON:

    coverage_steps_low, coverage_steps_high   part of the radii at 0.9 that hold, by model steps: the least and the most
    coverage_plans_low                        the same of executed plans, the least
    healthy_refused, _low, _high              part of the plans that came true, as far as they are executed, that are
                                              refused, with its 95 % interval
    plans_refused, reasons                    part of all plans that are refused, and how often for what
    came_true                                 part of the plans that came true, as far as they are executed
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from wmserve.intervals import wilson
from wmserve.world import USUALLY, Calibration, World
from wmserve_export import repository
from wmserve_export.calibration import trajectories
from wmserve_export.calibration.measure import Engines, measure
from wmserve_export.calibration.plans import Executed, Judge
from wmserve_export.calibration.trajectories import CalibrationError, Plans
from wmserve_export.export import one_thread
from wmserve_export.runtime import Runner
from wmserve_server import trust

LEVEL = 0.9
Doubles = NDArray[np.float64]


class Score(nn.Module):
    """A score engine of a calibration, called as what it was made from."""

    def __init__(self, runner: Runner, names: Sequence[str]) -> None:
        super().__init__()
        self._runner, self._names = runner, names

    def forward(self, *tensors: Tensor) -> Tensor:
        """What the engine answers of these tensors, one for each name."""
        (answer,) = self._runner(dict(zip(self._names, tensors, strict=True))).values()
        return torch.from_numpy(answer)


@dataclass(frozen=True)
class Fresh:
    """A calibrated world in a repository, with its score engines."""

    place: Path
    world: World

    @property
    def calibration(self) -> Calibration:
        """Its calibration; CalibrationError where it has none."""
        if self.world.calibration is None:
            name = self.world.name
            raise CalibrationError(f"world {name} is not calibrated: wmserve calibrate {name}")
        return self.world.calibration

    def score(self, key: str, *names: str) -> Score:
        """The score engine whose key begins so, such as ``plan/error``, with its inputs' names."""
        verb, _, name = next(known for known in self.calibration.files if known.startswith(key)).partition("/")
        return Score(Runner(repository.version_folder(self.place, self.world.engine(verb)) / name), names)

    def error(self, verb: str) -> Score:
        """What says how far off rollouts are expected to be."""
        return self.score(f"{verb}/error", "context", "actions", "latents", "disagreement")

    def of_logs(self, folder: Path) -> list[float]:
        """Part of the radii at 0.9 that hold, by model steps, on fresh trajectories."""
        found = trajectories.files(folder)
        source = trajectories.read(found, self.world)
        measured = measure(Engines(self.place, self.world), source, len(found), None, "predicting", show=True)
        expected = self.error("rollout")(*measured.rollouts)[:, 0].double().numpy()
        factors = next(one.radius for one in self.calibration.levels if one.level == LEVEL)
        return covered(measured.errors, expected, factors)

    def of_plans(self, folder: Path, execute: int | None) -> dict[str, object]:
        """How often radii of plans hold, and which plans are refused, of those that were executed afresh."""
        world = self.world
        asked = trust.guarded(world, None, None, None, world.search.horizon, execute)
        if asked is None:
            raise CalibrationError(f"world {world.name} is not calibrated for plans: wmserve calibrate --planned")
        judge = Judge(
            self.place,
            world,
            self.error("plan"),
            self.score("encode/ood", "features"),
            self.score("plan/distance", "latents"),
        )
        plans = Plans(folder, world)
        rows = [judge(plan) for plan in tqdm(plans, "judging plans", unit="plan", mininterval=2)]
        return judged(world, asked, rows)


def covered(errors: Doubles, expected: Doubles, factors: Sequence[float]) -> list[float]:
    """Part of the errors `[M, H]` within expected errors times factors `[H]`, by steps."""
    return [float(part) for part in (errors <= expected * np.array(factors[: errors.shape[1]])).mean(axis=0)]


def judged(world: World, asked: trust.Guarded, rows: Sequence[Executed]) -> dict[str, object]:
    """The figures of plans, each `M` = 1."""
    reasons = [refusals(world, asked, row) for row in rows]
    errors, expected = (np.concatenate([getattr(row, name) for row in rows]) for name in ("errors", "expected"))
    true = came_true(asked, errors)
    healthy = true if true.mean() >= USUALLY else np.ones_like(true)
    refused = np.array([bool(found) for found in reasons])
    low, high = wilson(int(refused[healthy].sum()), int(healthy.sum()))
    factors = next(one.radius for one in asked.planned.levels if one.level == LEVEL)
    return {
        "plans": len(rows),
        "execute_steps": asked.executed * world.action.action_block,
        "coverage_plans_low": min(covered(errors, expected, factors)),
        "came_true": float(true.mean()),
        "healthy_refused": float(refused[healthy].mean()),
        "healthy_refused_low": low,
        "healthy_refused_high": high,
        "plans_refused": float(refused.mean()),
        "reasons": dict(Counter(reason for found in reasons for reason in found)),
        "margin": 1.0 if asked.planned.executed is None else asked.planned.executed.margin,
    }


def refusals(world: World, asked: trust.Guarded, row: Executed) -> tuple[str, ...]:
    """Why a server would refuse a plan, `M` = 1."""
    expected, spread, far = (
        getattr(row, name)[0].astype(np.float32) for name in ("expected", "disagreement", "distance")
    )
    gap = None if row.gaps is None else float(row.gaps[0])
    frames = {"observation": float(row.ood[0]), "goal": float(row.ood[1])}
    return trust.of_plan(world, asked, expected, spread, far, gap, frames).reasons


def came_true(asked: trust.Guarded, errors: Doubles) -> NDArray[np.bool_]:
    """Which plans came true within the tolerance as far as they are executed, errors `[M, H]`."""
    within: NDArray[np.bool_] = (errors[:, : asked.executed] <= asked.tolerance).all(axis=1)
    return within


def figures(options: argparse.Namespace) -> dict[str, object]:
    """All that the given folders can tell."""
    world, execute = repository.read(options.repository, options.world), options.execute_steps
    block, fresh = world.action.action_block, Fresh(options.repository, world)
    found: dict[str, object] = {"world": world.name}
    if execute is not None and (execute % block or not 0 < execute <= world.search.horizon * block):
        raise CalibrationError(f"--execute-steps must be a multiple of {block}, at most the plan's, not {execute}")
    with one_thread():
        if options.trajectories is not None:
            steps = fresh.of_logs(options.trajectories)
            found |= {"coverage_steps_low": min(steps), "coverage_steps_high": max(steps)}
        if options.planned is not None:
            found |= fresh.of_plans(options.planned, None if execute is None else execute // block)
    return found


def main() -> int:
    """0 when it was measured; 2 when it cannot be, and one line says why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", help="name of a calibrated world in the repository")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--trajectories", type=Path, help="folder of fresh trajectories")
    parser.add_argument("--planned", type=Path, help="folder of fresh plans that were executed, refused or not")
    parser.add_argument("--execute-steps", type=int, help="environment steps of a plan that are executed")
    try:
        print(json.dumps(figures(parser.parse_args())))
    except (ValueError, OSError) as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
