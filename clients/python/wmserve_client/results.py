"""What calls return: frozen, numpy inside, shapes said.

Axes: `T` context frames, `S` candidates, `N` environment steps, `H` model steps, `A` action dimension,
`D` latent dimension, `R` readouts.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from wmserve.arrays import from_tensor
from wmserve.v1 import world_model_pb2 as pb

Floats: TypeAlias = NDArray[np.float32]
World: TypeAlias = pb.World
"""A world's contract: what it takes, what it promises, within which bounds."""


@dataclass(frozen=True)
class Encoded:
    """Latents of observations, behind a handle."""

    latents_id: str
    """Handle that later calls accept."""
    expires_in_s: float
    """Seconds the handle lives after its last use."""
    readouts: Floats
    """`[T, R]`, in the units of the world's readouts."""
    latents: Floats | None
    """`[T, D]`; None unless asked for."""


@dataclass(frozen=True)
class Rollout:
    """Predictions per candidate and model step."""

    disagreement: Floats
    """`[S, H]`, >= 0: spread of the members' predictions, latent units."""
    readouts: Floats
    """`[S, H, R]`, in the units of the world's readouts."""
    latents: Floats | None
    """`[S, H, D]`, mean of the members; None unless asked for."""


@dataclass(frozen=True)
class Timing:
    """Where a plan's time went in the server, milliseconds."""

    encode_ms: float
    cost_ms: float
    search_ms: float
    total_ms: float


@dataclass(frozen=True)
class Plan:
    """The best plan found, what the model expects of it, and how the search went."""

    actions: Floats
    """`[N, A]`, environment units."""
    cost: float
    cost_per_iteration: tuple[float, ...]
    """Best cost by the end of each iteration."""
    stop_reason: str
    """``iterations``, ``deadline`` or ``converged``."""
    readouts: Floats
    """`[H, R]`: what the model expects to read after each model step."""
    disagreement: Floats
    """`[H]`, latent units."""
    goal_distance: Floats
    """`[H]`, in the unit of the world's goal metric."""
    seed: int
    latents_id: str
    """Handle of the context's latents."""
    goal_latents_id: str
    """Handle of the goal's latents; empty for readout targets."""
    timing: Timing
    digests: dict[str, str]
    """What answered: digest of the checkpoint, and of each engine by its name."""

    @property
    def iterations(self) -> int:
        """Iterations that were run."""
        return len(self.cost_per_iteration)


def floats(tensor: pb.Tensor) -> Floats:
    """A tensor of an answer, writable."""
    return from_tensor(tensor).astype(np.float32)


def optional(message: Any, field: str) -> Floats | None:
    """A tensor that may be left out."""
    return floats(getattr(message, field)) if message.HasField(field) else None


def encoded(message: pb.EncodeResponse) -> Encoded:
    """Read an answer."""
    latents = optional(message, "latents")
    return Encoded(message.latents_id, message.expires_in_s, floats(message.readouts), latents)


def rollout(message: pb.RolloutResponse) -> Rollout:
    """Read an answer."""
    return Rollout(floats(message.disagreement), floats(message.readouts), optional(message, "latents"))


def plan(message: pb.PlanResponse) -> Plan:
    """Read an answer."""
    spent = message.timing
    return Plan(
        actions=floats(message.actions),
        cost=message.cost,
        cost_per_iteration=tuple(message.cost_per_iteration),
        stop_reason=pb.StopReason.Name(message.stop_reason).removeprefix("STOP_REASON_").lower(),
        readouts=floats(message.readouts),
        disagreement=floats(message.disagreement),
        goal_distance=floats(message.goal_distance),
        seed=message.seed,
        latents_id=message.latents_id,
        goal_latents_id=message.goal_latents_id,
        timing=Timing(spent.encode_ms, spent.cost_ms, spent.search_ms, spent.total_ms),
        digests={"checkpoint": message.digests.checkpoint, **message.digests.engines},
    )
