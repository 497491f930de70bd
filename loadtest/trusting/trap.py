"""Episodes that lead straight across the pit: does a planner fall in, and does the gate see it coming?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm, trange
from wmserve_client import Client, Guard, Plan, PlannerOptions
from wmserve_export.calibration.calibrate import calibrate_world
from wmserve_export.calibration.trajectories import Trajectory
from wmserve_export.contract import ExportOptions
from wmserve_export.export import export_world
from wmserve_export.reference import collect, environment

from loadtest.execute_plans import path, picture, trajectory
from loadtest.serving import running
from loadtest.trusting import pit
from loadtest.trusting.pit import DOOR, NAME, Floats

CHECKPOINT = Path(__file__).parent / "pit_world"
LOGS, LOGS_SEED = 4000, 13_000_000
PLANS, PLANS_SEED = 600, 14_000_000
EPISODES_SEED = 15_000_000
MODEL_STEPS = 20


def logs(count: int) -> Iterator[Trajectory]:
    """Trajectories as training has them: none of them enters the pit."""
    rng = np.random.default_rng(LOGS_SEED)
    for _ in range(count):
        positions, actions = pit.walk(rng, np.array([DOOR]))
        yield trajectory(positions[0], actions[0], DOOR)


def prepare(place: Path, folder: Path, count: int) -> None:
    """Export the world into a repository; calibrate it on logs, and on plans that were executed, also into the pit."""
    export_world(CHECKPOINT, place, ExportOptions(rank_problems=20), show=False)
    rng, planned = np.random.default_rng(PLANS_SEED), []
    with running(folder / "plans.log", model_repository=str(place)) as server:
        server.wait_ready()
        with Client(server.grpc) as client:
            for seed in trange(max(count, 300), desc="executing plans", unit="plan", mininterval=2):
                start, goal = pit.outside(rng, 1), pit.outside(rng, 1)
                plan = client.plan(NAME, picture(start, DOOR), picture(goal, DOOR), planner=PlannerOptions(seed=seed))
                assert plan.actions is not None, "nothing is refused before it is calibrated"
                walked = path(start, plan.actions, DOOR, pit.step)
                planned.append(trajectory(walked, plan.actions, DOOR, picture(goal, DOOR)))
    calibrate_world(place, NAME, logs(LOGS), LOGS, planned)


@dataclass(frozen=True)
class Judged:
    """One plan, and whether it leads into the pit."""

    bad: bool
    refused: bool
    distance: float
    """How unfamiliar its worst step is."""
    disagreement: float
    """Of the members, at most: what a penalised search minimises."""
    refused_for_it: bool
    """Whether a gate on that score alone refuses it."""


@dataclass(frozen=True)
class Episode:
    """How one ended, and its plans."""

    trapped: bool
    reached: bool
    plans: Sequence[Judged]


def play(client: Client, name: str, guard: Guard, obeyed: bool, count: int) -> list[Episode]:
    """Episodes across the pit; where the gate is obeyed, an agent whose plan is refused stays where it is."""
    rng = np.random.default_rng(EPISODES_SEED)
    asked = Guard(penalty=guard.penalty, refusal_level=guard.refusal_level, return_refused=True)
    return [
        episode(client, rng, asked, obeyed, number)
        for number in tqdm(range(count), f"trap: {name}", unit="episode", mininterval=2)
    ]


def episode(client: Client, rng: np.random.Generator, guard: Guard, obeyed: bool, number: int) -> Episode:
    """Play one, from above the pit to below it or the other way."""
    above, below = (np.float32([[rng.uniform(74, 98), rng.uniform(*height)]]) for height in ((28, 62), (162, 196)))
    place, goal = (above, below) if rng.random() < 0.5 else (below, above)
    target, plans = {"agent_x": float(goal[0, 0]), "agent_y": float(goal[0, 1])}, []
    for step in range(MODEL_STEPS):
        options = PlannerOptions(seed=number * MODEL_STEPS + step)
        plan = client.plan(NAME, picture(place, DOOR), target, planner=options, guard=guard)
        plans.append(judged(plan, place))
        if plans[-1].refused and obeyed:
            continue
        place = path(place, plan.actions[: collect.ACTION_BLOCK], DOOR, pit.step)[-1:]  # type: ignore[index]
        if pit.inside(place).any() or np.linalg.norm(place - goal) < environment.SUCCESS_RADIUS:
            break
    reached = bool(np.linalg.norm(place - goal) < environment.SUCCESS_RADIUS)
    return Episode(bool(pit.inside(place).any()), reached, plans)


def judged(plan: Plan, place: Floats) -> Judged:
    """Hold a plan against where it leads."""
    assert plan.actions is not None, "refused plans are asked for, too"
    assert plan.ood is not None, "the world is calibrated"
    bad = bool(pit.inside(path(place, plan.actions, DOOR, pit.step)).any())
    return Judged(
        bad, plan.status == "refused", plan.ood, float(plan.disagreement.max()), "disagreement" in plan.reasons
    )
