"""Turns samples of the search into action sequences that a controller may execute.

A search moves `K` knots; each knot is held for ``hold_steps`` environment steps, so `N = K * hold_steps`.
Bounds are the world's narrowed by the caller's; the rate limit is applied in time order, so that every step
is reachable from the one before it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """Size of a candidate: `N` environment steps of `A` components, `K = N / hold_steps` knots."""

    steps: int
    action_dim: int
    hold_steps: int = 1

    @property
    def knots(self) -> int:
        """Number of sampled actions `K` in one candidate."""
        return self.steps // self.hold_steps


@dataclass(frozen=True)
class Limits:
    """What an action may be, environment units: bounds `[A]` and the largest change a step `[A]` from ``previous``."""

    low: Floats
    high: Floats
    max_rate: Floats | None = None
    previous: Floats | None = None

    @property
    def center(self) -> Floats:
        """Middle of the bounds `[A]`."""
        return (self.low + self.high) / np.float32(2)

    @property
    def span(self) -> Floats:
        """Width of the bounds `[A]`."""
        return self.high - self.low

    def apply(self, actions: Floats) -> Floats:
        """Clip `[S, N, A]` to the bounds, then to the rate limit step by step."""
        actions = np.clip(actions, self.low, self.high)
        if self.max_rate is None:
            return actions
        last = self.previous
        for step in range(actions.shape[1]):
            if last is not None:
                actions[:, step] = np.clip(actions[:, step], last - self.max_rate, last + self.max_rate)
            last = actions[:, step]
        return actions


def expand(knots: Floats, shape: Shape, limits: Limits) -> Floats:
    """Hold knots `[S, K, A]` and apply the limits: candidates `[S, N, A]`."""
    return limits.apply(np.repeat(knots, shape.hold_steps, axis=1))


def knots_of(actions: Floats, shape: Shape) -> Floats:
    """Condense actions `[M, A]`, M <= N, to knots `[K, A]`: the mean over each hold, the last one repeated."""
    missing = shape.steps - actions.shape[0]
    full = np.concatenate([actions, np.repeat(actions[-1:], missing, axis=0)])
    return full.reshape(shape.knots, shape.hold_steps, shape.action_dim).mean(axis=1)
