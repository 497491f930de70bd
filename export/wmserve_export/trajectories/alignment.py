"""Which action led from which frame to which? The world's own engines say: those with which it predicts best.

From the same frames a model step is predicted with the actions as recorded, with those of one environment step earlier
and with those of one later. A shift is clear when its error is smaller than that of each other by `CLEAR` standard
errors over episodes, and by `GAIN` of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from wmserve.world import World

from wmserve_export.calibration.measure import verified
from wmserve_export.engines import Engine
from wmserve_export.runtime import Runner
from wmserve_export.trajectories.source import Floats
from wmserve_export.trajectories.timeline import SHIFTS, Timeline, taken

EPISODES, WINDOWS = 96, 3
"""Most episodes that are looked at, and moments of each."""
FEWEST = 8
"""Episodes without which nothing is said."""
CLEAR, GAIN = 3.0, 0.02


@dataclass(frozen=True)
class ShiftError:
    """How well the world predicts one model step where actions are shifted."""

    shift: int
    error: float
    """Mean distance of predicted from encoded latents."""
    worse: float
    """By which part of it this error is over that of the best shift; 0 for the best."""
    deviations: float
    """The same in standard errors of the difference over episodes; 0 for the best."""


@dataclass(frozen=True)
class Alignment:
    """What was found."""

    episodes: int
    windows: int
    copying: float
    """Mean distance of latents one model step apart: the error of a world that predicts that nothing happens."""
    shifts: tuple[ShiftError, ...]
    best: int
    clear: bool
    """Whether the best shift is so by more than chance."""

    @property
    def predicts(self) -> bool:
        """Whether the best shift is better than predicting that nothing happens."""
        return min(one.error for one in self.shifts) < self.copying

    def words(self) -> str:
        """Figures, for people."""
        errors = ", ".join(f"{one.shift:+d}: {one.error:.4g}" for one in self.shifts)
        return (
            f"one-step error by shift of the actions ({errors}; predicting no change: {self.copying:.4g}; "
            f"{self.windows} moments of {self.episodes} episodes)"
        )


@dataclass(frozen=True)
class Window:
    """`T + 1` frames a model step apart; for each shift the actions `[T x block, A]` that led from one to the next."""

    observations: NDArray[np.uint8]
    actions: dict[int, Floats]


def windows(
    line: Timeline, frames: int, block: int, rng: np.random.Generator
) -> Iterator[tuple[int, dict[int, Floats]]]:
    """First steps of some windows of an episode, with the actions of each shift; none where it is too short."""
    span = frames * block
    first = max(-min(SHIFTS), 0)
    starts = np.arange(-(-first // line.frames) * line.frames, line.last - span + 1, line.frames)
    known = np.ones(len(starts), bool)
    for shift in SHIFTS:
        led = np.concatenate([[0], np.cumsum(line.led(shift))])
        known &= (led[starts + span] - led[starts]) == span
    starts = starts[known]
    for start in sorted(rng.permutation(starts)[:WINDOWS].tolist()):
        yield start, {shift: taken(line, shift, start, frames, block) for shift in SHIFTS}


class OneStep:
    """Engines of a world in a repository: its encoder and its shortest rollout."""

    def __init__(self, place: Path, world: World) -> None:
        self._world, self._horizon = world, min(world.engine_horizons)
        self._encode = Runner(verified(place, world, Engine("encode")))
        self._rollout = Runner(verified(place, world, Engine("rollout", self._horizon)))

    def errors(self, window: Window) -> tuple[dict[int, float], float]:
        """Distance of the predicted from the encoded latents by shift, and that of the last two frames."""
        rows = [
            self._encode({"observations": torch.from_numpy(frame[None, None])})["latents"][0, 0]
            for frame in window.observations
        ]
        seen = np.stack(rows).reshape(len(rows), -1)
        block, before = self._world.action.action_block, self._world.context_length - 1
        found = {}
        for shift, actions in window.actions.items():
            inputs = {"context": torch.from_numpy(seen[:-1].copy())[None]}
            step = actions[before * block :]
            inputs["actions"] = torch.from_numpy(np.tile(step, (self._horizon, 1)))[None, None]
            if before:
                inputs["action_history"] = torch.from_numpy(actions[: before * block].copy())[None]
            predicted = self._rollout(inputs)["latents"][0, 0, 0].reshape(-1)
            found[shift] = float(np.linalg.norm(predicted.astype(np.float64) - seen[-1]))
        return found, float(np.linalg.norm(seen[-1].astype(np.float64) - seen[-2]))


def judge(episodes: Iterable[list[tuple[dict[int, float], float]]]) -> Alignment | None:
    """Of the errors in some windows of each episode; None where there are too few episodes to say anything."""
    found = [windows for windows in episodes if windows]
    if len(found) < FEWEST:
        return None
    errors = np.array([[np.mean([one[shift] for one, _ in windows]) for shift in SHIFTS] for windows in found])
    means = errors.mean(axis=0)
    best = int(means.argmin())
    over = errors - errors[:, best : best + 1]
    spread = over.std(axis=0, ddof=1) / np.sqrt(len(found))
    deviations = over.mean(axis=0) / np.maximum(spread, 1e-12)
    worse = means / max(means[best], 1e-12) - 1
    others = [index for index in range(len(SHIFTS)) if index != best]
    return Alignment(
        episodes=len(found),
        windows=sum(map(len, found)),
        copying=float(np.mean([np.mean([copying for _, copying in windows]) for windows in found])),
        shifts=tuple(
            ShiftError(shift, float(mean), float(part), 0.0 if index == best else float(number))
            for index, (shift, mean, part, number) in enumerate(zip(SHIFTS, means, worse, deviations, strict=True))
        ),
        best=SHIFTS[best],
        clear=all(deviations[index] >= CLEAR and worse[index] >= GAIN for index in others),
    )


def words_on(shift: int, asked: int | None, found: Alignment | None) -> list[str]:
    """What a user should know of the shift."""
    if found is None:
        return [f"the alignment of the actions was not measured (too few episodes); taken is shift {shift:+d}"]
    said = []
    if found.clear and found.best != shift:
        said.append(f"shift {found.best:+d} predicts better than {shift:+d}, which was asked for: {found.words()}")
    elif found.clear and asked is None and shift != 0:
        said.append(
            f"actions are shifted by {shift:+d} environment step against frames, and are moved: {found.words()}"
        )
    elif not found.clear and asked is None:
        said.append(
            f"which shift of the actions is right cannot be told, taken is {shift:+d} (--action-shift says another): "
            f"{found.words()}"
        )
    if not found.predicts:
        said.append(
            "the world predicts no better than that nothing happens, whatever the shift: look at camera, frame "
            f"stride, units and order of the actions: {found.words()}"
        )
    return said
