"""What a tool-calling model may say: flat objects, every property with its unit and its bounds in words.

A model reads the descriptions; a program that builds grammars from these schemas may drop the bounds, so they stand in
both. What may be left out may also be null, or [] where it is a list: strict modes require every property to be there,
and one of them allows few that may be of two types.
"""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from wmserve_server import messages as m

A = TypeVar("A", bound=BaseModel)

MAX_ROWS = 1000
MAX_STEPS = 10_000
"""Environment steps, after every row has been held."""
MAX_SEED = 2**53 - 1
"""JSON numbers are exact up to here."""

NONE = "[] for none"
IMAGES = f"PNG or JPEG files, base64, all of one size, at most 1024 x 1024 pixels; at most 64, {NONE}"
ACTIONS = (
    "one row per environment step, in each row one number per axis of the world's action, in its unit and within its "
    "bounds, as wmserve_worlds says"
)

Row = Annotated[list[FiniteFloat], Field(min_length=1, max_length=256)]
Rows = Annotated[list[Row], Field(max_length=MAX_ROWS)]
World = Annotated[
    str,
    Field(min_length=1, max_length=64, description="Name of the world, as wmserve_worlds lists it; 1 to 64 letters."),
]
Detail = Annotated[
    Literal["concise", "full"] | None,
    Field(description="concise, or null: the outcome. full: also what is expected step by step."),
]
LatentsId = Annotated[
    str | None,
    Field(
        pattern=m.LATENTS_ID_PATTERN,
        description="Where it starts: a latents_id from another tool's answer, lat_ and 22 letters; null if images are "
        "given.",
    ),
]
StartImages = Annotated[
    list[m.ImageFile],
    Field(max_length=64, description=f"Where it starts, if there is no latents_id: what the camera sees. {IMAGES}."),
]
ActionHistory = Annotated[
    Rows,
    Field(
        description=f"Only for a world that starts from several frames: what was done between them, {ACTIONS}; at most "
        f"{MAX_ROWS} rows, {NONE}."
    ),
]
Actions = Annotated[
    Rows,
    Field(
        min_length=1,
        description=f"What is to be done: {ACTIONS}; 1 to {MAX_ROWS} rows. Rows times hold_steps is a multiple of the "
        "world's action_block, at most its longest.",
    ),
]
Proprioception = Annotated[
    list[FiniteFloat],
    Field(
        max_length=256,
        description="What the robot says of itself, one number per axis, in the world's units and within its bounds; "
        f"at most 256 numbers, {NONE}.",
    ),
]
Session = Annotated[
    str | None,
    Field(
        max_length=64,
        description="A name that you choose for one episode of one robot, at most 64 letters: a session whose "
        "observations say that the world has changed gets no more plans. null for none.",
    ),
]
Readout = Annotated[
    str, Field(min_length=1, max_length=64, description="Name of a readout of the world; 1 to 64 letters.")
]


class Arguments(BaseModel):
    """Frozen, closed, and strict about types: "5" is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class WorldsArguments(Arguments):
    """Which world to describe."""

    world: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="Name of one world, to be told all about it; null to list the worlds. 1 to 64 letters.",
        ),
    ] = None


class EncodeArguments(Arguments):
    """What is seen."""

    world: World
    images: Annotated[
        list[m.ImageFile], Field(max_length=64, description=f"What the camera sees, oldest first. {IMAGES}.")
    ] = []
    proprioception: Proprioception = []
    detail: Detail = None


class Started(Arguments):
    """From where on."""

    world: World
    latents_id: LatentsId = None
    images: StartImages = []
    action_history: ActionHistory = []

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        return one_of(self, "latents_id", "images")


class RolloutArguments(Started):
    """From where on, and what is done."""

    actions: Actions
    hold_steps: Annotated[
        int | None,
        Field(ge=1, le=MAX_ROWS, description="Environment steps for which each row is held, 1 to 1000; null for 1."),
    ] = None
    detail: Detail = None

    @model_validator(mode="after")
    def _not_too_long(self) -> Self:
        if len(self.actions) * (self.hold_steps or 1) > MAX_STEPS:
            raise ValueError(f"rows times hold_steps must be at most {MAX_STEPS}")
        return self


class Target(Arguments):
    """A wanted value."""

    readout: Readout
    value: Annotated[FiniteFloat, Field(description="Wanted value, in the readout's unit and within its bounds.")]


class Interval(Arguments):
    """Values of one readout."""

    readout: Readout
    low: Annotated[FiniteFloat, Field(description="Lowest value, in the readout's unit.")]
    high: Annotated[FiniteFloat, Field(description="Highest value, in the readout's unit; over low.")]


Box = Annotated[list[Interval], Field(max_length=64)]


class PlanArguments(Started):
    """From where on, to what end, and what to keep clear of."""

    goal_latents_id: Annotated[
        str | None,
        Field(
            pattern=m.LATENTS_ID_PATTERN,
            description="The goal as a picture: the latents_id that wmserve_encode gave for it, lat_ and 22 letters; "
            "null if goal_readouts say it.",
        ),
    ] = None
    goal_readouts: Annotated[
        list[Target],
        Field(
            max_length=64,
            description="The goal as wanted values of some readouts, measured along straight lines: a goal behind a "
            f"wall is better given as a picture. At most 64, {NONE}.",
        ),
    ] = []
    keep_out: Annotated[
        Box,
        Field(description=f"A box to stay out of: where all of these are between low and high. At most 64, {NONE}."),
    ] = []
    keep_in: Annotated[
        Box,
        Field(description=f"A box to stay within: each of these is to be between low and high. At most 64, {NONE}."),
    ] = []
    seed: Annotated[
        int | None,
        Field(ge=0, le=MAX_SEED, description=f"Equal seeds give equal plans; 0 to {MAX_SEED}; null for any."),
    ] = None
    execute_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_STEPS,
            description=f"Environment steps that you will execute before you plan again, 1 to {MAX_STEPS}, a multiple "
            "of the world's action_block: only these are judged. null for the world's.",
        ),
    ] = None
    session: Session = None
    detail: Detail = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.goal_latents_id is not None and self.goal_readouts:
            raise ValueError("goal_latents_id and goal_readouts cannot both be the goal")
        for targets in (self.goal_readouts, self.keep_out, self.keep_in):
            if len({target.readout for target in targets}) < len(targets):
                raise ValueError("goal_readouts, keep_out and keep_in name a readout once each")
        return self


class ObserveArguments(Arguments):
    """What was done, and what is seen after it."""

    world: World
    decision_id: Annotated[
        str | None,
        Field(
            pattern=m.DECISION_ID_PATTERN,
            description="The plan that was executed: its decision_id, dec_ and 22 letters; null if actions say what "
            "was done.",
        ),
    ] = None
    executed_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_STEPS,
            description=f"Environment steps of that plan that were executed, 1 to {MAX_STEPS}, a multiple of the "
            "world's action_block; null for the plan's execute_steps.",
        ),
    ] = None
    latents_id: Annotated[
        str | None,
        Field(
            pattern=m.LATENTS_ID_PATTERN,
            description="Where it started, if no plan was executed: a latents_id, lat_ and 22 letters. Else null.",
        ),
    ] = None
    start_images: Annotated[
        list[m.ImageFile],
        Field(max_length=64, description=f"Where it started, if there is neither: what the camera saw. {IMAGES}."),
    ] = []
    action_history: ActionHistory = []
    actions: Annotated[
        Rows,
        Field(
            description=f"What was done, if no plan was executed: {ACTIONS}; at most {MAX_ROWS} rows, a multiple of "
            f"the world's action_block, {NONE}."
        ),
    ] = []
    images: Annotated[
        list[m.ImageFile],
        Field(
            max_length=1,
            description="What the camera sees after the last of these steps: one PNG or JPEG file, base64, at most "
            f"1024 x 1024 pixels; {NONE}.",
        ),
    ] = []
    proprioception: Proprioception = []
    session: Session = None
    detail: Detail = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.decision_id is None) != bool(self.actions):
            raise ValueError("actions are needed where there is no decision_id, and only there")
        if self.actions and self.executed_steps is not None:
            raise ValueError("executed_steps is for a decision_id; actions say by their rows how many there were")
        return one_of(self, "decision_id", "latents_id", "start_images")


def one_of(arguments: A, *names: str) -> A:
    """Return the arguments if one of these, and no more, says something."""
    given = [name for name in names if getattr(arguments, name)]
    if len(given) != 1:
        raise ValueError(f"exactly one of {', '.join(names)} is needed, {len(given)} given")
    return arguments
