"""What a served world promises: the contract that travels with its engines.

The exporter writes a :class:`World` as JSON into the ``parameters`` of the world's Triton models; the
gateway reads it back from Triton, so that it needs no disk of its own. The proto message ``World`` has the
same fields by the same names (a test holds the two together).

    World
     |- ObservationSpec      what a camera may send, and what a robot may say of itself
     |- ActionSpec           what a controller may send, per environment step
     |   `- Axis             name, unit, bounds and statistics of one component
     |- Readout              a named quantity read from latents, with its unit and its own error
     |- GoalMetric           how far latents are from a goal, and how a plan adds it up
     |- PlannerDefaults      the search that was tuned for this world
     |- Target               what the engines were built for: any CPU, or certain NVIDIA GPUs
     |- Digests              what the engines must be for this contract to hold
     `- Calibration          how far these engines were seen to err; None until somebody has measured it
         |- Level            error radii that hold with one probability
         |- Quantiles        how large scores are where all is well
         `- Planned          the same for plans that a search proposed; None until somebody has executed some

Axes: `T` context frames, `N` environment steps, `H` model steps, `A` action dimension, `D` latent dimension,
`S` candidates, `E` ensemble members, `R` readouts, `Q` proprioception; image height and width are `h w`.
"""

import hashlib
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

CONTRACT_PARAMETER = "wmserve_world"
"""The key in Triton's model ``parameters`` under which the contract's JSON stands."""

WorldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Algorithm = Literal["cem", "icem", "mppi"]
Verb = Literal["encode", "rollout", "plan"]
VERBS: tuple[Verb, ...] = ("encode", "rollout", "plan")
Precision = Literal["float32", "mixed"]
"""How candidates of a plan are scored: all in float32, or all in 8-bit integers and the best again in float32."""

TargetName = Literal["cpu", "tensorrt", "tensorrt-rtx"]
Dtype = Literal["float32", "float16", "bfloat16"]
ComputeCapability = Annotated[str, Field(pattern=r"^[1-9]\d?\.\d$")]
ENGINES_PARAMETER = "wmserve_engines"
"""The key under which a verb's model says which Triton models run its engines: JSON, by key of the digests."""
ENGINE_PARAMETER = "wmserve_engine"
"""The key under which such a model says which engine it is: its key of the digests."""


class Part(BaseModel):
    """A frozen piece of the contract; a field that nobody knows is an error, not a silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Axis(Part):
    """One component of an action or of proprioception, in environment units."""

    name: str
    unit: str
    low: FiniteFloat
    high: FiniteFloat
    mean: FiniteFloat
    """Mean over the training data; the engine subtracts it, a caller never does."""
    std: Annotated[FiniteFloat, Field(gt=0)]

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"{self.name}: low is over high")
        return self


class ObservationSpec(Part):
    """Frames `[T, h, w, 3]` uint8, RGB, of any size up to the bounds; resizing and normalising happen in the engine."""

    max_height: PositiveInt = 1024
    max_width: PositiveInt = 1024
    native_height: NonNegativeInt
    """Height the encoder reduces frames to, pixels; 0 for a world that looks at no frames."""
    native_width: NonNegativeInt
    tubelet_size: PositiveInt = 1
    """Frames that latents are made of at a time. Over 1, a world takes clips of exactly `context_length` frames."""
    proprioception: tuple[Axis, ...] = ()
    """What a robot says of itself at each frame, `[T, Q]` float32 in environment units; empty where nothing."""

    @property
    def frames(self) -> bool:
        """Whether the world looks at frames."""
        return self.native_height > 0


class ActionSpec(Part):
    """Actions `[N, A]` float32 in environment units, one row per environment step."""

    axes: tuple[Axis, ...]
    """Empty for a world that knows no actions."""
    action_block: PositiveInt = 1
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
    needs_goal: bool = True
    """False where the world itself knows what is good, such as by a reward that it has learned."""
    needs_proprioception: bool = False
    """Whether proprioception has to come with the observation of a goal."""


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
    momentum: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.0
    """CEM: part of the last mean and standard deviation that the next keep."""
    penalty: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """What a latent unit of disagreement, mean over the plan, costs on top of the goal metric's cost."""


class Target(Part):
    """What a world's engines were built for."""

    name: TargetName = "cpu"
    dtype: Dtype = "float32"
    """Of products; norms, softmax and what reads an input as it came stay float32."""
    builder: str = ""
    """What built them, such as `tensorrt-rtx 1.7.1.116`; empty for `cpu`, whose ONNX files are not built."""
    compute_capabilities: tuple[ComputeCapability, ...] = ()
    """Of the NVIDIA GPUs that they run on, such as `8.9`; empty for `cpu`."""

    @property
    def suffix(self) -> str:
        """Of the engines' file names."""
        return {"cpu": "onnx", "tensorrt": "plan", "tensorrt-rtx": "rtx"}[self.name]

    @model_validator(mode="after")
    def _gpu_is_named(self) -> Self:
        if (self.name == "cpu") == bool(self.builder and self.compute_capabilities):
            raise ValueError("engines of TensorRT have a builder and compute capabilities, those of cpu have neither")
        return self


class Digests(Part):
    """SHA-256 of the checkpoint (its configuration and weights) and of each engine file.

    Engines are keyed by verb and file name, such as ``encode/engine.onnx`` or ``plan/horizon_5.onnx``; beside the
    latter are ``plan/horizon_5_judge.onnx`` and, where plans are of mixed precision, ``plan/horizon_5_coarse.onnx``.
    Those of TensorRT end in ``.plan``, those of TensorRT-RTX in ``.rtx``.
    """

    checkpoint: Digest
    engines: dict[str, Digest]


QUANTILE_LEVELS = (*(level / 100 for level in range(100)), 0.995, 0.999, 1.0)
"""Levels at which a calibration keeps the quantiles of a score: from the least score seen to the largest."""

Quantile = Annotated[tuple[FiniteFloat, ...], Field(min_length=len(QUANTILE_LEVELS), max_length=len(QUANTILE_LEVELS))]
Check = Literal["unfamiliar", "disagreement"]
ByStep = tuple[FiniteFloat, ...]
"""`[H x levels]`, row by row: quantiles of each number of model steps."""
USUALLY = 0.5
"""Part of the predictions that come true in a world that predicts at all."""
Scales = Annotated[tuple[Annotated[FiniteFloat, Field(ge=0)], ...], Field(min_length=1)]


class Level(Part):
    """Radii that hold with probability `level`, as multiples of the error that the world expects of itself.

    Split conformal: the ceil((n + 1) level)-th smallest of n trajectories' errors, each over its expected error.
    """

    level: Annotated[FiniteFloat, Field(gt=0, lt=1)]
    radius: Scales
    """`[H]`: each step by itself, latents."""
    joint_radius: Scales
    """`[H]`: all steps at once, latents."""
    readout_radius: tuple[Annotated[FiniteFloat, Field(ge=0)], ...]
    """`[H x R]`, row by row: each step and readout by itself, the readout's unit for an expected error of 1.

    Empty where the truth about readouts was not known.
    """


class Quantiles(Part):
    """Scores of the trajectories that the world was calibrated on, at QUANTILE_LEVELS.

    Disagreement and distance are those of rollouts that came true, within the tolerance at every step: one that went
    astray says nothing of what is usual.
    """

    ood: Quantile
    """Of single observations, as ``encode`` scores them."""
    disagreement: ByStep
    """Of rollouts so long: the largest disagreement of a step over that step's `disagreement_scale`."""
    distance: ByStep
    """Of rollouts so long: the largest distance of a step from known latents over that step's `distance_scale`."""
    surprise: ByStep
    """Of that step's squared error, over the square of the expected one."""

    @staticmethod
    def after(steps: int, quantiles: ByStep) -> tuple[float, ...]:
        """Those of so many model steps."""
        return quantiles[(steps - 1) * len(QUANTILE_LEVELS) : steps * len(QUANTILE_LEVELS)]


class Executed(Part):
    """What is usual of plans that came true as far as they are executed: of their first `h` model steps, h = 1 to H."""

    came_true: Scales
    """`[H]`: part of the plans that came true so far."""
    disagreement: ByStep
    """As in `Quantiles`, like the next."""
    distance: ByStep
    radius: ByStep | None = None
    """Of the largest radius at 0.9 of a step, over the tolerance; 0 where hardly any plan came true.

    None where an operator has named the tolerance: it is then a bound.
    """
    beyond_logs: tuple[Check, ...] = ()
    """Checks that also hold plans against logs, since a third or more of those that left them went astray."""
    margin: Annotated[FiniteFloat, Field(ge=1)] = 1.0
    """Where plans are few: how far beyond the largest score of those that came true a plan has to score to be refused.

    Over the distance of that score from their median; 1 where there are enough of them.
    """


class Planned(Part):
    """How far predictions of plans erred that a search had proposed and the environment then executed.

    A search finds where a model errs in its favour: what holds for logged actions does not hold for its own.
    """

    plans: PositiveInt
    """Plans, each of a problem of its own, with the world's default planner and horizon."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    """Of `H` model steps, the planner's horizon."""
    ood: Quantile
    """Of what plans rest on: the strangest frame of each context, and each goal."""
    disagreement: Quantile
    """As in `Quantiles`, like the next two of plans that came true."""
    distance: Quantile
    held_out_gap: Quantile | None
    """Goal cost by the members that the search never asked less that by those it asked; None where it asks all."""
    executed: Executed | None = None
    """None in calibrations that did not measure it: plans are then judged as if all of them were executed."""

    def counted(self, steps: int) -> int:
        """Plans that quantiles are taken from: those whose first model steps came true; all where hardly any did."""
        part = 1.0 if self.executed is None else self.executed.came_true[steps - 1]
        return round(part * self.plans) if part >= USUALLY else self.plans


class Health(Part):
    """What collapse would show in, measured on the calibration's frames.

    Dimension and nearest stand beside the least of encoders that were never trained, on the same frames: random
    projections, principal components, random convolutions.
    """

    deviation: Annotated[FiniteFloat, Field(ge=0)]
    """Of latents from their mean, over its length."""
    rank: Annotated[FiniteFloat, Field(ge=1)]
    """Effective rank of latents less their mean."""
    dimension: Annotated[FiniteFloat, Field(ge=0)]
    """Directions that latents vary in among near neighbours."""
    reference_dimension: Annotated[FiniteFloat, Field(ge=0)]
    nearest: Annotated[FiniteFloat, Field(ge=0)]
    """Distance of latents from the nearest others, over the usual distance; medians."""
    reference_nearest: Annotated[FiniteFloat, Field(ge=0)]
    copying: Annotated[FiniteFloat, Field(ge=0)]
    """Error of predictions over that of copies of the last latents, medians, at the best number of model steps."""
    told_apart: Annotated[FiniteFloat, Field(ge=0, le=1)]
    """Part of the predictions that are nearer to what happened than to what happened elsewhere, at the best number."""


class Calibration(Part):
    """How far a world's predictions were seen to err on trajectories that its training knew nothing of.

    It holds for the engines that it names and no others.
    """

    digest: Digest
    """SHA-256 of all else in here."""
    engines: dict[str, Digest]
    """The engines that were measured."""
    files: dict[str, Digest]
    """Score engines, which lie beside those, such as ``encode/ood_0a1b2c3d.onnx``."""
    created: str
    """When, UTC, ISO 8601."""
    trajectories: PositiveInt
    """Independent trajectories that the radii were taken from."""
    tolerance: Annotated[FiniteFloat, Field(gt=0)]
    """Largest radius at which a prediction is of use, latent units; callers may name their own."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    disagreement_scale: Scales
    """`[H]`: the disagreement that nine in ten trajectories keep within, latent units."""
    distance_scale: Scales
    """`[H]`: the distance from known latents that nine in ten keep within, latent units."""
    quantiles: Quantiles
    planned: Planned | None = None
    """None where no plan was executed to measure it: plans then say nothing of their errors, and none is refused."""
    effective_rank: Annotated[FiniteFloat, Field(ge=1)]
    """Of the latents of single observations: ``exp(-sum p log p)``, p the normalised singular values (RankMe)."""
    smallest_std: Annotated[FiniteFloat, Field(ge=0)]
    """Of these latents' dimensions."""
    collapsed: str | None = None
    """What is wrong with the latents or the predictions, with figures; None where nothing was found.

    Such a world is served only where an operator has said so.
    """
    health: Health | None = None
    """None in calibrations that did not measure it."""

    def holds_for(self, digests: Digests) -> bool:
        """Whether it was measured with these engines, and is what it was when it was made."""
        return self.engines == digests.engines and self.digest == self.own_digest()

    def own_digest(self) -> str:
        """What `digest` has to be."""
        later: dict[str, Any] = {} if self.health else {"health": True}
        if self.planned is not None and self.planned.executed is None:
            later["planned"] = {"executed"}  # a field that nothing stands in changes no digest: there was none once
        content = self.model_dump_json(exclude={"digest": True} | later)
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


class ServedAnyway(Part):
    """An operator's word that a world is served in spite of what its calibration found."""

    finding: str
    """The finding, with its figures, as the calibration puts it: of another finding it says nothing."""
    since: str
    """When that was said, UTC, ISO 8601."""


class World(Part):
    """A served world model: its contract and its engines."""

    contract_version: Literal[1] = 1
    name: WorldName
    version: PositiveInt = 1
    """Of the world of that name; another export, fit or calibration is another version (:mod:`wmserve.versions`)."""
    created: str = ""
    """When this version was written, UTC, ISO 8601; empty where that is not known."""
    family: str
    description: str
    verbs: tuple[Verb, ...] = VERBS
    """What it answers."""
    observation: ObservationSpec
    action: ActionSpec
    context_length: PositiveInt
    """Frames `T` that a rollout starts from."""
    latent_shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Shape of the latents of one frame, or of one tubelet; the last axis is of features, those before of patches."""
    ensemble_size: PositiveInt
    search_members: PositiveInt
    """Members of the ensemble that a search asks; the others judge the plan that it finds."""
    horizon_limit: NonNegativeInt
    """Most model steps `H` of a rollout; 0 where there are no actions to roll out."""
    engine_horizons: tuple[PositiveInt, ...]
    """Model steps to which the engines are unrolled; other horizons are padded up to the next."""
    candidate_limit: PositiveInt
    """Most candidates `S` of one call."""
    plan_budget: PositiveInt
    """Most candidates x iterations x horizon of one plan."""
    readouts: tuple[Readout, ...]
    goal_metric: GoalMetric | None = None
    """None where nothing is planned, like the planner."""
    planner: PlannerDefaults | None = None
    plan_precision: Precision = "float32"
    """Precision of ``plan``; the cost of the plan returned is float32's either way, as is all else."""
    target: Target = Target()
    digests: Digests
    reference_checked: bool = False
    """Whether encodings and predictions were held against the family's own code, or examples of it, at the export."""
    reference: str = ""
    """Against what, such as `stable-worldmodel 0.1.1` or `pairs.npz: 16 examples`; where against nothing, why."""
    calibration: Calibration | None = None
    """None where nobody has measured it, or with other engines: predictions then say nothing of their errors."""
    served_anyway: ServedAnyway | None = None
    """Who has the last word on a finding of the calibration; None where no operator has said to serve it anyway."""

    @property
    def withheld(self) -> str | None:
        """The finding for which it is not served; None where there is none, or an operator has it served anyway."""
        found = None if self.calibration is None else self.calibration.collapsed
        return None if self.served_anyway is not None and self.served_anyway.finding == found else found

    @property
    def latent_dim(self) -> int:
        """Numbers `D` in the latents of one frame."""
        return math.prod(self.latent_shape)

    @property
    def latent_count(self) -> int:
        """Latents that come of `context_length` frames."""
        return self.context_length // self.observation.tubelet_size

    @property
    def search(self) -> PlannerDefaults:
        """The planner of a world that plans; ValueError for others."""
        if self.planner is None:
            raise ValueError(f"world {self.name} does not plan")
        return self.planner

    @property
    def metric(self) -> GoalMetric:
        """The goal metric of a world that plans; ValueError for others."""
        if self.goal_metric is None:
            raise ValueError(f"world {self.name} does not plan")
        return self.goal_metric

    @model_validator(mode="after")
    def _verbs_fit(self) -> Self:
        if "plan" in self.verbs and (self.planner is None or self.goal_metric is None or not self.engine_horizons):
            raise ValueError("a world that plans has a planner, a goal metric and engine horizons")
        if self.context_length % self.observation.tubelet_size:
            raise ValueError("tubelet_size must divide context_length")
        return self

    def engine(self, verb: str) -> str:
        """Name of the Triton model that runs ``verb`` (``encode``, ``rollout`` or ``plan``)."""
        return f"{model_prefix(self.name, self.version)}_{verb}"

    @property
    def address(self) -> str:
        """How callers address this version: ``two_room@2``."""
        return f"{self.name}@{self.version}"


def model_prefix(name: str, version: int) -> str:
    """What the names of a version's Triton models begin with; the first version has the bare name of its world."""
    return name if version == 1 else f"{name}-v{version}"
