"""What a served world promises: the contract that travels with its engines.

The exporter writes a :class:`World` as JSON into the ``parameters`` of the world's Triton models; the
gateway reads it back from Triton, so that it needs no disk of its own. The proto message ``World`` has the
same fields by the same names (a test holds the two together).

    World
     |- ObservationSpec      what a camera may send
     |- ActionSpec           what a controller may send, per environment step
     |   `- ActionAxis       name, unit, bounds and statistics of one component
     |- Readout              a named quantity read from latents, with its unit and its own error
     |- GoalMetric           how far latents are from a goal, and how a plan adds it up
     |- PlannerDefaults      the search that was tuned for this world
     `- Digests              what the engines must be for this contract to hold

Axes: `T` context frames, `N` environment steps, `H` model steps, `A` action dimension, `D` latent dimension,
`S` candidates, `E` ensemble members, `R` readouts; image height and width are `h w`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt

CONTRACT_PARAMETER = "wmserve_world"
"""The key in Triton's model ``parameters`` under which the contract's JSON stands."""

WorldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Algorithm = Literal["cem", "icem", "mppi"]
Precision = Literal["float32", "mixed"]
"""How candidates of a plan are scored: all in float32, or all in 8-bit integers and the best again in float32."""


class Part(BaseModel):
    """A frozen piece of the contract; a field that nobody knows is an error, not a silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObservationSpec(Part):
    """Frames `[T, h, w, 3]` uint8, RGB, of any size up to the bounds; resizing and normalising happen in the engine."""

    max_height: PositiveInt = 1024
    max_width: PositiveInt = 1024
    native_height: PositiveInt
    """Height the encoder reduces frames to, pixels."""
    native_width: PositiveInt


class ActionAxis(Part):
    """One component of an action, in environment units."""

    name: str
    unit: str
    low: FiniteFloat
    high: FiniteFloat
    mean: FiniteFloat
    """Mean over the training data; the engine subtracts it, a caller never does."""
    std: Annotated[FiniteFloat, Field(gt=0)]


class ActionSpec(Part):
    """Actions `[N, A]` float32 in environment units, one row per environment step."""

    axes: Annotated[tuple[ActionAxis, ...], Field(min_length=1)]
    action_block: PositiveInt
    """Environment steps in one model step; `N` is a multiple of it."""


class Readout(Part):
    """A named quantity read from latents."""

    name: str
    unit: str
    low: FiniteFloat
    high: FiniteFloat
    error: Annotated[FiniteFloat, Field(ge=0)]
    """Root mean square error on held-out frames, in `unit`."""


class GoalMetric(Part):
    """How far latents are from a goal, per model step; fitted by the exporter, computed in the engine.

    A plan's goal cost is ``final_weight * d[H] + path_weight * mean(d[1..H])``.
    """

    name: str
    unit: str
    final_weight: Annotated[FiniteFloat, Field(ge=0)] = 1.0
    path_weight: Annotated[FiniteFloat, Field(ge=0)] = 0.0


class PlannerDefaults(Part):
    """The search tuned for this world; a caller may override each field."""

    algorithm: Algorithm = "cem"
    horizon: PositiveInt
    """Model steps looked ahead."""
    candidate_count: PositiveInt
    iterations: PositiveInt
    elite_count: PositiveInt
    hold_steps: PositiveInt = 1
    """Environment steps for which a sampled action is held; divides the action block."""
    initial_std: Annotated[FiniteFloat, Field(gt=0)] = 0.5
    """Initial standard deviation of the search, as a fraction of each action axis' range."""
    receding_horizon: PositiveInt = 1
    """Model steps to execute before planning again."""


class Digests(Part):
    """SHA-256 of the checkpoint (its configuration and weights) and of each engine file.

    Engines are keyed by verb and file name, such as ``encode/engine.onnx`` or ``plan/horizon_5.onnx``; where plans are
    of mixed precision, ``plan/horizon_5_coarse.onnx`` is beside the latter.
    """

    checkpoint: Digest
    engines: dict[str, Digest]


class World(Part):
    """A served world model: its contract and its engines."""

    contract_version: Literal[1] = 1
    name: WorldName
    family: str
    description: str
    observation: ObservationSpec
    action: ActionSpec
    context_length: PositiveInt
    """Frames `T` that a rollout starts from."""
    latent_shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Shape of the latents of one frame."""
    ensemble_size: PositiveInt
    horizon_limit: PositiveInt
    """Most model steps `H` of a rollout."""
    engine_horizons: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Model steps to which the engines are unrolled; other horizons are padded up to the next."""
    candidate_limit: PositiveInt
    """Most candidates `S` of one call."""
    plan_budget: PositiveInt
    """Most candidates x iterations x horizon of one plan."""
    readouts: tuple[Readout, ...]
    goal_metric: GoalMetric
    planner: PlannerDefaults
    plan_precision: Precision = "float32"
    """Precision of ``plan``; the plan returned and its cost are float32's either way, as is all else."""
    digests: Digests

    def engine(self, verb: str) -> str:
        """Name of the Triton model that runs ``verb`` (``encode``, ``rollout`` or ``plan``)."""
        return f"{self.name}_{verb}"
