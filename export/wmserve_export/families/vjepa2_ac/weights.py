"""Weights of a V-JEPA 2-AC: the names and shapes of the authors' encoder and predictor.

Their checkpoint holds one thing more, an ``extrinsics_encoder`` of camera poses that the published model does not use.
"""

from wmserve_export.families.lewm.weights import Shapes, linear, norm
from wmserve_export.families.vit import layer_shapes
from wmserve_export.families.vjepa2_ac.config import POSE, VJepa2AcConfig

TUBELET = 2
"""Frames of which the encoder makes one: here one frame, twice."""


def shapes(config: VJepa2AcConfig) -> Shapes:
    """Names and shapes of every tensor."""
    width, narrow, patch = config.latent_dim, config.predictor_dim, config.patch_size
    found: Shapes = {
        "encoder.patch_embed.proj.weight": (width, 3, TUBELET, patch, patch),
        "encoder.patch_embed.proj.bias": (width,),
        **norm("encoder.norm", width),
        **linear("predictor.predictor_embed", width, narrow),
        **linear("predictor.action_encoder", len(POSE), narrow),
        **norm("predictor.predictor_norm", narrow),
        **linear("predictor.predictor_proj", narrow, width),
    }
    if config.knows_pose:
        found |= linear("predictor.state_encoder", len(POSE), narrow)
    for index in range(config.depth):
        found |= layer_shapes(f"encoder.blocks.{index}", width, config.mlp_width, qkv_bias=True)
    for index in range(config.predictor_depth):
        name = f"predictor.predictor_blocks.{index}"
        found |= layer_shapes(name, narrow, config.predictor_mlp_width, qkv_bias=True)
    return found
