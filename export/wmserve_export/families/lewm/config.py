"""What is needed to build a LeWM, and what the contract says of the world."""

from typing import Literal, Self

from pydantic import PositiveInt, model_validator
from wmserve.world import ActionSpec, GoalMetric, PlannerDefaults, Readout

from wmserve_export.families import Described

LATENT_DISTANCE = GoalMetric(name="squared_latent_distance", unit="1", final_weight=1.0, path_weight=0.0)
"""The reference's criterion: the squared distance to the goal's latents after the last model step."""


class LewmConfig(Described):
    """The defaults are the published model: ViT-Tiny/14 and six predictor blocks, 18.03 M parameters."""

    family: Literal["lewm", "pldm"] = "lewm"
    image_size: PositiveInt = 224
    """Side to which frames are resized, pixels; a multiple of the patch size."""
    patch_size: PositiveInt = 14
    latent_dim: PositiveInt = 192
    """Width of the encoder, of the predictor and of the latents."""
    encoder_depth: PositiveInt = 12
    encoder_heads: PositiveInt = 3
    encoder_mlp_width: PositiveInt = 768
    projector_width: PositiveInt = 2048
    """Hidden width of the projections that follow encoder and predictor."""
    action_width: PositiveInt = 10
    """Width of the action encoder's first layer (the reference's ``smoothed_dim``)."""
    action_mlp_scale: PositiveInt = 4
    window: PositiveInt = 3
    """Most frames that the predictor attends to (the reference's ``num_frames``)."""
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
        return self.latent_dim

    @property
    def attention_width(self) -> int:
        """Width of the predictor's queries, keys and values, all heads."""
        return self.predictor_heads * self.predictor_head_dim

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.context_length > self.window:
            raise ValueError(f"context_length must be at most the predictor's window, {self.window}")
        if self.image_size % self.patch_size or self.latent_dim % self.encoder_heads:
            raise ValueError("patch_size must divide image_size, and encoder_heads latent_dim")
        return self
