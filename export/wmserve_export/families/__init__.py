"""Model families that can be exported, one adapter each.

A checkpoint is a folder with a ``config.json`` whose key ``family`` names its adapter; the rest of the folder is the
family's own. To export a family of your own, write a class that fits one of the protocols below and a function that
loads it from a checkpoint of any form, and name that function: once, by ``wmserve export CHECKPOINT --adapter
my_module:load``, or for good in your package's entry points:

    [project.entry-points."wmserve.families"]
    my_family = "my_package.my_module:load"

What such a class has besides :class:`Encoder` says what its worlds answer:

    Encoder                                encode
    Encoder + fill                         encode, rollout without actions: the hidden part of a clip
    Encoder + predict + goal_distance      encode, rollout, plan
    Encoder + predict + negative_return    the same, where the world itself knows what is good

Axes: `B` batch, `T` context frames, `S` candidates, `E` members, `H` model steps, `N = H x action_block` environment
steps, `A` action dimension, `F` feature dimension, `R` readouts, `Q` proprioception, `L = T / tubelet_size` latents of
`T` frames; `D` latent dimension: the product of ``latent_shape``, since methods take and give latents flattened.
"""

import importlib
import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt
from torch import Tensor
from wmserve.world import ActionSpec, Axis, GoalMetric, PlannerDefaults, Readout, Verb

CONFIG_FILE = "config.json"
ENTRY_POINTS = "wmserve.families"
FAMILIES = {
    "conv_jepa": "wmserve_export.families.conv_jepa:load",
    "dino-wm": "wmserve_export.families.dino_wm:load",
    "ijepa": "wmserve_export.families.ijepa:load",
    "lewm": "wmserve_export.families.lewm:load",
    "pldm": "wmserve_export.families.lewm:load",
    "tdmpc2": "wmserve_export.families.tdmpc2:load",
    "tiny_jepa": "wmserve_export.families.tiny_jepa:load",
    "vjepa2": "wmserve_export.families.vjepa2:load",
    "vjepa2-ac": "wmserve_export.families.vjepa2_ac:load",
}
"""Families that ship with wmserve, as ``module:function``."""
PUBLISHED = {
    "dino-wm": "wmserve_export.families.dino_wm.adopting:adopt",
    "ijepa": "wmserve_export.families.ijepa.adopting:adopt",
    "lewm": "wmserve_export.families.lewm.adopting:adopt",
    "pldm": "wmserve_export.families.lewm.adopting:adopt",
    "tdmpc2": "wmserve_export.families.tdmpc2.adopting:adopt",
    "vjepa2": "wmserve_export.families.vjepa2.adopting:adopt",
    "vjepa2-ac": "wmserve_export.families.vjepa2_ac.adopting:adopt",
}
"""Families whose own formats are read, too: what makes a checkpoint folder of them."""


class FamilyError(ValueError):
    """A checkpoint that cannot be loaded; the message says what to do."""


class FamilyConfig(Protocol):
    """What the contract says of a world, as far as its checkpoint knows."""

    @property
    def family(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def latent_shape(self) -> tuple[int, ...]: ...
    @property
    def feature_dim(self) -> int: ...
    @property
    def members(self) -> int: ...
    @property
    def action(self) -> ActionSpec: ...
    @property
    def readouts(self) -> tuple[Readout, ...]: ...
    @property
    def tubelet_size(self) -> int: ...
    @property
    def proprioception(self) -> tuple[Axis, ...]: ...
    @property
    def goal_metric(self) -> GoalMetric | None: ...
    @property
    def planner(self) -> PlannerDefaults | None: ...


class Described(BaseModel):
    """The :class:`FamilyConfig` of a world that encodes frames, for a family to add to; names as in the contract."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    name: str
    description: str
    image_size: NonNegativeInt
    """Side to which frames are resized, pixels; 0 for a world that looks at no frames."""
    context_length: PositiveInt = 1
    members: PositiveInt = 1
    action: ActionSpec = ActionSpec(axes=())
    readouts: tuple[Readout, ...] = ()
    tubelet_size: PositiveInt = 1
    proprioception: tuple[Axis, ...] = ()
    goal_metric: GoalMetric | None = None
    planner: PlannerDefaults | None = None

    @property
    def block_dim(self) -> int:
        """Width of the actions of one model step, flattened."""
        return self.action.action_block * len(self.action.axes)


@runtime_checkable
class Encoder(Protocol):
    """A world as torch modules: a ``torch.nn.Module`` in eval mode whose methods trace with free `B`, `S`, `h`, `w`.

    Callers send frames of any size and actions in environment units, so resizing and statistics belong inside.
    """

    @property
    def config(self) -> FamilyConfig: ...
    def encode(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        """What is observed -> latents `[B, L, D]`, and features `[B, L, F]`: what the last layer sees.

        Observed are frames `[B, T, h, w, 3]` in 0..255, uint8 or float32, then proprioception `[B, T, Q]` in
        environment units: each if the world's configuration has it. Frames unlike those of training show in the
        features, where latents may hide them (a calibration looks there).
        """

    def readout(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> quantities `[..., R]` in the readouts' units; not asked where there are none."""


@runtime_checkable
class Predictor(Encoder, Protocol):
    """A world that knows what actions do."""

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Context `[B, T, D]` and actions `[B, S, (T - 1) x action_block + N, A]` -> latents `[B, S, E, H, D]`.

        Where `T > 1`, the actions between the context's frames stand before the candidate's. Of the first `members` of
        the ensemble, if that is set.
        """


@runtime_checkable
class Family(Predictor, Protocol):
    """A world in which plans lead to goals: what most families are."""

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Latents `[B, S, E, H, D]` and goals `[B, D]` -> distances `[B, S, H]` in the goal metric's unit."""


@runtime_checkable
class Rewarded(Predictor, Protocol):
    """A world that has learned what is good: plans need no goal."""

    def negative_return(self, context: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """What ``predict`` was given, and what it gave, -> costs `[B, S, H]` of stopping after each step."""

    def value_spread(self, latents: Tensor) -> Tensor:
        """Latents `[B, S, E, H, D]` -> how far its critics differ `[B, S, H]`, served as ``disagreement``."""


@runtime_checkable
class Filler(Encoder, Protocol):
    """A world that predicts what is hidden of a clip."""

    def fill(self, observations: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 and what is hidden of them `[B, L, P]` uint8, 1 where hidden, P patches.

        -> latents `[B, L, D]`, predicted where hidden and else encoded from what is not, and surprise `[B, L, P]`:
        mean absolute difference of the predicted and the encoded features, 0 where nothing is hidden.
        """


def verbs(family: Encoder) -> tuple[Verb, ...]:
    """What its worlds answer."""
    if isinstance(family, Family | Rewarded):
        return ("encode", "rollout", "plan")
    return ("encode", "rollout") if isinstance(family, Predictor | Filler) else ("encode",)


def load(checkpoint: Path, adapter: str | None = None) -> Encoder:
    """Load a checkpoint by an adapter, ``module:function``, or by the family it names; FamilyError if that fails."""
    adapter = adapter or adapter_of(checkpoint)
    try:
        family = named(adapter)(checkpoint)
    except FileNotFoundError as error:
        raise FamilyError(f"checkpoint {checkpoint} is not complete: {error}") from error
    except (ModuleNotFoundError, AttributeError) as error:
        raise FamilyError(f"adapter {adapter} cannot be found: {error}") from error
    if not isinstance(family, Encoder):
        raise FamilyError(f"what {adapter} returns is not an Encoder; see {__name__}")
    return family


def named(reference: str) -> Callable[..., Any]:
    """The function that ``module:function`` names; ModuleNotFoundError or AttributeError."""
    module, _, function = reference.partition(":")
    return getattr(importlib.import_module(module), function)


def adapter_of(checkpoint: Path) -> str:
    """The adapter of the family that a checkpoint names; FamilyError where nobody knows it."""
    name = read_family_name(checkpoint)
    known = FAMILIES | {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}
    if name not in known:
        raise FamilyError(f"family {name!r} is not known; known: {', '.join(sorted(known))}; see {__name__}")
    return known[name]


def read_family_name(checkpoint: Path) -> str:
    """The key ``family`` of a checkpoint's ``config.json``."""
    if not checkpoint.is_dir():
        raise FamilyError(f"there is no checkpoint folder {checkpoint}; train one with: wmserve train")
    try:
        return str(json.loads((checkpoint / CONFIG_FILE).read_text())["family"])
    except FileNotFoundError:
        raise FamilyError(f"checkpoint {checkpoint} has no {CONFIG_FILE}") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise FamilyError(f"{checkpoint / CONFIG_FILE} is not a JSON object with a key 'family'") from None
