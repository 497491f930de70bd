"""Rows of an episode become environment steps, and those model steps.

    row       0   1   2   3   4   5   6   ...          as recorded
    step      0       1       2       3   ...          frame_stride rows each; one action
    frame     0               1           ...          action_block steps each: what a trajectory holds

The action of step i leads from the frame at i to the frame at i + 1 (shift 0). Where a row holds the action that led to
its frame, that action is the one of the next row (shift 1); where it holds the action of the step after, that of the
row before (shift -1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.source import Floats

Combine = Literal["first", "last", "mean", "sum"]
SHIFTS = (-1, 0, 1)


@dataclass(frozen=True)
class Pace:
    """How rows, environment steps and model steps follow each other."""

    action_block: int
    frame_stride: int = 1
    combine: Combine | None = None
    """How the actions of several rows become one; None where there is one."""

    def packed(self, width: int, axes: int) -> bool:
        """Whether a row holds the actions of a whole model step."""
        return self.action_block > 1 and width == axes * self.action_block


@dataclass(frozen=True)
class Timeline:
    """An episode in environment steps."""

    actions: Floats
    """`[E, A]`: that of each step, as recorded: not shifted."""
    frames: int
    """Steps from one frame to the next: 1, or `action_block` where rows are model steps."""
    last: int
    """Step of the last frame."""
    stride: int
    """Rows of a step; for rows that are model steps 1."""

    def row(self, step: int) -> int:
        """The row with the frame of a step."""
        return step // self.frames * self.stride

    def led(self, shift: int) -> NDArray[np.bool_]:
        """`[last]`: whether the action that leads on from each step is known, and finite."""
        at = np.arange(self.last) + shift
        known = (at >= 0) & (at < len(self.actions))
        known[known] = np.isfinite(self.actions[at[known]]).all(axis=1)
        return known


def timeline(actions: Floats, pace: Pace, axes: int) -> Timeline:
    """Of recorded actions `[rows, width]`, one row or `action_block` of them side by side."""
    rows = len(actions)
    if pace.packed(actions.shape[1], axes):
        block = pace.action_block
        return Timeline(actions.reshape(rows * block, axes), block, max(0, rows - 1) * block, 1)
    stride = pace.frame_stride
    groups = actions[: rows // stride * stride].reshape(rows // stride, stride, actions.shape[1])
    if pace.combine in ("mean", "sum"):
        combined = groups.sum(axis=1) / (stride if pace.combine == "mean" else 1)
    else:
        combined = groups[:, -1 if pace.combine == "last" else 0]
    return Timeline(combined.astype(np.float32), 1, max(0, (rows - 1) // stride), stride)


def usable(line: Timeline, shift: int, block: int, where: str) -> tuple[int, int]:
    """First step and number of model steps of the stretch whose actions are all known; DataError where it has holes."""
    known = line.led(shift)
    steps = np.flatnonzero(known)
    if not len(steps):
        return 0, 0
    first, end = int(steps[0]), int(steps[-1]) + 1
    if len(steps) != end - first:
        hole = first + int(np.flatnonzero(~known[first:end])[0])
        raise DataError(f"{where}: the action of row {line.row(hole) + shift * line.stride} must be finite")
    first = -(-first // line.frames) * line.frames
    return first, max(0, (end - first) // block)


def taken(line: Timeline, shift: int, first: int, steps: int, block: int) -> Floats:
    """Actions `[steps x block, A]` that lead on from step `first`."""
    return line.actions[first + shift : first + shift + steps * block]


def frame_rows(line: Timeline, first: int, steps: int, block: int) -> Sequence[int]:
    """Rows of the `steps + 1` frames from step `first` on."""
    return [line.row(first + step * block) for step in range(steps + 1)]
