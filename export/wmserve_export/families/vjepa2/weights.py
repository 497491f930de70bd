"""Weights of a V-JEPA 2: the names and shapes of the authors' encoder and predictor."""

from wmserve_export.families.lewm.weights import Shapes, linear, norm
from wmserve_export.families.vit import layer_shapes
from wmserve_export.families.vjepa2.config import VJepa2Config


def shapes(config: VJepa2Config) -> Shapes:
    """Names and shapes of every tensor."""
    width, patch, narrow = config.latent_dim, config.patch_size, config.predictor_dim
    found: Shapes = {
        "encoder.patch_embed.proj.weight": (width, 3, config.tubelet_size, patch, patch),
        "encoder.patch_embed.proj.bias": (width,),
        **norm("encoder.norm", width),
        **linear("predictor.predictor_embed", width, narrow),
        **{f"predictor.mask_tokens.{index}": (1, 1, narrow) for index in range(config.mask_tokens)},
        **norm("predictor.predictor_norm", narrow),
        **linear("predictor.predictor_proj", narrow, width),
    }
    for index in range(config.depth):
        found |= layer_shapes(f"encoder.blocks.{index}", width, config.mlp_width, config.qkv_bias)
    for index in range(config.predictor_depth):
        name = f"predictor.predictor_blocks.{index}"
        found |= layer_shapes(name, narrow, config.predictor_mlp_width, config.qkv_bias)
    return found
