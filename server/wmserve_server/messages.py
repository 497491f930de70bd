"""What callers ask and what they are told: the core's own types, which both edges build and read.

A request is well-formed when it exists; whether it fits a world is decided by the core, which knows the world.
Axes: `T` context frames, `L` their latents, `S` candidates, `N` environment steps, `H` model steps, `A` action
dimension, `D` the world's latent shape (several axes where that has several), `Q` proprioception, `R` readouts; image
height and width are `h w`.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator
from wmserve.world import Algorithm, Digests

from wmserve_server.json_arrays import ARRAY_SCHEMA, Array, decode_base64

LATENTS_ID_PATTERN = r"^lat_[A-Za-z0-9_-]{22}$"
DECISION_ID_PATTERN = r"^dec_[A-Za-z0-9_-]{22}$"
MAX_TIMEOUT_MS = 600_000
MAX_COUNT = 1_000_000
MAX_ITERATIONS = 1000
"""Of a search, whose costs by iteration are part of the answer."""

M = TypeVar("M", bound="Message")

WorldField = Annotated[
    str,
    Field(
        min_length=1,
        max_length=80,
        description="Name of the world, as GET /v1/worlds lists it; or of one version of it, such as `two_room@2`.",
    ),
]
AnsweredBy = Annotated[int, Field(description="Version of the world that answered.")]
SessionField = Annotated[
    str,
    Field(max_length=64, description="Whose requests belong together: a session stays with one version of its world."),
]
LatentsId = Annotated[str, Field(pattern=LATENTS_ID_PATTERN, description="Handle from an earlier answer.")]
TimeoutMs = Annotated[
    int | None,
    Field(ge=1, le=MAX_TIMEOUT_MS, description="Give up after so many milliseconds; default: the server's."),
]

UNKEPT = "Left out where it could not be kept: the state store cannot be reached, or has no room."
PValueResolution = Annotated[
    float | None,
    Field(description="Smallest p-value that this calibration can show: 1 / (n + 1) of n trajectories."),
]
CALIBRATED = "False where nobody has measured how far this world errs: what depends on it is then left out."


def _image_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else decode_base64(value)


ImageFile = Annotated[
    bytes,
    BeforeValidator(_image_bytes),
    Field(description="A PNG or JPEG file, base64.", json_schema_extra={"format": "byte"}),
]


IMAGES_SCHEMA: list[dict[str, Any]] = [
    {"type": "string", "format": "byte"},
    {"type": "array", "items": {"type": "string", "format": "byte"}, "minItems": 1, "maxItems": 64},
]
OBSERVATIONS_SCHEMA: dict[str, Any] = {
    "description": "Camera frames, RGB: a base64 PNG or JPEG file, a list of T such files of equal size, "
    "or an array `[T, h, w, 3]` or `[h, w, 3]` uint8. With what a robot says of itself: an object.",
    "oneOf": [
        *IMAGES_SCHEMA,
        *ARRAY_SCHEMA["oneOf"],
        {
            "type": "object",
            "description": "Frames as images or as an array, if the world looks at frames; and proprioception "
            "`[T, Q]` or `[Q]` in environment units, if it takes that.",
            "properties": {
                "images": {"oneOf": IMAGES_SCHEMA},
                "array": ARRAY_SCHEMA,
                "proprioception": ARRAY_SCHEMA,
            },
            "additionalProperties": False,
        },
    ],
}


def _observations_schema(schema: dict[str, Any]) -> None:
    """Describe what JSON callers send, not the fields that it is sorted into."""
    title = schema["title"]
    schema.clear()
    schema.update({"title": title, **OBSERVATIONS_SCHEMA})


class Message(BaseModel):
    """Frozen, strict about names: an unknown field is an error, not a silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Observations(Message):
    """Camera frames, RGB, as files or as an array; and what a robot says of itself.

    In JSON one base64 file, a list of them, or an array will do where there are only frames.
    """

    model_config = ConfigDict(json_schema_extra=_observations_schema)

    images: Annotated[tuple[ImageFile, ...] | None, Field(min_length=1, max_length=64)] = None
    array: Array | None = None
    proprioception: Array | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if isinstance(value, str):
            return {"images": (value,)}
        if isinstance(value, list) and value and isinstance(value[0], str):
            return {"images": tuple(value)}
        if isinstance(value, list) or (isinstance(value, dict) and "dtype" in value):
            return {"array": value}
        if isinstance(value, dict) and isinstance(value.get("images"), str):
            return {**value, "images": (value["images"],)}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.images is None and self.array is None and self.proprioception is not None:
            return self
        return exactly_one(self, "images", "array")


class Context(Message):
    """Where a rollout starts: exactly one of `observations`, `latents_id` and `latents`."""

    observations: Observations | None = None
    latents_id: LatentsId | None = None
    latents: Annotated[Array | None, Field(description="`[L, D]` or `[D]` float32.")] = None
    action_history: Annotated[
        Array | None,
        Field(description="`[(T-1) * action_block, A]`, environment units: actions between the frames; only if T > 1."),
    ] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        return exactly_one(self, "observations", "latents_id", "latents")


class Goal(Message):
    """What a plan is to reach: exactly one of the four."""

    observation: Observations | None = None
    latents_id: LatentsId | None = None
    latents: Annotated[Array | None, Field(description="`[D]` float32.")] = None
    readouts: Annotated[
        dict[str, FiniteFloat] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Wanted values of some readouts, in their units; measured along straight lines.",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        return exactly_one(self, "observation", "latents_id", "latents", "readouts")


def exactly_one(message: M, *names: str) -> M:
    """Return the message if one of the named fields, and no more, is set."""
    given = [name for name in names if getattr(message, name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of {', '.join(names)} is needed, {len(given)} given")
    return message


class PlannerOptions(Message):
    """Overrides the world's planner, field by field."""

    algorithm: Algorithm | None = None
    horizon: Annotated[int | None, Field(ge=1, le=MAX_COUNT, description="Model steps looked ahead.")] = None
    candidate_count: Annotated[int | None, Field(ge=2, le=MAX_COUNT)] = None
    iterations: Annotated[int | None, Field(ge=1, le=MAX_ITERATIONS)] = None
    elite_count: Annotated[int | None, Field(ge=1, le=MAX_COUNT)] = None
    hold_steps: Annotated[
        int | None,
        Field(ge=1, le=MAX_COUNT, description="Environment steps a sampled action is held; divides the action block."),
    ] = None
    initial_std: Annotated[
        FiniteFloat | None, Field(gt=0, le=1, description="Fraction of each action axis' range.")
    ] = None
    seed: Annotated[
        int | None, Field(ge=0, lt=2**64, description="Equal seeds give equal plans; drawn and returned if left out.")
    ] = None
    warm_start: Annotated[
        Array | None, Field(description="`[M, A]`, M <= N, environment units: where the search starts.")
    ] = None


class ActionLimits(Message):
    """Narrows what a plan may do; each array is `[A]`, environment units."""

    low: Array | None = None
    high: Array | None = None
    max_rate: Annotated[Array | None, Field(description="Largest change from one environment step to the next.")] = None
    previous_action: Annotated[Array | None, Field(description="The rate limit starts from this action.")] = None


class Constraint(Message):
    """A box of readouts that a plan is to keep out of, or within, at every step."""

    kind: Literal["keep_out", "keep_in"]
    readouts: Annotated[
        dict[str, tuple[FiniteFloat, FiniteFloat]],
        Field(
            min_length=1,
            max_length=64,
            description="Lowest and highest value of some readouts, in their units; the box is where all are between.",
        ),
    ]
    risk: Annotated[
        FiniteFloat, Field(gt=0, lt=1, description="Largest probability that it is broken at any step.")
    ] = 0.1


class Guard(Message):
    """Says when a plan is to be refused; the defaults are safe."""

    level: Annotated[
        FiniteFloat | None,
        Field(
            gt=0, lt=1, description="Probability that radii are to hold with, one of the calibration's; default 0.9."
        ),
    ] = None
    tolerance: Annotated[
        FiniteFloat | None,
        Field(gt=0, description="Largest radius that is of use to you, latent units; default: the world's."),
    ] = None
    penalty: Annotated[
        FiniteFloat | None,
        Field(
            ge=0,
            le=MAX_COUNT,
            description="What a latent unit of the searching members' disagreement, mean over the plan, costs the "
            "search; default: the world's.",
        ),
    ] = None
    refusal_level: Annotated[
        FiniteFloat | None,
        Field(
            gt=0,
            lt=1,
            description="Part of the plans that came true in the calibration that each check lets pass; "
            "default 0.999, with which all together let pass at least 0.99.",
        ),
    ] = None
    return_refused: Annotated[bool, Field(description="Return the actions of a refused plan, too.")] = False


class EncodeRequest(Message):
    """What state is this observation?"""

    world: WorldField
    session: SessionField = ""
    observations: Observations
    return_latents: Annotated[bool, Field(description="Return the latents too, not their handle alone.")] = False
    timeout_ms: TimeoutMs = None


class EncodeResponse(Message):
    """A handle for the latents, and what they read as."""

    version: AnsweredBy = 1
    latents_id: Annotated[str | None, Field(description=f"Handle of the latents. {UNKEPT}")] = None
    expires_in_s: Annotated[
        float, Field(description="Seconds until the handle expires, counted from its last use; 0 where there is none.")
    ]
    readouts: Annotated[Array, Field(description="`[L, R]`, in the units of the world's readouts.")]
    latents: Annotated[Array | None, Field(description="`[L, D]`; only if asked for.")] = None
    calibrated: Annotated[bool, Field(description=CALIBRATED)] = False
    ood: Annotated[
        tuple[float, ...] | None,
        Field(description="`[T]`, >= 0: how unlike the calibration's frames these are; about 1 for one of those."),
    ] = None
    ood_p_value: Annotated[
        tuple[float, ...] | None,
        Field(description="`[T]`: how many of the calibration's frames scored as high or higher, 0 to 1."),
    ] = None
    p_value_resolution: PValueResolution = None


class RolloutRequest(Message):
    """What will happen if these actions are taken? Or, of a world without actions: what is hidden of this clip?"""

    world: WorldField
    session: SessionField = ""
    context: Context
    actions: Annotated[
        Array | None,
        Field(
            description="`[S, N, A]` or `[N, A]`, environment units, within the bounds; "
            "left out for a world without actions."
        ),
    ] = None
    hidden: Annotated[
        Array | None,
        Field(
            description="Only for a world without actions: `[L, ...]` of the shape of its patches, 1 where the clip is "
            "hidden from it, else 0. The context is then the clip's observations."
        ),
    ] = None
    return_latents: bool = False
    timeout_ms: TimeoutMs = None
    level: Annotated[
        FiniteFloat | None,
        Field(
            gt=0, lt=1, description="Probability that radii are to hold with, one of the calibration's; default 0.9."
        ),
    ] = None
    tolerance: Annotated[
        FiniteFloat | None,
        Field(gt=0, description="Largest radius that is of use to you, latent units; default: the world's."),
    ] = None


class RolloutResponse(Message):
    """Predictions per candidate and model step."""

    version: AnsweredBy = 1
    disagreement: Annotated[Array, Field(description="`[S, H]`, >= 0: spread of the members, latent units.")]
    readouts: Annotated[Array, Field(description="`[S, H, R]`, in the units of the world's readouts.")]
    surprise: Annotated[
        Array | None,
        Field(
            description="Only for a world without actions: of the shape of `hidden`, how far what was predicted is "
            "from what the whole clip is encoded to, mean over the features; 0 where nothing was hidden."
        ),
    ] = None
    latents: Annotated[Array | None, Field(description="`[S, H, D]`, mean of the members; only if asked for.")] = None
    calibrated: Annotated[bool, Field(description=CALIBRATED)] = False
    level: Annotated[float | None, Field(description="Probability that the radii hold with.")] = None
    radius: Annotated[
        Array | None, Field(description="`[S, H]`, latent units: how far off each step is at most, by itself.")
    ] = None
    joint_radius: Annotated[
        Array | None, Field(description="`[S, H]`, latent units: the same for all steps at once.")
    ] = None
    readout_radius: Annotated[
        Array | None, Field(description="`[S, H, R]`, the readouts' units: how far off each is at most, by itself.")
    ] = None
    ood: Annotated[
        tuple[float, ...] | None,
        Field(
            description="`[S]`: largest distance of a step from known latents, over what nine in ten of the "
            "calibration's keep within."
        ),
    ] = None
    ood_p_value: Annotated[
        tuple[float, ...] | None,
        Field(
            description="`[S]`: how many of the calibration's rollouts that came true scored as high or higher, 0 to 1."
        ),
    ] = None
    disagreement_p_value: Annotated[
        tuple[float, ...] | None,
        Field(description="`[S]`: in how many of those the members disagreed in a step as much, or more, 0 to 1."),
    ] = None
    trusted_horizon: Annotated[
        tuple[int, ...] | None,
        Field(description="`[S]`: model steps up to which every radius is within the tolerance."),
    ] = None
    p_value_resolution: PValueResolution = None


class PlanRequest(Message):
    """Which actions bring about that goal?"""

    world: WorldField
    context: Context
    goal: Annotated[
        Goal | None, Field(description="Left out where the world itself knows what is good (`goal_metric.needs_goal`).")
    ] = None
    planner: PlannerOptions = PlannerOptions()
    limits: ActionLimits = ActionLimits()
    deadline_ms: Annotated[
        int | None,
        Field(ge=1, le=MAX_TIMEOUT_MS, description="Return the best plan found by then; at least one iteration runs."),
    ] = None
    constraints: Annotated[tuple[Constraint, ...], Field(max_length=16)] = ()
    guard: Guard = Guard()
    session: Annotated[
        str, Field(max_length=64, description="As in observe: a session that has seen its world change gets no plan.")
    ] = ""
    execute_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_COUNT,
            description="Environment steps of the plan that you execute before you plan again, a multiple of the "
            "action block: only these are judged by where they lead, by disagreement and by radius. Left out, the "
            "radius is judged of as many as the world executes before it plans again, and all else of the whole plan.",
        ),
    ] = None


class PlanTiming(Message):
    """Where a plan's time went, milliseconds."""

    encode_ms: float
    cost_ms: Annotated[float, Field(description="In the cost engine, all iterations.")]
    search_ms: Annotated[float, Field(description="Sampling and sorting candidates, all iterations.")]
    total_ms: Annotated[float, Field(description="All of it; what the others leave is waiting and travelling.")]


Reason = Literal["observation", "goal", "unfamiliar", "disagreement", "held_out_gap", "radius", "changed", "constraint"]


class PlanResponse(Message):
    """The best plan found, what the model expects of it, whether to believe that, and how the search went."""

    version: AnsweredBy = 1
    status: Annotated[
        Literal["ok", "refused"], Field(description="A refused plan is not to be executed; `reasons` say why.")
    ]
    reasons: Annotated[
        tuple[Reason, ...],
        Field(
            description="`observation`, `goal`: unlike the calibration's frames. `unfamiliar`: it leads where no log "
            "has been. `disagreement`: of the members, too high. `held_out_gap`: too wide. `radius`: over the "
            "tolerance within the steps to be executed. `changed`: the session's world. `constraint`: broken with more "
            "than its risk."
        ),
    ] = ()
    actions: Annotated[
        Array | None,
        Field(description="`[N, A]`, environment units; left out where the plan is refused, unless asked for."),
    ] = None
    cost: float
    cost_per_iteration: Annotated[tuple[float, ...], Field(description="Best cost by the end of each iteration.")]
    iterations: int
    stop_reason: Literal["iterations", "deadline", "converged"]
    readouts: Annotated[Array, Field(description="`[H, R]`: what the model expects to read after each model step.")]
    disagreement: Annotated[Array, Field(description="`[H]`, latent units.")]
    goal_distance: Annotated[Array, Field(description="`[H]`: distance to the goal after each model step.")]
    seed: int
    latents_id: Annotated[str | None, Field(description=f"Handle of the context's latents. {UNKEPT}")] = None
    goal_latents_id: Annotated[str | None, Field(description="Handle of the goal's latents.")] = None
    timing: PlanTiming
    digests: Digests
    decision_id: Annotated[str | None, Field(description=f"Handle of this plan, for observe. {UNKEPT}")] = None
    constraint_probability: Annotated[
        tuple[float, ...],
        Field(description="Probability that each constraint is broken, by all members and the readouts' errors."),
    ] = ()
    held_out_gap: Annotated[
        float | None,
        Field(
            description="Goal cost by the members that the search did not ask less that by those it asked; left out "
            "where it asks all."
        ),
    ] = None
    calibrated: Annotated[
        bool,
        Field(
            description="False where nobody has measured how far plans of this world err: what depends on it is then "
            "left out."
        ),
    ] = False
    level: Annotated[float | None, Field(description="Probability that the radii hold with.")] = None
    radius: Annotated[
        Array | None, Field(description="`[H]`, latent units: how far off each step is at most, by itself.")
    ] = None
    joint_radius: Annotated[Array | None, Field(description="`[H]`, latent units: the same for all at once.")] = None
    readout_radius: Annotated[
        Array | None, Field(description="`[H, R]`, the readouts' units: how far off each is at most, by itself.")
    ] = None
    ood: Annotated[
        float | None,
        Field(
            description="Largest distance of a step from known latents, over what nine in ten of the calibration's "
            "trajectories keep within."
        ),
    ] = None
    ood_p_value: Annotated[
        float | None,
        Field(
            description="How many of the calibration's plans that came true scored as high or higher, or of its "
            "trajectories, 0 to 1: the fewer."
        ),
    ] = None
    disagreement_p_value: Annotated[float | None, Field(description="The same of the largest disagreement.")] = None
    trusted_horizon: Annotated[
        int | None, Field(description="Model steps up to which every radius is within the tolerance.")
    ] = None
    held_out_gap_p_value: Annotated[
        float | None,
        Field(description="How many of the calibration's plans had as wide a gap or a wider one, 0 to 1."),
    ] = None
    observation_p_value: Annotated[
        float | None,
        Field(
            description="How many of the frames that the calibration's plans rest on were as strange as the strangest "
            "of the context, or more so; left out where latents were given."
        ),
    ] = None
    goal_p_value: Annotated[float | None, Field(description="The same of the goal.")] = None
    execute_steps: Annotated[
        int,
        Field(description="Environment steps that were judged by their radius, to execute before planning again."),
    ]
    p_value_resolution: Annotated[
        float | None,
        Field(description="Smallest p-value that the calibration's plans can show: 1 / (n + 1) of n that came true."),
    ] = None
    refusal_level: Annotated[
        float | None,
        Field(
            description="Part of healthy plans that each check is known to let pass: less than was asked for where so "
            "few plans were executed that they cannot tell such rare ones."
        ),
    ] = None


class Acted(Message):
    """What was done: from a context on, these actions."""

    context: Context
    actions: Annotated[Array, Field(description="`[N, A]`, environment units, N a multiple of the action block.")]


class ObserveRequest(Message):
    """What came of actions: exactly one of `decision_id` and `acted`, and what is seen now."""

    world: WorldField
    decision_id: Annotated[
        str | None, Field(pattern=DECISION_ID_PATTERN, description="A plan whose first actions were executed.")
    ] = None
    acted: Acted | None = None
    observation: Annotated[Observations, Field(description="The frame seen after the last of these actions.")]
    executed_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_COUNT,
            description="Environment steps of the plan that were executed; default: its `execute_steps`.",
        ),
    ] = None
    session: Annotated[
        str, Field(max_length=64, description="Whose observations belong together, such as one episode of one robot.")
    ] = ""
    level: Annotated[
        FiniteFloat | None,
        Field(gt=0, lt=1, description="Probability that the radius is to hold with in the long run; default .9."),
    ] = None
    timeout_ms: TimeoutMs = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.acted is not None and self.executed_steps is not None:
            raise ValueError("executed_steps is for a decision; acted says by its actions how many there were")
        return exactly_one(self, "decision_id", "acted")


class ControlRequest(Message):
    """One turn of a loop: exactly one of `plan` and `seen`, and how much of the last plan was executed."""

    plan: PlanRequest | None = None
    seen: Context | None = None
    executed_steps: Annotated[int | None, Field(ge=0, le=MAX_COUNT)] = None

    @model_validator(mode="after")
    def _one_turn(self) -> Self:
        return exactly_one(self, "plan", "seen")


class ObserveResponse(Message):
    """How much of a surprise that was, and whether this is still the world it was."""

    version: AnsweredBy = 1
    latents_id: Annotated[str | None, Field(description=f"Handle of the latents. {UNKEPT}")] = None
    expires_in_s: Annotated[
        float, Field(description="Seconds until the handle expires, counted from its last use; 0 where there is none.")
    ]
    readouts: Annotated[Array, Field(description="`[R]`, in the units of the world's readouts.")]
    error: Annotated[float, Field(description="Distance of what was seen from what was predicted, latent units.")]
    calibrated: Annotated[bool, Field(description=CALIBRATED)] = False
    ood: Annotated[float | None, Field(description="How unlike the calibration's frames this one is.")] = None
    ood_p_value: Annotated[float | None, Field(description="How many of those scored as high or higher.")] = None
    expected_error: Annotated[float | None, Field(description="Error that was expected, latent units.")] = None
    surprise: Annotated[float | None, Field(description="Square of the error over that of the expected one.")] = None
    surprise_p_value: Annotated[
        float | None, Field(description="How many of the calibration's trajectories surprised as much or more.")
    ] = None
    radius: Annotated[
        float | None,
        Field(
            description="Radius in force, latent units; it adapts, to cover as often as asked in the long run. "
            "Left out after so many misses that none is wide enough."
        ),
    ] = None
    covered: bool | None = None
    observed: Annotated[int | None, Field(description="Observations of this session.")] = None
    coverage: Annotated[float | None, Field(description="Part of them that was covered.")] = None
    evidence: Annotated[
        float | None,
        Field(
            description="Capital of a bettor who began with 1 and bets that this is another world; of worlds that "
            "have not changed, one in a hundred ever gets to 100."
        ),
    ] = None
    changed: Annotated[
        bool | None, Field(description="Whether it got there in this session: predictions are of another world.")
    ] = None
    p_value_resolution: PValueResolution = None


class ControlResponse(Message):
    """The next plan, and what came of the last one."""

    plan: PlanResponse
    outcome: ObserveResponse | None = None
