"""The `ijepa` family: the encoder of I-JEPA (arXiv 2301.08243), which knows no actions: it encodes, and no more.

    frames -> resize to a square -> patches + positions -> layers -> norm -> latents, one of `C` for each patch

A checkpoint is a ``config.json`` (:class:`IJepaConfig`) and the encoder's tensors as ``weights.safetensors``, under the
names that the authors' code gives them; ``adopting`` makes one of theirs or of Hugging Face's.

Frames are resized whole to a square, antialiased. The authors' evaluations cut one out of the middle: a caller whose
frames are far from square does that first.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from wmserve_export.families import CONFIG_FILE, Described
from wmserve_export.families.activations import Activation
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, patch_layer, reduce_frames
from wmserve_export.families.lewm.weights import Shapes, Weights, norm, read_fitting
from wmserve_export.families.vit import LAYER_NORM_EPS, Layer, layer_shapes, norm_layer


class IJepaConfig(Described):
    """Sizes; those of the published ViT-H/14 are 1280, 32, 16 and 5120 at 224 pixels."""

    family: Literal["ijepa"] = "ijepa"
    image_size: PositiveInt
    patch_size: PositiveInt
    latent_dim: PositiveInt
    """Width `C` of the encoder and of the latents of one patch."""
    depth: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt
    qkv_bias: bool = True
    layer_norm_eps: PositiveFloat = LAYER_NORM_EPS
    activation: Activation = "gelu"
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of pixels in 0..1: ImageNet's, as the authors' training uses it."""
    pixel_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = IMAGENET_STD

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Rows and columns of patches, and their width."""
        side = self.image_size // self.patch_size
        return (side, side, self.latent_dim)

    @property
    def feature_dim(self) -> int:
        """A patch's width: features are a mean over patches."""
        return self.latent_dim

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.image_size < self.patch_size or self.latent_dim % self.heads:
            raise ValueError("patch_size must fit into image_size, and heads divide latent_dim")
        return self


class IJepa(nn.Module):
    """A world of the `ijepa` family."""

    positions: Tensor

    def __init__(self, config: IJepaConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        weight, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
        self.patches = patch_layer(weight, bias, config.pixel_mean, config.pixel_std)
        self.register_buffer("positions", weights["pos_embed"].float())
        self.layers = nn.ModuleList(
            Layer(weights, f"blocks.{index}", config.heads, config.layer_norm_eps, activation=config.activation)
            for index in range(config.depth)
        )
        self.norm = norm_layer(weights, "norm", config.layer_norm_eps)

    def encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 of any size -> latents `[B, T, D]`, and features `[B, T, C]`.

        Features are what the last norm sees, mean over patches.
        """
        pixels = reduce_frames(observations.flatten(0, 1), self.config.image_size)
        tokens = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        latents, features = self.norm(tokens).flatten(1), tokens.mean(dim=1)
        return latents.unflatten(0, observations.shape[:2]), features.unflatten(0, observations.shape[:2])

    def readout(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> `[..., 0]`: nothing is read from them."""
        return latents[..., :0]


def shapes(config: IJepaConfig) -> Shapes:
    """Names and shapes of every tensor."""
    width, patch = config.latent_dim, config.patch_size
    found: Shapes = {
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "pos_embed": (1, (config.image_size // patch) ** 2, width),
        **norm("norm", width),
    }
    for index in range(config.depth):
        found |= layer_shapes(f"blocks.{index}", width, config.mlp_width, config.qkv_bias)
    return found


def load(folder: Path) -> IJepa:
    """Read a checkpoint folder; safetensors only, nothing that runs code when read."""
    config = IJepaConfig.model_validate_json((folder / CONFIG_FILE).read_text())
    return IJepa(config, read_fitting(folder, shapes(config))).eval()
