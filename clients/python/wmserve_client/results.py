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
WorldVersion: TypeAlias = pb.WorldVersion
"""One version of a world: its number, what part it has, its digests, and whether it is calibrated."""


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
    calibrated: bool
    """False where nobody has measured how far this world errs: what depends on it is then None."""
    ood: Floats | None
    """`[T]`, >= 0: how unlike the calibration's frames these are; about 1 for one of those."""
    ood_p_value: Floats | None
    """`[T]`: how many of the calibration's frames scored as high or higher, 0 to 1."""
    p_value_resolution: float | None
    """Smallest p-value that this calibration can show: 1 / (n + 1) of n trajectories."""
    version: int = 1
    """Version of the world that answered."""


@dataclass(frozen=True)
class Rollout:
    """Predictions per candidate and model step."""

    disagreement: Floats
    """`[S, H]`, >= 0: spread of the members' predictions, latent units."""
    readouts: Floats
    """`[S, H, R]`, in the units of the world's readouts."""
    latents: Floats | None
    """`[S, H, D]`, mean of the members; None unless asked for."""
    surprise: Floats | None
    """Only of a world without actions: of the shape of `hidden`, how far the prediction is from what was hidden."""
    calibrated: bool
    """False where nobody has measured how far this world errs: what depends on it is then None."""
    level: float | None
    """Probability that the radii hold with."""
    radius: Floats | None
    """`[S, H]`, latent units: how far off each step is at most, by itself."""
    joint_radius: Floats | None
    """`[S, H]`, latent units: the same for all steps at once."""
    readout_radius: Floats | None
    """`[S, H, R]`, the readouts' units: how far off each is at most, by itself."""
    ood: Floats | None
    """`[S]`: largest distance of a step from known latents, over what nine in ten of the calibration's keep within."""
    ood_p_value: Floats | None
    """`[S]`: how many of the calibration's rollouts scored as high or higher, 0 to 1."""
    disagreement_p_value: Floats | None
    """`[S]`: in how many of those the members disagreed in a step as much, or more, 0 to 1."""
    trusted_horizon: tuple[int, ...] | None
    """`[S]`: model steps up to which every radius is within the tolerance."""
    p_value_resolution: float | None
    """Smallest p-value that this calibration can show: 1 / (n + 1) of n trajectories."""
    version: int = 1
    """Version of the world that answered."""


@dataclass(frozen=True)
class Observed:
    """How much of a surprise an observation was, and whether this is still the world it was."""

    latents_id: str
    """Handle of the observation's latents."""
    readouts: Floats
    """`[R]`, in the units of the world's readouts."""
    error: float
    """Distance of what was seen from what was predicted, latent units."""
    calibrated: bool
    """False where nobody has measured how far this world errs: what follows is then None."""
    ood: float | None
    ood_p_value: float | None
    """How many of the calibration's frames were as unlike the others, or more so, 0 to 1."""
    expected_error: float | None
    """Latent units."""
    surprise: float | None
    """Square of the error over the square of the expected one."""
    surprise_p_value: float | None
    """How many of the calibration's trajectories surprised as much or more, 0 to 1."""
    radius: float | None
    """Radius in force, latent units; it adapts, to cover as often as asked in the long run.

    None after so many misses that no radius is wide enough.
    """
    covered: bool | None
    observed: int | None
    """Observations of this session."""
    coverage: float | None
    """Part of them that was covered."""
    evidence: float | None
    """Capital of a bettor against this being the world it was; 1 in 100 that have not changed ever gets to 100."""
    changed: bool | None
    """Whether it got there in this session: predictions are of another world."""
    p_value_resolution: float | None
    """Smallest p-value that this calibration can show: 1 / (n + 1) of n trajectories."""
    version: int = 1
    """Version of the world that answered."""


@dataclass(frozen=True)
class Timing:
    """Where a plan's time went in the server, milliseconds."""

    encode_ms: float
    cost_ms: float
    search_ms: float
    total_ms: float


@dataclass(frozen=True)
class Plan:
    """The best plan found, what the model expects of it, whether to believe that, and how the search went."""

    status: str
    """``ok`` or ``refused``: then it is not to be executed."""
    reasons: tuple[str, ...]
    """Why it is refused: ``observation``, ``goal``, ``unfamiliar``, ``disagreement``, ``held_out_gap``, ``radius``,
    ``changed``, ``constraint``."""
    actions: Floats | None
    """`[N, A]`, environment units; None where the plan is refused, unless asked for."""
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
    decision_id: str
    """Handle of this plan, for `observe`."""
    constraint_probability: tuple[float, ...]
    """Probability that each constraint is broken, by all members and the readouts' errors."""
    held_out_gap: float | None
    """Goal cost by the members that the search did not ask less that by those it asked; None where it asks all."""
    calibrated: bool
    """False where nobody has measured how far plans of this world err: what follows is then None."""
    level: float | None
    """Probability that the radii hold with."""
    radius: Floats | None
    """`[H]`, latent units: how far off each step is at most, by itself."""
    joint_radius: Floats | None
    """`[H]`, latent units: the same for all steps at once."""
    readout_radius: Floats | None
    """`[H, R]`, the readouts' units: how far off each is at most, by itself."""
    ood: float | None
    """Largest distance of a step from known latents, over what nine in ten of the calibration's keep within."""
    ood_p_value: float | None
    """How many of the calibration's plans scored as high or higher, or of its trajectories, 0 to 1: the fewer."""
    disagreement_p_value: float | None
    """The same of the largest disagreement."""
    trusted_horizon: int | None
    """Model steps up to which every radius is within the tolerance."""
    held_out_gap_p_value: float | None
    """How many of the calibration's plans had as wide a gap or a wider one, 0 to 1."""
    observation_p_value: float | None
    """How many of the calibration's frames were as strange as the context's strangest, or more so, 0 to 1."""
    goal_p_value: float | None
    """The same of the goal."""
    execute_steps: int
    """Environment steps that were judged by their radius, to execute before planning again."""
    p_value_resolution: float | None
    """Smallest p-value that the calibration's plans can show: 1 / (n + 1) of n that came true."""
    refusal_level: float | None
    """Part of healthy plans that each check is known to let pass: less than asked for where few plans were executed."""
    version: int = 1
    """Version of the world that answered."""

    @property
    def iterations(self) -> int:
        """Iterations that were run."""
        return len(self.cost_per_iteration)


@dataclass(frozen=True)
class Turn:
    """One turn of a loop."""

    plan: Plan
    """What to do next."""
    outcome: Observed | None
    """What came of the last plan; None where there was none, or nothing of it was executed."""


def floats(tensor: pb.Tensor) -> Floats:
    """A tensor of an answer, writable."""
    return from_tensor(tensor).astype(np.float32)


def optional(message: Any, field: str) -> Floats | None:
    """A tensor that may be left out."""
    return floats(getattr(message, field)) if message.HasField(field) else None


def scores(message: Any, field: str) -> Floats | None:
    """Numbers of a calibrated world's answer."""
    return np.array(getattr(message, field), np.float32) if message.calibrated else None


def encoded(message: pb.EncodeResponse) -> Encoded:
    """Read an answer."""
    return Encoded(
        latents_id=message.latents_id,
        expires_in_s=message.expires_in_s,
        readouts=floats(message.readouts),
        latents=optional(message, "latents"),
        calibrated=message.calibrated,
        ood=scores(message, "ood"),
        ood_p_value=scores(message, "ood_p_value"),
        p_value_resolution=message.p_value_resolution if message.calibrated else None,
        version=message.version,
    )


def rollout(message: pb.RolloutResponse) -> Rollout:
    """Read an answer."""
    return Rollout(
        disagreement=floats(message.disagreement),
        readouts=floats(message.readouts),
        latents=optional(message, "latents"),
        surprise=optional(message, "surprise"),
        calibrated=message.calibrated,
        level=message.level if message.calibrated else None,
        radius=optional(message, "radius"),
        joint_radius=optional(message, "joint_radius"),
        readout_radius=optional(message, "readout_radius"),
        ood=scores(message, "ood"),
        ood_p_value=scores(message, "ood_p_value"),
        disagreement_p_value=scores(message, "disagreement_p_value"),
        trusted_horizon=tuple(message.trusted_horizon) if message.calibrated else None,
        p_value_resolution=message.p_value_resolution if message.calibrated else None,
        version=message.version,
    )


def observed(message: pb.ObserveResponse) -> Observed:
    """Read an answer."""
    values = {name: getattr(message, name) for name in Observed.__annotations__}
    if not message.calibrated:
        known = ("latents_id", "error", "calibrated", "version")
        values = {name: value if name in known else None for name, value in values.items()}
    radius = message.radius if message.HasField("radius") else None
    return Observed(**{**values, "readouts": floats(message.readouts), "radius": radius})


def plan(message: pb.PlanResponse) -> Plan:
    """Read an answer."""
    spent = message.timing

    def number(field: str) -> float | None:
        return getattr(message, field) if message.HasField(field) else None

    return Plan(
        status=pb.PlanStatus.Name(message.status).removeprefix("PLAN_STATUS_").lower(),
        reasons=tuple(message.reasons),
        actions=optional(message, "actions"),
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
        decision_id=message.decision_id,
        constraint_probability=tuple(message.constraint_probability),
        held_out_gap=number("held_out_gap"),
        calibrated=message.calibrated,
        level=message.level if message.calibrated else None,
        radius=optional(message, "radius"),
        joint_radius=optional(message, "joint_radius"),
        readout_radius=optional(message, "readout_radius"),
        ood=message.ood if message.calibrated else None,
        ood_p_value=message.ood_p_value if message.calibrated else None,
        disagreement_p_value=message.disagreement_p_value if message.calibrated else None,
        trusted_horizon=message.trusted_horizon if message.calibrated else None,
        held_out_gap_p_value=number("held_out_gap_p_value"),
        observation_p_value=number("observation_p_value"),
        goal_p_value=number("goal_p_value"),
        execute_steps=message.execute_steps,
        p_value_resolution=message.p_value_resolution if message.calibrated else None,
        refusal_level=message.refusal_level if message.calibrated else None,
        version=message.version,
    )


def turn(message: pb.ControlResponse) -> Turn:
    """Read an answer."""
    return Turn(plan(message.plan), observed(message.outcome) if message.HasField("outcome") else None)
