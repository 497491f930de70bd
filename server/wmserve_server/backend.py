"""What the core asks of whatever runs the engines. Triton is one answer; a test may be another.

Arrays are float32 unless said otherwise. Axes: `T` context frames, `S` candidates, `N` environment steps,
`H` model steps, `A` action dimension, `D` latent dimension, `R` readouts. Implementations raise
:class:`~wmserve_server.errors.Unavailable` when there is nobody to ask and
:class:`~wmserve_server.errors.BackendFault` when the answer is no answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from wmserve.world import World

from wmserve_server.planner.slices import Progress, Task

Floats = NDArray[np.float32]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Encoded:
    """Latents `[T, D]` of frames, their readouts `[T, R]`, and how unlike others they are `[T]`, if that is known."""

    latents: Floats
    readouts: Floats
    ood: Floats | None = None


@dataclass(frozen=True)
class Rolled:
    """Predictions: latents `[S, H, D]` (mean of members), disagreement `[S, H]`, readouts `[S, H, R]`.

    And how far off each step is expected to be `[S, H]`, and how far from known latents it leads `[S, H]`, if that is
    known.
    """

    latents: Floats
    disagreement: Floats
    readouts: Floats
    expected_error: Floats | None = None
    distance: Floats | None = None


@dataclass(frozen=True)
class Start:
    """Where a rollout starts: latents `[T, D]` and, where T > 1, the actions between them `[(T-1)*block, A]`."""

    latents: Floats
    action_history: Floats | None = None


class Backend(Protocol):
    """Runs the engines of the worlds it knows."""

    def worlds(self) -> Mapping[str, World]: ...

    def unready_reason(self) -> str | None: ...

    async def encode(self, world: World, observations: Frames) -> Encoded: ...

    async def rollout(self, world: World, start: Start, actions: Floats) -> Rolled: ...

    async def advance(self, world: World, start: Start, goal: Floats, task: Task) -> Progress: ...
