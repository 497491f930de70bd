"""Weights of a LeWM: the names and shapes of the reference's state dict, and what fuses layers for inference.

A checkpoint holds exactly the tensors of ``stable_worldmodel.wm.lewm.LeWM.state_dict()``. The encoder is Hugging
Face's ViT, whose tensors were renamed in transformers 5; both spellings are read.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.lewm.config import LewmConfig, Projection

WEIGHTS_FILE = "weights.safetensors"
LAYER_NORM_EPS = 1e-5
SHOWN = 4
"""Names that a message lists; a checkpoint of another model has hundreds."""

Weights = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

LAYER = re.compile(r"^encoder\.layers\.(\d+)\.")
RENAMED = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
"""Parts of an encoder layer: their name since transformers 5, and the one before, which is used here."""


def read(folder: Path, config: LewmConfig) -> Weights:
    """The tensors of a checkpoint by the reference's names; FamilyError names those that are missing or strange."""
    weights = {older_name(name): tensor for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
    return fitting(weights, shapes(config))


def read_fitting(folder: Path, wanted: Shapes) -> Weights:
    """The tensors of a checkpoint of any family; FamilyError names those that are missing or strange."""
    return fitting(load_file(folder / WEIGHTS_FILE), wanted)


def write(folder: Path, config: BaseModel, weights: Weights) -> None:
    """Make a folder a checkpoint of this project: a family's configuration, and its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n")
    save_file(dict(weights), folder / WEIGHTS_FILE)


def fitting(weights: Weights, wanted: Shapes) -> Weights:
    """These tensors, if they are those that are wanted; FamilyError names those that are missing or strange."""
    refuse(wanted.keys() - weights.keys(), "lacks")
    refuse(weights.keys() - wanted.keys(), "has unknown")
    misshapen = {name for name, shape in wanted.items() if tuple(weights[name].shape) != shape}
    refuse(misshapen, "has, in a shape that does not fit its configuration,")
    return weights


def refuse(names: Iterable[str], what: str) -> None:
    """FamilyError if there are such names."""
    listed = sorted(names)
    if listed:
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise FamilyError(f"{WEIGHTS_FILE} {what} {', '.join(listed[:SHOWN])}{more}")


def older_name(name: str) -> str:
    """The name that transformers 4 gives a tensor of the encoder; other names stay."""
    match = LAYER.match(name)
    if match is None:
        return name
    part, _, kind = name[match.end() :].rpartition(".")
    return f"encoder.encoder.layer.{match[1]}.{RENAMED.get(part, part)}.{kind}"


def shapes(config: LewmConfig) -> Shapes:
    """Names and shapes of every tensor; for the defaults 303 tensors."""
    dim, width = config.latent_dim, config.action_width
    hidden = config.action_mlp_scale * dim
    readout = linear("readout", dim, len(config.readouts)) if config.readouts else {}
    return {
        **encoder_shapes(config),
        **projector_shapes("projector.net", config.projector, config.encoder_width, dim),
        "action_encoder.patch_embed.weight": (width, config.block_dim, 1),
        "action_encoder.patch_embed.bias": (width,),
        **linear("action_encoder.embed.0", width, hidden),
        **linear("action_encoder.embed.2", hidden, dim),
        **predictor_shapes(config),
        **projector_shapes("pred_proj.net", config.predictor_projector, config.predicted_width, dim),
        **readout,
    }


def encoder_shapes(config: LewmConfig) -> Shapes:
    """Hugging Face's ``ViTModel`` without pooler and mask token."""
    dim, patch = config.encoder_width, config.patch_size
    found: Shapes = {
        "encoder.embeddings.cls_token": (1, 1, dim),
        "encoder.embeddings.position_embeddings": (1, (config.image_size // patch) ** 2 + 1, dim),
        "encoder.embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
        "encoder.embeddings.patch_embeddings.projection.bias": (dim,),
        **norm("encoder.layernorm", dim),
    }
    for index in range(config.encoder_depth):
        layer = f"encoder.encoder.layer.{index}"
        for part in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
            found |= linear(f"{layer}.{part}", dim, dim)
            if not config.encoder_qkv_bias:
                del found[f"{layer}.{part}.bias"]
        found |= linear(f"{layer}.attention.output.dense", dim, dim)
        found |= linear(f"{layer}.intermediate.dense", dim, config.encoder_mlp_width)
        found |= linear(f"{layer}.output.dense", config.encoder_mlp_width, dim)
        found |= norm(f"{layer}.layernorm_before", dim) | norm(f"{layer}.layernorm_after", dim)
    return found


def predictor_shapes(config: LewmConfig) -> Shapes:
    """The reference's ``Predictor`` of AdaLN-zero blocks."""
    latents, dim, width = config.latent_dim, config.predictor_width, config.attention_width
    found: Shapes = {
        "predictor.pos_embedding": (1, config.window, latents),
        **norm("predictor.transformer.norm", dim),
    }
    if dim != latents:
        found |= linear("predictor.transformer.input_proj", latents, dim)
        found |= linear("predictor.transformer.cond_proj", latents, dim)
    if dim != config.predicted_width:
        found |= linear("predictor.transformer.output_proj", dim, config.predicted_width)
    for index in range(config.predictor_depth):
        block = f"predictor.transformer.layers.{index}"
        found |= {**norm(f"{block}.attn.norm", dim), f"{block}.attn.to_qkv.weight": (3 * width, dim)}
        found |= linear(f"{block}.attn.to_out.0", width, dim) if config.attention_projected else {}
        found |= norm(f"{block}.mlp.net.0", dim)
        found |= linear(f"{block}.mlp.net.1", dim, config.predictor_mlp_width)
        found |= linear(f"{block}.mlp.net.4", config.predictor_mlp_width, dim)
        found |= linear(f"{block}.adaLN_modulation.1", dim, 6 * dim)
    return found


def projector_shapes(name: str, projection: Projection | None, inputs: int, outputs: int) -> Shapes:
    """A linear layer, a norm, an activation, a linear layer; or nothing."""
    if projection is None:
        return {}
    hidden = projection.width
    found = linear(f"{name}.0", inputs, hidden) | linear(f"{name}.3", hidden, outputs)
    if projection.norm != "none":
        found |= norm(f"{name}.1", hidden)
    if projection.norm == "batch":
        found |= {f"{name}.1.running_mean": (hidden,), f"{name}.1.running_var": (hidden,)}
        found |= {f"{name}.1.num_batches_tracked": ()}
    return found


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    """Tensors of a linear layer."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Shapes:
    """Affine parameters of a normalisation."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
