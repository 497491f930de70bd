"""I-JEPA checkpoints as their authors and Hugging Face publish them.

    *.pth.tar                          the project's own: encoder, predictor, target_encoder and more
    config.json, model.safetensors     of transformers' ``IJepaModel``, or of a classifier, whose head is left out

Of the two encoders in the project's own files, the target encoder is taken, whose outputs the predictor learns to
predict (``src/train.py``), and which the paper evaluates; its weights are a moving average of the other's. The files
that Hugging Face has were made of the other: latents of the two formats of one release are not the same.

All sizes but the number of heads are those of the tensors, and what ``config.json`` says of them must agree; heads are
those of ``config.json`` or, in the project's own files, those that its code gives to a model of this width.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wmserve_export.families.ijepa import IJepaConfig
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD
from wmserve_export.families.lewm.weights import older_name, write
from wmserve_export.families.published import Facts, Published
from wmserve_export.families.vit import activation_of, epsilon, fused_qkv

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""By width: ``src/models/vision_transformer.py`` of facebookresearch/ijepa, from vit_tiny to vit_giant."""
HUGGING_FACE_EPS = 1e-12
"""What ``IJepaConfig`` has where a config.json says nothing of it."""
PATCHES = "patch_embed.proj.weight"
OWN = ("target_encoder.", "encoder.", "")
"""Where the project's own files have the encoder, what is taken first."""
HEADS_OF_OTHERS = ("classifier.", "pooler.", "embeddings.mask_token")
"""What Hugging Face's models have besides the encoder."""
RENAMED = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.position_embeddings", "pos_embed"),
    ("encoder.layer.", "blocks."),
    (".attention.attention.", ".attn."),
    (".attention.output.dense.", ".attn.proj."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
    ("layernorm.", "norm."),
)
"""Parts of Hugging Face's names and what the authors say, in the order in which they are replaced."""


def adopt(family: str, source: Published, facts: Facts, folder: Path) -> None:
    """Write it as a checkpoint of this project; FamilyError says what is missing or does not fit."""
    facts.refuse_action(family)
    own = own_names(source.tensors)
    weights = own or huggingface_names(source.tensors)
    found = Published(weights, source.settings, source.attributes)
    write(folder, configuration(found, HEADS if own else {}, facts), weights)


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the project's own files the encoder's tensors; nothing where it is none."""
    for prefix in OWN:
        if f"{prefix}{PATCHES}" in tensors:
            return {
                name.removeprefix(prefix): tensor.contiguous()
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
    return {}


def huggingface_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers' model by the authors' names."""
    found = {}
    for name, tensor in tensors.items():
        known = older_name(f"encoder.{name.removeprefix('ijepa.')}").removeprefix("encoder.")
        if known.startswith(HEADS_OF_OTHERS):
            continue
        for theirs, authors in RENAMED:
            known = known.replace(theirs, authors)
        found[known] = tensor
    return fused_qkv(found)


def configuration(source: Published, known: Mapping[int, int], facts: Facts) -> IJepaConfig:
    """Sizes of the tensors, heads of the settings or those known by width, the rest of the facts."""
    width, _, patch, _ = source.shape(PATCHES)
    named, mlp = "num_attention_heads", source.shape("blocks.0.mlp.fc1.weight")[0]
    heads = known.get(width) if source.setting(named) is None else None
    mean, std = source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD))
    return IJepaConfig(
        name=facts.name,
        description=facts.description,
        image_size=source.fixed_side(facts, patch, source.shape("pos_embed")[1], "image_size"),
        patch_size=source.agreed(patch, "patch_size"),
        latent_dim=source.agreed(width, "hidden_size"),
        depth=source.agreed(source.layers("blocks"), "num_hidden_layers"),
        heads=heads or source.number("heads of the encoder", named),
        mlp_width=source.agreed(mlp, "intermediate_size"),
        qkv_bias="blocks.0.attn.qkv.bias" in source.tensors,
        layer_norm_eps=epsilon(source) if known else epsilon(source, HUGGING_FACE_EPS),
        activation=activation_of(source),
        pixel_mean=mean,
        pixel_std=std,
        context_length=facts.context_length,
    )
