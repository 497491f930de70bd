"""Weights of a DINO-WM: names and shapes of the tensors that a checkpoint of this project holds.

They are those of ``stable_worldmodel.wm.prejepa.PreJEPA.state_dict()`` around Hugging Face's ``Dinov2Model``, but for
masks of attention, which are all alike, and for the backbone's positions, which are those of the frames' own grid.
"""

from wmserve_export.families.dino_wm.config import DinoWmConfig
from wmserve_export.families.lewm.weights import Shapes, linear, norm


def shapes(config: DinoWmConfig) -> Shapes:
    """Names and shapes of every tensor."""
    found = backbone_shapes(config) | predictor_shapes(config)
    for part in config.embeddings:
        name = f"extra_encoders.{part.name}.patch_embed"
        found |= {f"{name}.weight": (part.width, part.inputs, 1), f"{name}.bias": (part.width,)}
    return found


def backbone_shapes(config: DinoWmConfig) -> Shapes:
    """Hugging Face's ``Dinov2Model``, without what masks patches."""
    dim, patch = config.backbone_dim, config.patch_size
    found: Shapes = {
        "backbone.embeddings.cls_token": (1, 1, dim),
        "backbone.embeddings.position_embeddings": (1, config.patches + 1, dim),
        "backbone.embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
        "backbone.embeddings.patch_embeddings.projection.bias": (dim,),
        **norm("backbone.layernorm", dim),
    }
    for index in range(config.backbone_depth):
        layer = f"backbone.encoder.layer.{index}"
        for part in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
            found |= linear(f"{layer}.{part}", dim, dim)
            if not config.backbone_qkv_bias:
                del found[f"{layer}.{part}.bias"]
        found |= linear(f"{layer}.attention.output.dense", dim, dim)
        found |= linear(f"{layer}.mlp.fc1", dim, config.backbone_mlp_width)
        found |= linear(f"{layer}.mlp.fc2", config.backbone_mlp_width, dim)
        found |= norm(f"{layer}.norm1", dim) | norm(f"{layer}.norm2", dim)
        found |= {f"{layer}.layer_scale1.lambda1": (dim,), f"{layer}.layer_scale2.lambda1": (dim,)}
    return found


def predictor_shapes(config: DinoWmConfig) -> Shapes:
    """The reference's ``CausalPredictor``."""
    dim, width = config.latent_shape[1] + config.done.width, config.attention_width
    found: Shapes = {
        "predictor.pos_embedding": (1, config.positions * config.patches, dim),
        **norm("predictor.transformer.norm", dim),
    }
    for index in range(config.predictor_depth):
        attention, mlp = (f"predictor.transformer.layers.{index}.{part}" for part in (0, 1))
        found |= {**norm(f"{attention}.norm", dim), f"{attention}.to_qkv.weight": (3 * width, dim)}
        found |= linear(f"{attention}.to_out.0", width, dim) if config.attention_projected else {}
        found |= norm(f"{mlp}.net.0", dim)
        found |= linear(f"{mlp}.net.1", dim, config.predictor_mlp_width)
        found |= linear(f"{mlp}.net.4", config.predictor_mlp_width, dim)
    return found
