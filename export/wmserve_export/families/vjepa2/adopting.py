"""V-JEPA 2 checkpoints as their authors and Hugging Face publish them.

    *.pt                               the project's own: encoder, predictor, maybe target_encoder and more
    config.json, model.safetensors     of transformers' ``VJEPA2Model``, or of a classifier, whose head is left out

Of the project's own files ``encoder`` is taken, as its hub does (``src/hub/backbones.py``), and as those did who made
Hugging Face's files; ``target_encoder`` where there is no other. Their absolute positions are left out: V-JEPA 2 does
not use them.

Such a file has no settings. Those that the authors published for its width are known; a ``config.json`` beside it, with
Hugging Face's names, says others.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD
from wmserve_export.families.lewm.weights import write
from wmserve_export.families.published import Facts, Published
from wmserve_export.families.vit import activation_of, epsilon, fused_qkv
from wmserve_export.families.vjepa2.config import VJepa2Config

SETTINGS: Mapping[int, Mapping[str, int]] = {
    1024: {"num_attention_heads": 16, "crop_size": 256},
    1280: {"num_attention_heads": 16, "crop_size": 256},
    1408: {"num_attention_heads": 22},
}
"""By the encoder's width: vit_large, vit_huge and vit_giant_xformers of ``src/models/vision_transformer.py``, sizes of
frames by ``src/hub/backbones.py``. The last is published for 256 and for 384 pixels."""
PREDICTOR_SETTINGS: Mapping[int, Mapping[str, int]] = {384: {"pred_num_attention_heads": 12}}
"""By the predictor's width: ``src/hub/backbones.py``."""
FRAMES = {"frames_per_clip": 64}
"""As there, of all."""
PATCHES, EMBEDDING = "encoder.patch_embed.proj.weight", "predictor.predictor_embed.weight"
POSITIONS = ("encoder.pos_embed", "predictor.predictor_pos_embed")
CLASSIFIER = ("pooler.", "classifier.")
"""What Hugging Face's classifiers have besides."""
RENAMED = (
    ("encoder.embeddings.patch_embeddings.", "encoder.patch_embed."),
    ("encoder.layer.", "encoder.blocks."),
    ("encoder.layernorm.", "encoder.norm."),
    ("predictor.embeddings.predictor_embeddings.", "predictor.predictor_embed."),
    ("predictor.layer.", "predictor.predictor_blocks."),
    ("predictor.layernorm.", "predictor.predictor_norm."),
    ("predictor.proj.", "predictor.predictor_proj."),
    (".attention.", ".attn."),
)
"""Parts of Hugging Face's names and what the authors say; its list of mask tokens is one tensor."""
MASK_TOKENS = "predictor.embeddings.mask_tokens"


def adopt(family: str, source: Published, facts: Facts, folder: Path) -> None:
    """Write it as a checkpoint of this project; FamilyError says what is missing or does not fit."""
    facts.refuse_action(family)
    own = own_names(source.tensors)
    weights = own or huggingface_names(source.tensors)
    found = Published(weights, source.settings, source.attributes)
    config = configuration(found, published_settings(found) if own else {}, facts)
    write(folder, config, weights)


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the project's own files encoder and predictor, without what their trainer wraps around them; nothing else."""
    bare = {re.sub(r"\.(module|backbone)\b", "", name): tensor for name, tensor in tensors.items()}
    if PATCHES not in bare:
        bare = {re.sub(r"^target_encoder\.", "encoder.", name): tensor for name, tensor in bare.items()}
    if PATCHES not in bare:
        return {}
    return {
        name: tensor.contiguous()
        for name, tensor in bare.items()
        if name.startswith(("encoder.", "predictor.")) and name not in POSITIONS
    }


def huggingface_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers' model by the authors' names."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        known = name.removeprefix("vjepa2.")
        if known == MASK_TOKENS:
            found |= {f"predictor.mask_tokens.{index}": token.clone() for index, token in enumerate(tensor)}
        elif not known.startswith(CLASSIFIER):
            for theirs, authors in RENAMED:
                known = known.replace(theirs, authors)
            found[known] = tensor
    return fused_qkv(found)


def published_settings(source: Published) -> dict[str, int]:
    """What the authors published for models of these widths."""
    width, narrow = source.shape(PATCHES)[0], source.shape(EMBEDDING)[0]
    return {**SETTINGS.get(width, {}), **PREDICTOR_SETTINGS.get(narrow, {}), **FRAMES}


def configuration(source: Published, known: Mapping[str, Any], facts: Facts) -> VJepa2Config:
    """Sizes of the tensors, what those do not show of the settings or of what is known, the rest of the facts."""
    settings = Published(source.tensors, {**known, **source.settings}, {})

    def number(what: str, setting: str) -> int:
        return settings.number(what, setting)

    width, _, tubelet, patch, _ = source.shape(PATCHES)
    block, predictor_block = "encoder.blocks", "predictor.predictor_blocks"
    given = "context_length" in facts.model_fields_set
    mlp, narrow = source.shape(f"{block}.0.mlp.fc1.weight")[0], source.shape(EMBEDDING)[0]
    mean, std = source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD))
    sides = "the sides of frames, pixels (published are 256 and 384),"
    return VJepa2Config(
        name=facts.name,
        description=facts.description,
        image_size=facts.image_size or number(sides, "crop_size"),
        patch_size=source.agreed(patch, "patch_size"),
        tubelet_size=source.agreed(tubelet, "tubelet_size"),
        context_length=facts.context_length if given else number("the frames of a clip", "frames_per_clip"),
        latent_dim=source.agreed(width, "hidden_size"),
        depth=source.agreed(source.layers(block), "num_hidden_layers"),
        heads=number("heads of the encoder", "num_attention_heads"),
        mlp_width=mlp,
        predictor_dim=source.agreed(narrow, "pred_hidden_size"),
        predictor_depth=source.agreed(source.layers(predictor_block), "pred_num_hidden_layers"),
        predictor_heads=number("heads of the predictor", "pred_num_attention_heads"),
        predictor_mlp_width=source.shape(f"{predictor_block}.0.mlp.fc1.weight")[0],
        mask_tokens=source.agreed(source.layers("predictor.mask_tokens"), "pred_num_mask_tokens"),
        qkv_bias=f"{block}.0.attn.qkv.bias" in source.tensors,
        layer_norm_eps=epsilon(source),
        activation=activation_of(source),
        pixel_mean=mean,
        pixel_std=std,
    )
