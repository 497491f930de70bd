"""What is needed to build a TD-MPC2, and what the contract says of the world."""

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from wmserve.world import ActionSpec, GoalMetric, PlannerDefaults

from wmserve_export.families import Described
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD

NEGATIVE_RETURN = GoalMetric(name="negative_return", unit="reward", needs_goal=False)
"""The reference's cost: minus the rewards of a plan and the value of where it ends, discounted."""
CHANNELS = 32
"""Of each convolution."""
CONVOLUTIONS = ((7, 2), (5, 2), (3, 2), (3, 1))
"""Kernel and stride of each, in order."""


class StateEncoder(BaseModel):
    """An encoder of a part of proprioception, such as the whole state of a simulation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """As in the names of its tensors, ``extra_encoders.<name>``."""
    inputs: PositiveInt
    hidden: tuple[PositiveInt, ...]
    """Widths of its layers but the last."""
    width: PositiveInt
    """Of what it gives to the latents."""


class Tdmpc2Config(Described):
    """Sizes of a TD-MPC2, and the constants that its rewards and values were trained with."""

    family: Literal["tdmpc2"] = "tdmpc2"
    image_size: NonNegativeInt = 0
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of pixels in 0..1: ImageNet's, as the reference's training uses it."""
    pixel_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = IMAGENET_STD
    pixel_width: NonNegativeInt = 0
    """Of what the encoder of frames gives to the latents; 0 where there is none."""
    encoders: tuple[StateEncoder, ...] = ()
    """Of proprioception, in order, after that of frames."""
    simnorm_dim: PositiveInt = 8
    """Numbers of a simplex: latents are made of simplices."""
    mlp_width: PositiveInt
    critics: Annotated[int, Field(ge=2)] = 5
    bins: Annotated[int, Field(ge=2)] = 101
    """Classes in which rewards and values are predicted."""
    low_bin: FiniteFloat
    """The lowest of them, as the ``symlog`` of a reward: ``sign(x) log(1 + |x|)``."""
    high_bin: FiniteFloat
    discount: Annotated[FiniteFloat, Field(gt=0, le=1)] = 0.99
    """Per environment step."""
    uncertainty_penalty: NonNegativeFloat = 0.5
    """By which part of itself a value counts less, for each unit of its critics' standard deviation."""
    action: ActionSpec
    goal_metric: GoalMetric = NEGATIVE_RETURN
    planner: PlannerDefaults

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return self.pixel_width + sum(encoder.width for encoder in self.encoders)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.latent_dim,)

    @property
    def feature_dim(self) -> int:
        """Width of the embeddings that become simplices."""
        return self.latent_dim

    @property
    def convolved_side(self) -> int:
        """Side of what the convolutions leave of a frame."""
        side = self.image_size
        for kernel, stride in CONVOLUTIONS:
            side = (side - kernel) // stride + 1
        return side

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.context_length != 1 or self.action.action_block != 1:
            raise ValueError("context_length and action_block must be 1: each step follows from the one before")
        if bool(self.image_size) != bool(self.pixel_width) or (self.image_size and self.convolved_side < 1):
            raise ValueError("image_size does not fit the encoder of frames")
        if self.latent_dim == 0 or self.latent_dim % self.simnorm_dim:
            raise ValueError(f"simnorm_dim must divide the {self.latent_dim} numbers of the latents")
        if len(self.proprioception) != sum(encoder.inputs for encoder in self.encoders):
            raise ValueError(f"proprioception must have {sum(encoder.inputs for encoder in self.encoders)} axes")
        return self
