"""Rollouts through a server beside what then happened: do radii hold, and are large ones where errors are?"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from wmserve_client import AsyncClient, Rollout
from wmserve_export.calibration.trajectories import Trajectory
from wmserve_export.reference import calibrate

Doubles = NDArray[np.float64]
WORLD = calibrate.WORLD
AT_ONCE = 16


@dataclass(frozen=True)
class Outcome:
    """One trajectory: what was said and what happened. The arrays of many are stacked: `[M, ...]`."""

    errors: Doubles
    """`[H]`: `|| predicted - encoded ||`."""
    radius: Doubles
    """`[H]`."""
    joint_radius: Doubles
    """`[H]`."""
    disagreement: Doubles
    """`[H]`."""
    readout_errors: Doubles
    """`[H, R]`, against the truth."""
    readout_radius: Doubles
    """`[H, R]`."""
    start_p_value: Doubles
    """`[]`: of the frame that it starts from."""
    rollout_p_value: Doubles
    """`[]`: of all of it."""


def stack(outcomes: list[Outcome]) -> Outcome:
    """Many as one."""
    return Outcome(**{name: np.stack([getattr(one, name) for one in outcomes]) for name in Outcome.__annotations__})


def held_against_what_happened(address: str, count: int) -> Outcome:
    """Roll out `count` trajectories that neither training nor calibration has seen."""
    source = calibrate.trajectories(calibrate.TEST_SEED, count)
    return stack(asyncio.run(all_of_them(address, source, count)))


async def all_of_them(address: str, source: Iterator[Trajectory], count: int) -> list[Outcome]:
    """Some at once, in order."""
    outcomes: list[Outcome] = []
    rng = np.random.default_rng(calibrate.TEST_SEED)
    async with AsyncClient(address) as client:
        horizon = (await client.world(WORLD)).horizon_limit
        with tqdm(total=count, desc="rolling out", unit="trajectory", mininterval=2) as bar:
            while some := list(islice(source, AT_ONCE)):
                outcomes += await asyncio.gather(*(one_of_them(client, one, horizon, rng) for one in some))
                bar.update(len(some))
    return outcomes


async def one_of_them(client: AsyncClient, trajectory: Trajectory, horizon: int, rng: np.random.Generator) -> Outcome:
    """Ask for a rollout from a random moment, and look at what happened."""
    length = len(trajectory.observations) - 1
    start, block = int(rng.integers(length - horizon + 1)), len(trajectory.actions) // length
    frames = trajectory.observations[start : start + horizon + 1]
    actions = trajectory.actions[start * block : (start + horizon) * block]
    seen = await asyncio.gather(*(client.encode(WORLD, frame, return_latents=True) for frame in frames))
    said = await client.rollout(WORLD, seen[0], actions, return_latents=True)
    truth = np.stack([one.latents[0] for one in seen[1:]])  # type: ignore[index]
    assert trajectory.readouts is not None
    return Outcome(
        errors=np.linalg.norm(np.float64(said.latents[0]) - truth, axis=-1),  # type: ignore[index]
        radius=row(said, "radius"),
        joint_radius=row(said, "joint_radius"),
        disagreement=row(said, "disagreement"),
        readout_errors=np.abs(row(said, "readouts") - trajectory.readouts[start + 1 : start + horizon + 1]),
        readout_radius=row(said, "readout_radius"),
        start_p_value=np.float64(seen[0].ood_p_value[0]),  # type: ignore[index]
        rollout_p_value=np.float64(said.ood_p_value[0]),  # type: ignore[index]
    )


def row(said: Rollout, name: str) -> Doubles:
    """The only candidate's row of an array of an answer."""
    array = getattr(said, name)
    assert array is not None, "the world is calibrated"
    return np.asarray(array[0], np.float64)
