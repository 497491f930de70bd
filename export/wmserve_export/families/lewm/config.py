"""What is needed to build a LeWM, and what the contract says of the world."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator
from wmserve.world import ActionSpec, GoalMetric, PlannerDefaults, Readout

from wmserve_export.families import Described
from wmserve_export.families.activations import Activation
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD

LATENT_DISTANCE = GoalMetric(name="squared_latent_distance", unit="1", final_weight=1.0, path_weight=0.0)
"""The reference's criterion: the squared distance to the goal's latents after the last model step."""


class Projection(BaseModel):
    """A linear layer, a norm, an activation, a linear layer: the reference's ``MLP``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: PositiveInt = 2048
    """Of its hidden layer."""
    norm: Literal["batch", "layer", "none"] = "batch"
    norm_eps: PositiveFloat = 1e-5
    activation: Activation = "gelu"


class LewmConfig(Described):
    """The defaults are the published model: ViT-Tiny/14 and six predictor blocks, 18.03 M parameters."""

    family: Literal["lewm", "pldm"] = "lewm"
    image_size: PositiveInt = 224
    """Side to which frames are resized, pixels; what is over a multiple of the patch size is not looked at."""
    patch_size: PositiveInt = 14
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of pixels in 0..1: ImageNet's, as the reference's training uses it."""
    pixel_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = IMAGENET_STD
    latent_dim: PositiveInt = 192
    """Width of the latents, and of the embedded actions."""
    encoder_dim: PositiveInt | None = None
    """Width of the encoder; None for that of the latents."""
    encoder_depth: PositiveInt = 12
    encoder_heads: PositiveInt = 3
    encoder_mlp_width: PositiveInt = 768
    encoder_activation: Activation = "gelu"
    encoder_norm_eps: PositiveFloat = 1e-12
    encoder_qkv_bias: bool = True
    projector: Projection | None = Projection()
    """What follows the encoder; None for nothing."""
    predictor_projector: Projection | None = Projection()
    """What follows the predictor (the reference's ``pred_proj``)."""
    action_width: PositiveInt = 10
    """Width of the action encoder's first layer (the reference's ``smoothed_dim``)."""
    action_mlp_scale: PositiveInt = 4
    window: PositiveInt = 3
    """Most frames that the predictor attends to (the reference's ``num_frames``)."""
    predictor_dim: PositiveInt | None = None
    """Width of the predictor's blocks; None for that of the latents."""
    predicted_dim: PositiveInt | None = None
    """Width of what the predictor gives to its projection; None for that of the latents."""
    predictor_depth: PositiveInt = 6
    predictor_heads: PositiveInt = 16
    predictor_head_dim: PositiveInt = 64
    predictor_mlp_width: PositiveInt = 2048
    context_length: PositiveInt = 1
    """Frames that a rollout starts from: exactly so many, since the unrolled graph depends on it."""
    action: ActionSpec
    readouts: tuple[Readout, ...] = ()
    """Linear in the latents; their tensors ``readout.weight`` and ``readout.bias`` stand beside the reference's."""
    goal_metric: GoalMetric = LATENT_DISTANCE
    planner: PlannerDefaults

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.latent_dim,)

    @property
    def feature_dim(self) -> int:
        """Width of the class token, before its projection to latents."""
        return self.encoder_width

    @property
    def encoder_width(self) -> int:
        """Width of the encoder."""
        return self.encoder_dim or self.latent_dim

    @property
    def predictor_width(self) -> int:
        """Width of the predictor's blocks."""
        return self.predictor_dim or self.latent_dim

    @property
    def predicted_width(self) -> int:
        """Width of what the predictor gives to its projection."""
        return self.predicted_dim or self.latent_dim

    @property
    def attention_width(self) -> int:
        """Width of the predictor's queries, keys and values, all heads."""
        return self.predictor_heads * self.predictor_head_dim

    @property
    def attention_projected(self) -> bool:
        """Whether a linear layer follows the heads; not after one head as wide as the predictor's blocks."""
        return self.predictor_heads > 1 or self.predictor_head_dim != self.predictor_width

    @model_validator(mode="before")
    @classmethod
    def _one_width_for_both(cls, said: Any) -> Any:
        """Checkpoints of earlier versions say one width for both projections."""
        if not isinstance(said, dict) or "projector_width" not in said:
            return said
        said = dict(said)
        projection = {"width": said.pop("projector_width")}
        return {"projector": projection, "predictor_projector": projection, **said}

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.context_length > self.window:
            raise ValueError(f"context_length must be at most the predictor's window, {self.window}")
        if self.image_size < self.patch_size or self.encoder_width % self.encoder_heads:
            raise ValueError("patch_size must fit into image_size, and encoder_heads divide the encoder's width")
        ends = (self.projector, self.encoder_width), (self.predictor_projector, self.predicted_width)
        if any(projection is None and width != self.latent_dim for projection, width in ends):
            raise ValueError(f"what has no projection must be as wide as the latents, {self.latent_dim}")
        return self
