"""What no checkpoint says of its world: the file that ``wmserve export --world`` names.

``wmserve export --family F --template`` prints one to fill in (:mod:`wmserve_export.families.template`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveFloat, PositiveInt, ValidationError, model_validator
from wmserve.world import ActionSpec, Axis, PlannerDefaults, WorldName

from wmserve_export.families import FamilyError
from wmserve_export.families.commented import read_commented
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, Statistics

EXAMPLE = {
    "name": "my_world",
    "description": "what it is a world of",
    "action": {
        "axes": [{"name": "velocity_x", "unit": "m/s", "low": -1.0, "high": 1.0, "mean": 0.0, "std": 0.5}],
        "action_block": 5,
    },
}
GREY, BLACK = (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)
PIXELS: Mapping[str, tuple[Statistics, Statistics]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": (GREY, GREY),
    "none": (BLACK, (1.0, 1.0, 1.0)),
    "raw": (BLACK, (1 / 255, 1 / 255, 1 / 255)),
}
"""Ways to prepare pixels by name: ImageNet's statistics, to -1..1, as they are in 0..1, and in 0..255."""


class Pixels(BaseModel):
    """How training prepared pixels: ``(x / 255 - mean) / std``, for red, green and blue; or one of `PIXELS` by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, said: Any) -> Any:
        if not isinstance(said, str):
            return said
        if said not in PIXELS:
            raise ValueError(f"{said!r} is not known; known are {', '.join(PIXELS)}, or a mean and a std of three each")
        mean, std = PIXELS[said]
        return {"mean": mean, "std": std}

    @property
    def statistics(self) -> tuple[Statistics, Statistics]:
        """Mean and standard deviation of pixels in 0..1."""
        return self.mean, self.std


class Facts(BaseModel):
    """What no checkpoint of these families says of its world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: WorldName
    description: str
    action: ActionSpec | None = None
    """Names, units and bounds of the actions, and the statistics that they were normalised with in training.

    None where a world knows no actions; a family that does asks for them by ``known_action``.
    """
    proprioception: tuple[Axis, ...] = ()
    """What a robot says of itself at each frame, like the action; none where a family knows of none."""
    context_length: PositiveInt = 1
    """Frames that a rollout is to start from."""
    pixels: Pixels | None = None
    """How training prepared pixels; None takes what the checkpoint's own settings say, else the family's own code."""
    image_size: PositiveInt | None = None
    """Side to which training resized frames, pixels; None takes that of the checkpoint's settings or tensors."""
    planner: PlannerDefaults | None = None
    """None takes the settings that the family was published with."""

    def known_action(self) -> ActionSpec:
        """The actions, for a family that knows some; FamilyError asks for them."""
        if self.action is None:
            raise FamilyError(f"action: Field required; {asked()}")
        return self.action

    def fitting_action(self, numbers: int) -> ActionSpec:
        """The actions, for a checkpoint that takes so many numbers a model step; FamilyError where they have others."""
        action = self.known_action()
        known = action.action_block * len(action.axes)
        if known != numbers:
            raise FamilyError(
                f"the checkpoint takes {numbers} numbers a model step, the facts have {known}: "
                f"{action.action_block} environment steps of {len(action.axes)} axes"
            )
        return action

    def refuse_action(self, family: str) -> None:
        """FamilyError where there is something of actions, for a family that knows none."""
        if self.action is not None or self.planner is not None:
            raise FamilyError(f"a world of family {family} knows no actions: leave out action and planner")


def read_facts(file: Path | None) -> Facts:
    """Facts of a file; FamilyError names those that are missing and shows what such a file looks like."""
    if file is None:
        raise FamilyError(f"name, description and action of the world (if it knows actions) are missing: {asked()}")
    try:
        return Facts.model_validate(read_commented(file))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        empty = first["type"] != "missing" and first["input"] is None
        raise FamilyError(
            f"{file.name}: {field}: {'is empty: fill it in' if empty else first['msg']}; {asked()}"
        ) from None


def asked() -> str:
    """How to say what no checkpoint says."""
    return (
        "the checkpoint does not say it; put it into a file and name that with --world (wmserve export --family F "
        f"--template prints a complete one), such as\n{example()}"
    )


def example() -> str:
    """The least that such a file holds."""
    return json.dumps(EXAMPLE, indent=1)
