"""What is needed to build a V-JEPA 2, and what the contract says of the world."""

from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from wmserve_export.families import Described
from wmserve_export.families.activations import Activation
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD
from wmserve_export.families.vit import LAYER_NORM_EPS


class VJepa2Config(Described):
    """Sizes; those of the published ViT-L are 1024, 24, 16 and 4096, its predictor's 384, 12, 12 and 1536."""

    family: Literal["vjepa2"] = "vjepa2"
    image_size: PositiveInt
    patch_size: PositiveInt
    tubelet_size: PositiveInt
    context_length: PositiveInt
    """Frames of a clip: exactly so many, since the graphs depend on it."""
    latent_dim: PositiveInt
    """Width `C` of the encoder and of the latents of one patch."""
    depth: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt
    predictor_dim: PositiveInt
    predictor_depth: PositiveInt
    predictor_heads: PositiveInt
    predictor_mlp_width: PositiveInt
    mask_tokens: PositiveInt
    qkv_bias: bool = True
    layer_norm_eps: PositiveFloat = LAYER_NORM_EPS
    activation: Activation = "gelu"
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of pixels in 0..1: ImageNet's, as the authors' training uses it."""
    pixel_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = IMAGENET_STD

    @property
    def side(self) -> int:
        """Rows of patches, and as many columns."""
        return self.image_size // self.patch_size

    @property
    def tubelets(self) -> int:
        """Tubelets `L` of a clip."""
        return self.context_length // self.tubelet_size

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Rows and columns of patches, and their width."""
        return (self.side, self.side, self.latent_dim)

    @property
    def feature_dim(self) -> int:
        """A patch's width: features are a mean over patches."""
        return self.latent_dim

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.context_length % self.tubelet_size:
            raise ValueError(
                f"context_length {self.context_length} does not fit: a clip has a multiple of {self.tubelet_size} "
                "frames (tubelet_size), such as the checkpoint's frames_per_clip"
            )
        if self.image_size % self.patch_size:
            raise ValueError("patch_size must divide image_size")
        if self.latent_dim % (2 * self.heads) or self.predictor_dim % (2 * self.predictor_heads):
            raise ValueError("heads must divide latent_dim, predictor_heads predictor_dim, into even widths")
        return self
