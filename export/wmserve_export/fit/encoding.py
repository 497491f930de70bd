"""Encodes trajectories, and splits them: what is learned from, what choices are made by, what is held out.

The split is by trajectory, so that no held-out frame has a neighbour that was learned from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm
from wmserve.trajectories import Floats, TrajectoryError
from wmserve.world import World

from wmserve_export.fit import data
from wmserve_export.fit.engines_before import encoded
from wmserve_export.fit.wanted import Wanted, columns
from wmserve_export.runtime import Runner

FEWEST = 30
"""Trajectories, for anything to be learned and held out."""
SHARES = (0.7, 0.1)
"""To learn from, and to choose by; the rest is held out."""
MEMORY = 1 << 30
"""Bytes of latents that are kept; of worlds with large latents fewer trajectories are used."""
FRAMES_KEPT = 64


@dataclass(frozen=True)
class Track:
    """One encoded trajectory."""

    latents: Floats
    """`[L, D]`."""
    actions: Floats
    """`[(L - 1) x action_block, A]`."""
    readouts: Floats
    """`[L, R]`, those that are wanted."""


@dataclass(frozen=True)
class Tracks:
    """All trajectories, in three parts."""

    fit: Sequence[Track]
    choose: Sequence[Track]
    held_out: Sequence[Track]
    readouts: tuple[Wanted, ...]
    observations: np.ndarray | None
    """Some frames `[M, h, w, 3]` with which gates try encoders; None for a world that looks at none."""

    @property
    def all(self) -> Sequence[Track]:
        """All of them."""
        return [*self.fit, *self.choose, *self.held_out]


def encode(
    run: Runner, files: Sequence[Path], world: World, wanted: Sequence[Wanted] | None, seed: int, show: bool
) -> Tracks:
    """Read and encode files, in an order drawn from `seed`.

    Args:
        run: The world's encoder.
        files: Of the trajectories.
        world: What they have to fit.
        wanted: Readouts; empty takes all columns that have names, None takes none.
        seed: Of the split.
        show: Whether to show progress.

    Raises:
        TrajectoryError: Where there are too few, one does not fit, or they have other columns than each other.
    """
    if len(files) < FEWEST:
        raise TrajectoryError(
            f"{len(files)} trajectories are too few to fit a world; at least {FEWEST}, better hundreds"
        )
    order = np.random.default_rng(seed).permutation(len(files))
    tracks: list[Track] = []
    frames: list[np.ndarray] = []
    used, first = 0, None
    chosen: tuple[tuple[Wanted, int], ...] = ()
    for index in tqdm(order, "encoding", unit="trajectory", mininterval=2, disable=not show):
        one = data.read(files[index], world)
        layout = (one.names, one.columns.shape[1])
        if first is None:
            first, chosen = layout, () if wanted is None else columns(wanted, *layout)
        elif layout != first and chosen:
            raise TrajectoryError(f"{files[index].name} has other columns of readouts than the trajectories before it")
        latents = encoded(run, one.observed)
        if not np.isfinite(latents).all():
            raise TrajectoryError(f"{files[index].name}: its latents are not finite; the world cannot be fitted")
        tracks.append(Track(latents, one.actions, one.columns[:, [column for _, column in chosen]]))
        if "observations" in one.observed and len(frames) < FRAMES_KEPT:
            frames.append(np.asarray(one.observed["observations"])[0])
        used += latents.nbytes
        if used > MEMORY and len(tracks) >= FEWEST:
            break
    return split(tracks, tuple(one for one, _ in chosen), same_size(frames))


def split(tracks: Sequence[Track], readouts: tuple[Wanted, ...], frames: np.ndarray | None) -> Tracks:
    """In three parts, each of which has a few."""
    fitted = round(SHARES[0] * len(tracks))
    chosen = fitted + max(3, round(SHARES[1] * len(tracks)))
    return Tracks(tracks[:fitted], tracks[fitted:chosen], tracks[chosen:], readouts, frames)


def same_size(frames: Sequence[np.ndarray]) -> np.ndarray | None:
    """Those frames that are as large as the first."""
    return np.stack([one for one in frames if one.shape == frames[0].shape]) if frames else None
