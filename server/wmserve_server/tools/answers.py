"""What a tool-calling model is told: handles, numbers and words, of bounded length; never latents.

Lists that a world or a request could make long are cut to what is shown of them, and `left_out` says what is missing
and how to get it, so that no answer exceeds 2000 tokens.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SHOWN_WORLDS = 10
SHOWN_AXES = 10
SHOWN_READOUTS = 6
SHOWN_STEPS = 5
SHOWN_NUMBERS = 56
"""Of the actions of a plan."""
SHOWN_NAME, SHOWN_TEXT = 32, 160
"""Letters of what an exporter wrote: names and units, descriptions."""

Summary = Annotated[str, Field(description="The answer in words.")]
LatentsId = Annotated[
    str | None,
    Field(
        description="Handle of what was seen, for other tools; expires if it is not used for a while. Left out if it "
        "could not be kept."
    ),
]
LeftOut = Annotated[str | None, Field(description="What is not shown, and how to get it; left out where all is.")]


class Part(BaseModel):
    """Frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Readout(Part):
    """A quantity read from latents."""

    name: str
    value: Annotated[float, Field(description="In its unit.")]
    unit: str
    radius: Annotated[
        float | None,
        Field(description="How far off it is at most, in its unit, nine times in ten; left out if unknown."),
    ] = None


class Step(Part):
    """What is expected after a model step, or was read from a frame."""

    step: Annotated[int, Field(description="Model step, or frame, counted from 1.")]
    readouts: Annotated[list[float], Field(description="Values, in the order and the units of the answer's readouts.")]
    disagreement: Annotated[float | None, Field(description="Of the model's members, latent units.")] = None
    radius: Annotated[float | None, Field(description="How far off it is at most, latent units.")] = None
    goal_distance: Annotated[float | None, Field(description="In the world's goal metric.")] = None


class Quantity(Part):
    """An axis of an action, or a readout."""

    name: str
    unit: str
    low: float
    high: float
    error: Annotated[float | None, Field(description="Of a readout: its own error, in its unit.")] = None


class WorldCard(Part):
    """A world; all but its name, description and verbs only where one world is described."""

    name: str
    description: str
    verbs: list[str]
    observation: str | None = None
    action: Annotated[list[Quantity] | None, Field(description="Axes of an action: one number each in every row.")] = (
        None
    )
    action_block: Annotated[int | None, Field(description="Environment steps in a model step.")] = None
    longest: Annotated[int | None, Field(description="Most environment steps of a rollout or a plan.")] = None
    execute_steps: Annotated[
        int | None, Field(description="Environment steps of a plan to execute before observing and planning again.")
    ] = None
    readouts: list[Quantity] | None = None
    goal: str | None = None
    trust: str | None = None


class WorldsAnswer(Part):
    """The worlds that are served, or one."""

    summary: Summary
    worlds: list[WorldCard]
    left_out: LeftOut = None


class EncodeAnswer(Part):
    """What state that is."""

    summary: Summary
    latents_id: LatentsId = None
    readouts: Annotated[list[Readout], Field(description="What the last frame reads as.")]
    ood_p_value: Annotated[
        float | None, Field(description="Part of familiar frames that are as unlike the others or more so, 0 to 1.")
    ] = None
    frames: Annotated[list[Step] | None, Field(description="Each frame; only with detail full.")] = None
    left_out: LeftOut = None


class RolloutAnswer(Part):
    """What the actions will do."""

    summary: Summary
    readouts: Annotated[list[Readout], Field(description="What is expected after the last step.")]
    model_steps: int
    trusted_model_steps: Annotated[
        int | None, Field(description="Model steps up to which the prediction is good enough to be of use.")
    ] = None
    radius: Annotated[
        float | None, Field(description="How far off the last step is at most, latent units, nine times in ten.")
    ] = None
    disagreement: Annotated[float, Field(description="Of the model's members after the last step, latent units.")]
    ood_p_value: Annotated[
        float | None, Field(description="Part of rollouts that came true that led as far from the familiar, 0 to 1.")
    ] = None
    steps: Annotated[list[Step] | None, Field(description="Step by step; only with detail full.")] = None
    left_out: LeftOut = None


class PlanAnswer(Part):
    """The plan, or why there is none."""

    summary: Summary
    status: Annotated[
        Literal["ok", "refused", "approved"],
        Field(description="refused: not to be executed. approved: refused, and a person has allowed it."),
    ]
    reasons: Annotated[list[str], Field(description="Why it was refused, in words; empty where it was not.")]
    decision_id: Annotated[
        str | None, Field(description="Handle of this plan, for wmserve_observe; left out if it could not be kept.")
    ] = None
    latents_id: LatentsId = None
    actions: Annotated[
        list[list[float]] | None,
        Field(
            description="One row per environment step, in the order and the units of the world's axes: those to "
            "execute now; with detail full, all. Left out where the plan is refused."
        ),
    ] = None
    execute_steps: Annotated[
        int, Field(description="Environment steps to execute before observing and planning again.")
    ]
    readouts: Annotated[list[Readout], Field(description="What is expected at the end of the whole plan.")]
    goal_distance: Annotated[float, Field(description="To the goal then, in the world's goal metric.")]
    cost: float
    trusted_model_steps: int | None = None
    radius: Annotated[float | None, Field(description="How far off the end is at most, latent units.")] = None
    constraint_probability: Annotated[
        list[float] | None, Field(description="Probability of leaving keep_in or entering keep_out, in that order.")
    ] = None
    seed: int
    steps: Annotated[list[Step] | None, Field(description="Step by step; only with detail full.")] = None
    left_out: LeftOut = None


class ObserveAnswer(Part):
    """What came of it."""

    summary: Summary
    latents_id: LatentsId = None
    readouts: Annotated[list[Readout], Field(description="What is seen now.")]
    error: Annotated[float, Field(description="Distance of what is seen from what was predicted, latent units.")]
    radius: Annotated[float | None, Field(description="Within which it was to be, latent units.")] = None
    covered: Annotated[bool | None, Field(description="Whether it was.")] = None
    surprise_p_value: Annotated[
        float | None, Field(description="Part of known outcomes that were as surprising, or more, 0 to 1.")
    ] = None
    changed: Annotated[
        bool | None, Field(description="Whether this session has seen that the world is not the one the model knows.")
    ] = None
    expected_error: Annotated[float | None, Field(description="Only with detail full, like what follows.")] = None
    ood_p_value: Annotated[float | None, Field(description="Of the frame that is seen, as in wmserve_encode.")] = None
    observed: Annotated[int | None, Field(description="Observations of this session.")] = None
    coverage: Annotated[float | None, Field(description="Part of them that was covered.")] = None
    evidence: Annotated[
        float | None, Field(description="That the world has changed: over 100 it counts as changed.")
    ] = None
    left_out: LeftOut = None
