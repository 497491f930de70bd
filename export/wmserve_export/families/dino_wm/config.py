"""What is needed to build a DINO-WM, and what the contract says of the world."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from wmserve.world import ActionSpec, GoalMetric, PlannerDefaults

from wmserve_export.families import Described
from wmserve_export.families.activations import Activation

ACTION = "action"


class Embedding(BaseModel):
    """What is concatenated to every patch of a frame: a linear map of actions or of a part of proprioception."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """As in the names of its tensors, ``extra_encoders.<name>``; `action` is the action of the model step."""
    inputs: PositiveInt
    width: PositiveInt


class DinoWmConfig(Described):
    """The defaults are the published model: DINOv2 ViT-S/14 and six predictor blocks; 3 frames of 196 patches."""

    family: Literal["dino-wm"] = "dino-wm"
    image_size: PositiveInt = 196
    """Side of frames as the backbone takes them, pixels; what is over a multiple of the patch size is not looked at."""
    resized_from: PositiveInt = 224
    """Side to which frames are brought before that, pixels; the same where they are resized once."""
    patch_size: PositiveInt = 14
    pixel_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Of pixels in 0..1."""
    pixel_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    backbone_dim: PositiveInt = 384
    backbone_depth: PositiveInt = 12
    backbone_heads: PositiveInt = 6
    backbone_mlp_width: PositiveInt = 1536
    backbone_norm_eps: PositiveFloat = 1e-6
    backbone_activation: Activation = "gelu"
    backbone_qkv_bias: bool = True
    embeddings: tuple[Embedding, ...]
    """In the order in which they follow the pixels' features."""
    positions: PositiveInt = 3
    """Frames that the predictor has positions for."""
    window: PositiveInt = 3
    """Most frames that a rollout shows to the predictor."""
    predictor_depth: PositiveInt = 6
    predictor_heads: PositiveInt = 16
    predictor_head_dim: PositiveInt = 64
    predictor_mlp_width: PositiveInt = 2048
    proprioception_weight: NonNegativeFloat = 1.0
    """What a squared difference of embedded proprioception costs beside one of the pixels' features."""
    proprioception_patches: Literal["first", "all"] = "first"
    """Where a prediction's proprioception is read: it is predicted at every patch."""
    action: ActionSpec
    goal_metric: GoalMetric
    planner: PlannerDefaults

    @property
    def patches(self) -> int:
        """Patches `P` of a frame."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Patches, each its features and then the embedded proprioception of the frame; what is done is no part."""
        return self.patches, self.backbone_dim + sum(part.width for part in self.sensed)

    @property
    def feature_dim(self) -> int:
        """Width of the backbone."""
        return self.backbone_dim

    @property
    def sensed(self) -> tuple[Embedding, ...]:
        """Embeddings of proprioception."""
        return tuple(part for part in self.embeddings if part.name != ACTION)

    @property
    def done(self) -> Embedding:
        """The embedding of actions."""
        return next(part for part in self.embeddings if part.name == ACTION)

    @property
    def attention_width(self) -> int:
        """Width of the predictor's queries, keys and values, all heads."""
        return self.predictor_heads * self.predictor_head_dim

    @property
    def attention_projected(self) -> bool:
        """Whether a linear layer follows the predictor's heads; not after one head as wide as its tokens."""
        return self.predictor_heads > 1 or self.predictor_head_dim != self.latent_shape[1] + self.done.width

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.context_length > self.window or self.window > self.positions:
            raise ValueError(f"context_length must be at most {self.window} frames, and those at most {self.positions}")
        if self.image_size < self.patch_size or self.backbone_dim % self.backbone_heads:
            raise ValueError("patch_size must fit into image_size, and backbone_heads divide backbone_dim")
        if [part.name for part in self.embeddings].count(ACTION) != 1 or self.done.inputs != self.block_dim:
            raise ValueError(f"one embedding must be of actions and take {self.block_dim} numbers")
        if sum(part.inputs for part in self.sensed) != len(self.proprioception):
            raise ValueError(f"proprioception must have {sum(part.inputs for part in self.sensed)} axes")
        return self

    def columns(self) -> list[int]:
        """Where the reference keeps each column of the latents, and then each of the embedded action."""
        places, start = {}, self.backbone_dim
        for part in self.embeddings:
            places[part.name], start = list(range(start, start + part.width)), start + part.width
        last = places.pop(ACTION)
        return [*range(self.backbone_dim), *(column for columns in places.values() for column in columns), *last]
