"""What the core asks of whatever runs the engines. Triton is one answer; a test may be another.

Arrays are float32 unless said otherwise. Axes: `T` context frames, `L` their latents (as many, where a world does not
take frames in tubelets), `S` candidates, `N` environment steps, `H` model steps, `A` action dimension, `D` latent
dimension (latents are flat here, whatever shape a contract gives them), `P` patches, `Q` proprioception, `R` readouts.
Implementations raise
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
from wmserve_server.versions import Versions

Floats = NDArray[np.float32]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Observed:
    """What was observed: frames `[T, h, w, 3]` and proprioception `[T, Q]`; None where the world takes none."""

    frames: Frames | None
    proprioception: Floats | None = None


@dataclass(frozen=True)
class Encoded:
    """Latents `[L, D]` of frames, their readouts `[L, R]`, and how unlike others they are `[L]`, if that is known."""

    latents: Floats
    readouts: Floats
    ood: Floats | None = None


@dataclass(frozen=True)
class Rolled:
    """Predictions: disagreement `[S, H]`, readouts `[S, H, R]`, latents `[S, H, D]` (mean of members) if asked for.

    And how far off each step is expected to be `[S, H]`, and how far from known latents it leads `[S, H]`, if that is
    known.
    """

    latents: Floats | None
    disagreement: Floats
    readouts: Floats
    expected_error: Floats | None = None
    distance: Floats | None = None


@dataclass(frozen=True)
class Filled:
    """What the hidden part of a clip is: surprise `[L, P]`, and latents `[L, D]` if asked for."""

    latents: Floats | None
    surprise: Floats


@dataclass(frozen=True)
class Start:
    """Where a rollout starts: latents `[T, D]` and, where T > 1, the actions between them `[(T-1)*block, A]`."""

    latents: Floats
    action_history: Floats | None = None


class Backend(Protocol):
    """Runs the engines of the worlds it knows."""

    def versions(self) -> Mapping[str, Versions]: ...

    def in_transition(self, name: str, version: int | None) -> bool: ...

    def unready_reason(self) -> str | None: ...

    def problems(self) -> tuple[str, ...]: ...

    async def encode(self, world: World, observed: Observed) -> Encoded: ...

    async def rollout(self, world: World, start: Start, actions: Floats, with_latents: bool) -> Rolled: ...

    async def fill(self, world: World, observed: Observed, hidden: Frames, with_latents: bool) -> Filled: ...

    async def advance(self, world: World, start: Start, goal: Floats | None, task: Task) -> Progress: ...
