"""LeWM and PLDM checkpoints as stable-worldmodel and their authors publish them: ``config.json`` and ``weights.pt``.

All sizes but the numbers of heads are those of the tensors. Statistics and bounds of the actions are in no checkpoint.
"""

from pathlib import Path

from wmserve.world import PlannerDefaults

from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.families.lewm.weights import older_name, write
from wmserve_export.families.published import Facts, Published

PLANNER = PlannerDefaults(
    algorithm="cem", horizon=5, candidate_count=300, iterations=30, elite_count=30, receding_horizon=5
)
"""The released code's: CEM 300 x 30, and all five model steps executed."""
VIT_HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16}
"""Heads of the encoder by the size that ``config.json`` names."""


def adopt(family: str, source: Published, facts: Facts, folder: Path) -> None:
    """Write it as a checkpoint of this project; FamilyError says what is missing or does not fit."""
    weights = {older_name(name): tensor.contiguous() for name, tensor in source.tensors.items()}
    config = configuration(family, Published(weights, source.settings, source.attributes), facts)
    write(folder, config, weights)


def configuration(family: str, source: Published, facts: Facts) -> LewmConfig:
    """Sizes of the tensors, heads of the settings, the rest of the facts."""
    dim, _, patch, _ = source.shape("encoder.embeddings.patch_embeddings.projection.weight")
    patches = source.shape("encoder.embeddings.position_embeddings")[1] - 1
    action_width, block_dim, _ = source.shape("action_encoder.patch_embed.weight")
    action = facts.fitting_action(block_dim)
    heads = source.number("heads of the predictor", "predictor.heads", "predictor.transformer.layers.0.attn.heads")
    layer, block = "encoder.encoder.layer", "predictor.transformer.layers"
    return LewmConfig(
        family=family,
        name=facts.name,
        description=facts.description,
        image_size=patch * round(patches**0.5),
        patch_size=patch,
        latent_dim=dim,
        encoder_depth=source.layers(layer),
        encoder_heads=encoder_heads(source),
        encoder_mlp_width=source.shape(f"{layer}.0.intermediate.dense.weight")[0],
        projector_width=source.shape("projector.net.0.weight")[0],
        action_width=action_width,
        action_mlp_scale=source.shape("action_encoder.embed.0.weight")[0] // dim,
        window=source.shape("predictor.pos_embedding")[1],
        predictor_depth=source.layers(block),
        predictor_heads=heads,
        predictor_head_dim=source.shape(f"{block}.0.attn.to_qkv.weight")[0] // (3 * heads),
        predictor_mlp_width=source.shape(f"{block}.0.mlp.net.1.weight")[0],
        context_length=facts.context_length,
        action=action,
        planner=facts.planner or PLANNER,
    )


def encoder_heads(source: Published) -> int:
    """By the encoder's size, as the authors' settings have it (a LeWM's, then a PLDM's), else by their number."""
    encoder = source.settings.get("encoder")
    sizes = (encoder.get("size") if isinstance(encoder, dict) else None, source.settings.get("encoder_scale"))
    for size in sizes:
        if size in VIT_HEADS:
            return VIT_HEADS[size]
    return source.number(
        "heads of the encoder", "encoder.config.num_attention_heads", "encoder.config.num_attention_heads"
    )
