"""A world that predicts poorly by its author's word: tiny-jepa's published weights, served and asked for plans."""

import importlib.resources
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_jepa._orby import OrbyWorld, collect_episodes
from tqdm import trange
from wmserve_client import Client, Plan, PlannerOptions
from wmserve_export import repository
from wmserve_export.calibration.calibrate import calibrate_world
from wmserve_export.calibration.trajectories import Trajectory
from wmserve_export.contract import ExportOptions
from wmserve_export.export import export_world
from wmserve_export.families.tiny_jepa import MOVES

from loadtest.serving import running

NAME, WEIGHTS = "tiny_jepa", "orby_v1.npz"
LOGS, PLANS = 1500, 300
LOGS_SEED, PLANS_SEED, TEST_SEED = 1, 16_000_000, 17_000_000
LENGTH = 16
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Verdict:
    """What a calibrated world says of itself."""

    tolerance: float
    """Median distance that a step covers: what who copies the last frame is off by."""
    radius: float
    """Of one step of a plan, median, latent units."""
    refused: float
    """Part of the plans."""
    reasons: dict[str, int]
    finding: str | None
    """For which it would not be served, had an operator not said to serve it anyway."""


def picture(grey: NDArray[np.float32]) -> Frame:
    """Frames `[..., 32, 32]` in 0..1 as a camera sends them: `[..., 32, 32, 3]` uint8."""
    return np.repeat(np.rint(255 * grey)[..., None], 3, axis=-1).astype(np.uint8)


def checkpoint(folder: Path) -> Path:
    """The published weights as a checkpoint folder."""
    folder.mkdir()
    published = importlib.resources.files("tiny_jepa") / "checkpoints" / WEIGHTS
    (folder / WEIGHTS).write_bytes(published.read_bytes())
    (folder / "config.json").write_text(json.dumps({"family": NAME}))
    return folder


def logs(count: int) -> Iterator[Trajectory]:
    """The package's own episodes: it seeks pellets two times in three, else it moves at random."""
    episodes = collect_episodes(count, LENGTH, seed=LOGS_SEED)
    for frames, moves in zip(episodes["frames"], episodes["actions"], strict=True):
        yield Trajectory(picture(frames), np.float32(MOVES)[moves])


def begin(seed: int) -> tuple[OrbyWorld, Frame]:
    """An environment and a goal: what another one looks like."""
    return OrbyWorld(seed=seed), picture(OrbyWorld(seed=seed + 500_000).render())


def executed(client: Client, count: int) -> list[Trajectory]:
    """Plans, and what came of them."""
    done = []
    for seed in trange(PLANS_SEED, PLANS_SEED + count, desc="executing plans", unit="plan", mininterval=2):
        world, goal = begin(seed)
        plan = client.plan(NAME, picture(world.render()), goal, planner=PlannerOptions(seed=seed))
        assert plan.actions is not None, "nothing is refused before it is calibrated"
        moves = np.square(plan.actions[:, None] - np.float32(MOVES)).sum(axis=-1).argmin(axis=-1)
        frames = [world.render(), *(world.step(int(move))[0] for move in moves)]
        done.append(Trajectory(picture(np.stack(frames)), plan.actions, goal=goal))
    return done


def asked(client: Client, count: int) -> list[Plan]:
    """Plans of new problems, judged."""
    plans = []
    for seed in trange(TEST_SEED, TEST_SEED + count, desc="asking for plans", unit="plan", mininterval=2):
        world, goal = begin(seed)
        plans.append(client.plan(NAME, picture(world.render()), goal, planner=PlannerOptions(seed=seed)))
    return plans


def verdict(folder: Path, count: int) -> Verdict:
    """Export, calibrate and serve it, and ask for `count` plans."""
    place = folder / "repository"
    export_world(checkpoint(folder / "checkpoint"), place, ExportOptions(rank_problems=20), show=False)
    with running(folder / "plans.log", model_repository=str(place)) as server:
        server.wait_ready()
        with Client(server.grpc) as client:
            planned = executed(client, max(PLANS, count))
    found = calibrate_world(place, NAME, logs(LOGS), LOGS, planned)
    repository.serve_anyway(place, NAME, wanted=True)
    with running(folder / "asked.log", model_repository=str(place)) as server:
        server.wait_ready()
        with Client(server.grpc) as client:
            calibration, plans = client.world(NAME).calibration, asked(client, count)
    reasons = [reason for plan in plans for reason in plan.reasons]
    return Verdict(
        tolerance=calibration.tolerance,
        radius=float(np.median([plan.radius[0] for plan in plans])),  # type: ignore[index]  # it is calibrated
        refused=float(np.mean([plan.status == "refused" for plan in plans])),
        reasons={name: reasons.count(name) for name in sorted(set(reasons))},
        finding=found.collapsed,
    )
