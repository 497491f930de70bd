"""Boxes that readouts are to keep out of, or within, with a probability.

A member of the ensemble predicts readouts; each is off by an error of its own, taken to be normal. So a step is inside
a box with a probability, a path is as likely inside as its likeliest step (steps of a path err together), and members
count alike. Between model steps paths are taken to be straight, so that no box is stepped over.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
BETWEEN = 4
"""Points at which a path is looked at in each model step after the first."""
INFEASIBLE = 1000.0
"""Cost of a broken constraint: what breaks none comes first, and of the others what is likelier to break less."""


@dataclass(frozen=True)
class Box:
    """Bounds `[K]` of some readouts, and the largest probability that they are broken at any step."""

    columns: tuple[int, ...]
    low: Floats
    high: Floats
    keep_out: bool
    risk: float
    errors: Floats
    """`[K]`: standard deviations of the readouts' errors, in their units."""
    errors_expected: Floats | None = None
    """`[H, K]`: the same per latent unit of the error that is expected of a step, where that was measured."""

    def broken(self, readouts: Floats, expected_error: Floats | None = None) -> Floats:
        """Probabilities `[S]` of readouts `[S, E, H, R]`; with expected errors `[H]` they count, if they are larger."""
        path = readouts[..., self.columns].astype(np.float64)
        errors = np.broadcast_to(self.errors, path.shape[2:]).astype(np.float64)
        if expected_error is not None and self.errors_expected is not None:
            errors = np.maximum(errors, expected_error[:, None] * self.errors_expected[: len(expected_error)])
        path, errors = straight(path), straight(errors[None, None])
        inside = (cumulative((self.high - path) / errors) - cumulative((self.low - path) / errors)).prod(axis=-1)
        step = inside if self.keep_out else 1 - inside
        return np.asarray(step.max(axis=2).mean(axis=1), np.float32)


def straight(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points `[S, E, P, K]` along straight lines through the steps `[S, E, H, K]`."""
    parts = np.arange(BETWEEN)[:, None] / BETWEEN
    before, after = path[:, :, :-1, None], path[:, :, 1:, None]
    points = (before + (after - before) * parts).reshape(*path.shape[:2], -1, path.shape[3])
    return np.concatenate([points, path[:, :, -1:]], axis=2)


def cumulative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard normal distribution, to 3e-4 (Page, 1977)."""
    clipped = np.clip(values, -6.0, 6.0)
    return np.asarray(0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (clipped + 0.044715 * clipped**3))))


def cost(boxes: tuple[Box, ...], readouts: Floats) -> Floats:
    """What broken constraints cost candidates, `[S]` of readouts `[S, E, H, R]`."""
    total = np.zeros(len(readouts), np.float32)
    for box in boxes:
        over = box.broken(readouts) - np.float32(box.risk)
        total += np.where(over > 0, np.float32(INFEASIBLE) * (1 + over), np.float32(0))
    return total
