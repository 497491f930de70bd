"""What a goal metric is worth, on trajectories that it has not seen.

    correlation  rank correlation (Spearman) of the distance between two frames of a trajectory and the model steps
                 between them
    monotone     share of model steps after which a trajectory's later frame is nearer than before
    ranking      share of random candidates that are ranked behind the actions that were in fact taken, where the goal
                 is a frame of the trajectory beyond the horizon

Trajectories also wander, so none of them reaches 1; two metrics on the same trajectories can be compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from wmserve.world import GoalMetric, World

from wmserve_export.fit.encoding import Track
from wmserve_export.fit.engines_before import Before
from wmserve_export.fit.surgery import plan_engine
from wmserve_export.graphs import PATHS
from wmserve_export.runtime import Floats
from wmserve_export.scoring import total

PAIRS, PROBLEMS, CANDIDATES = 20_000, 100, 64
MEMORY = 256 << 20
"""Bytes of latents of all pairs, or of all problems: of large latents there are fewer."""
FARTHEST = 4
"""Horizons ahead of which goals of `ranking` lie, at most."""
Metric = Callable[[Floats, Floats], Floats]
"""Latents `[P, H, D]` and goals `[P, D]` -> distances `[P, H]`."""


@dataclass(frozen=True)
class Worth:
    """Of one metric; None where trajectories are too short to say."""

    correlation: float
    monotone: float
    ranking: float | None = None


@dataclass(frozen=True)
class Pairs:
    """Frames of trajectories, `[P]` pairs: latents `[P, D]` of a frame, of the next, and of a goal after `steps`."""

    here: Floats
    following: Floats
    goal: Floats
    steps: NDArray[np.int64]

    @classmethod
    def draw(cls, tracks: Sequence[Track], seed: int) -> "Pairs":
        """Pairs of frames any number of model steps apart, each number of a trajectory as often as another."""
        random, rows = np.random.default_rng(seed), list[tuple[int, int, int]]()
        count = min(PAIRS, MEMORY // (3 * tracks[0].latents[0].nbytes))
        each = max(1, count // len(tracks))
        for index, track in enumerate(tracks):
            steps = random.integers(1, len(track.latents), each)
            starts = (random.random(each) * (len(track.latents) - steps)).astype(int)
            rows += zip([index] * each, starts.tolist(), steps.tolist(), strict=True)
        return cls(
            np.stack([tracks[index].latents[start] for index, start, _ in rows]),
            np.stack([tracks[index].latents[start + 1] for index, start, _ in rows]),
            np.stack([tracks[index].latents[start + steps] for index, start, steps in rows]),
            np.array([steps for _, _, steps in rows]),
        )


def of_frames(metric: Metric, pairs: Pairs) -> Worth:
    """The measures that need no predictions."""
    distance = metric(pairs.here[:, None], pairs.goal)[:, 0]
    after = metric(pairs.following[:, None], pairs.goal)[:, 0]
    more = pairs.steps > 1
    return Worth(spearman(distance, pairs.steps), float((after < distance)[more].mean()) if more.any() else 0.0)


def spearman(one: NDArray[np.floating], other: NDArray[np.integer]) -> float:
    """Correlation of ranks; those of equal values are their mean."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def ranks(values: NDArray[np.number]) -> NDArray[np.float64]:
    """Mean rank of each value."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return ((ends - counts + ends - 1) / 2)[inverse]


@dataclass(frozen=True)
class Problems:
    """What candidates lead to: `M` problems, the first candidate of each being what was done."""

    latents: Floats
    """`[M, S, E, H, D]`."""
    goals: Floats
    """`[M, D]`."""

    @classmethod
    def draw(cls, tracks: Sequence[Track], before: Before, world: World, seed: int) -> "Problems | None":
        """Problems at the planner's horizon; None where no trajectory is long enough."""
        engine = plan_engine(world)
        horizon = engine.horizon or 0
        known, block, random = world.context_length, world.action.action_block, np.random.default_rng(seed)
        long = [track for track in tracks if len(track.latents) > known + horizon]
        if not long:
            return None
        low, high = (
            np.array([getattr(axis, end) for axis in world.action.axes], np.float32) for end in ("low", "high")
        )
        run, latents, goals = before.runner(engine), [], []
        size = CANDIDATES * world.search_members * horizon * long[0].latents[0].nbytes
        for number in range(min(PROBLEMS, 4 * len(long), max(4, MEMORY // size))):
            track = long[number % len(long)]
            start = int(random.integers(len(track.latents) - known - horizon))
            first = start + known
            goal = int(random.integers(first + horizon, min(len(track.latents), first + FARTHEST * horizon)))
            held = random.uniform(low, high, (CANDIDATES, horizon, len(low))).astype(np.float32)
            actions = held.repeat(block, axis=1)
            actions[0] = track.actions[(first - 1) * block :][: horizon * block]
            given = {"context": track.latents[start:first], "goal": track.latents[goal], "actions": actions}
            if known > 1:
                given["action_history"] = track.actions[start * block : (first - 1) * block]
            answer = run({name: torch.from_numpy(np.ascontiguousarray(one))[None] for name, one in given.items()})
            latents.append(answer[PATHS][0])
            goals.append(track.latents[goal])
        return cls(np.stack(latents), np.stack(goals))

    def ranking(self, metric: Metric, weights: GoalMetric) -> float:
        """The share of candidates that are ranked behind the first."""
        behind = []
        for paths, goal in zip(self.latents, self.goals, strict=True):
            distance = metric(paths.mean(axis=1), np.repeat(goal[None], len(paths), axis=0))
            costs = total(weights, distance[None])
            behind.append(float((costs[1:] > costs[0]).mean()))
        return float(np.mean(behind))
