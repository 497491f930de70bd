"""LeWM and PLDM checkpoints as stable-worldmodel and their authors publish them: ``config.json`` and ``weights.pt``.

Sizes are those of the tensors; what the settings say of them must agree. Heads, activations and norms are in no tensor:
they are read as the reference's constructors read them. Of its encoder, ``vit_hf(size, **settings)``, a size stands for
a width and a number of heads, and settings beside it count before it. Statistics and bounds of the actions are in no
checkpoint.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from wmserve.world import PlannerDefaults

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.activations import Activation, activation, named
from wmserve_export.families.facts import Facts
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD
from wmserve_export.families.lewm.config import LewmConfig, Projection
from wmserve_export.families.lewm.weights import older_name, write
from wmserve_export.families.published import Published

PLANNER = PlannerDefaults(
    algorithm="cem", horizon=5, candidate_count=300, iterations=30, elite_count=30, receding_horizon=5
)
"""The released code's: CEM 300 x 30, and all five model steps executed."""
VIT_SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12), "large": (1024, 16), "huge": (1280, 16)}
"""Width and heads of ``stable_pretraining.backbone.utils.vit_hf`` by the size that settings name."""
UNUSED = ("encoder.embeddings.mask_token", "encoder.pooler.")
"""What the encoder may have and no latents depend on."""
LAYER, BLOCK = "encoder.encoder.layer", "predictor.transformer.layers"
PATCHES = "encoder.embeddings.patch_embeddings.projection.weight"
POSITIONS = "encoder.embeddings.position_embeddings"
NORMS = {"batchnorm1d": "batch", "layernorm": "layer"}


def adopt(family: str, source: Published, facts: Facts, folder: Path) -> None:
    """Write it as a checkpoint of this project; FamilyError says what is missing or does not fit."""
    named = {older_name(name): tensor.contiguous() for name, tensor in source.tensors.items()}
    weights = {name: tensor for name, tensor in named.items() if not name.startswith(UNUSED)}
    config = configuration(family, Published(weights, source.settings, source.attributes), facts)
    weights[POSITIONS] = interpolated(weights[POSITIONS], config.image_size // config.patch_size)
    write(folder, config, weights)


def configuration(family: str, source: Published, facts: Facts) -> LewmConfig:
    """Sizes of the tensors, what they do not show of the settings, the rest of the facts."""
    width, channels, patch, _ = source.shape(PATCHES)
    source.agreed(channels, *encoder("num_channels"))
    source.agreed(patch, "patch_size", *encoder("patch_size"))
    if channels != 3:
        raise FamilyError(f"the encoder looks at {channels} channels; only frames of red, green and blue are read")
    action_width, block_dim, _ = source.shape("action_encoder.patch_embed.weight")
    dim = source.shape("action_encoder.embed.2.weight")[0]
    mean, std = source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD))
    sides = ("img_size", "image_size", *encoder("image_size"))
    return LewmConfig(
        family=family,
        name=facts.name,
        description=facts.description,
        image_size=source.side(facts, patch, source.shape(POSITIONS)[1] - 1, *sides),
        patch_size=patch,
        pixel_mean=mean,
        pixel_std=std,
        latent_dim=source.agreed(dim, "wm.embed_dim", "embed_dim", "action_encoder.emb_dim", "predictor.input_dim"),
        action_width=source.agreed(action_width, "action_encoder.smoothed_dim"),
        action_mlp_scale=source.shape("action_encoder.embed.0.weight")[0] // dim,
        context_length=facts.context_length,
        action=facts.fitting_action(block_dim),
        planner=facts.planner or PLANNER,
        **of_encoder(source, width),
        **of_predictor(source),
    )


def encoder(name: str) -> tuple[str, ...]:
    """Where settings and converted modules say something of the encoder."""
    return f"encoder.{name}", f"encoder.config.{name}", f"encoder.kwargs.{name}"


def of_encoder(source: Published, width: int) -> dict[str, Any]:
    """What is to be known of the encoder, and what follows it."""
    mlp = source.shape(f"{LAYER}.0.intermediate.dense.weight")[0]
    where, act = source.stated(*encoder("hidden_act"))
    return {
        "encoder_dim": source.agreed(width, *encoder("hidden_size"), "projector.input_dim"),
        "encoder_depth": source.agreed(source.layers(LAYER), *encoder("num_hidden_layers")),
        "encoder_heads": encoder_heads(source, width),
        "encoder_mlp_width": source.agreed(mlp, *encoder("intermediate_size")),
        "encoder_activation": "gelu" if act is None else activation(act, where),
        "encoder_norm_eps": source.positive(1e-12, *encoder("layer_norm_eps")),
        "encoder_qkv_bias": f"{LAYER}.0.attention.attention.query.bias" in source.tensors,
        "projector": projection(source, "projector"),
    }


def encoder_heads(source: Published, width: int) -> int:
    """By their number, else by the size that the settings name, if the encoder is as wide; FamilyError asks for it."""
    asked = encoder("num_attention_heads")
    where, size = source.stated("encoder.size", "encoder_scale")
    if source.stated(*asked)[1] is not None or size is None:
        return source.number("heads of the encoder", *asked)
    if size not in VIT_SIZES:
        raise FamilyError(f"{CONFIG_FILE} says {where} {size!r}, which nobody knows; say {asked[0]}")
    of_size, heads = VIT_SIZES[size]
    if of_size != width:
        raise FamilyError(
            f"{CONFIG_FILE} says {where} {size!r}, which is {of_size} wide, the tensors are {width} wide: "
            f"its heads are missing, {CONFIG_FILE} should have them as {asked[0]}"
        )
    return heads


def of_predictor(source: Published) -> dict[str, Any]:
    """What is to be known of the predictor, and what follows it."""
    attention, width = source.shape(f"{BLOCK}.0.attn.to_qkv.weight")
    window, mlp = source.shape("predictor.pos_embedding")[1], source.shape(f"{BLOCK}.0.mlp.net.1.weight")[0]
    heads, head_dim = predictor_heads(source, attention // 3)
    leave = "predictor.transformer.output_proj.weight"
    return {
        "window": source.agreed(window, "predictor.num_frames", "wm.history_size", "history_size"),
        "predictor_dim": source.agreed(width, "predictor.hidden_dim"),
        "predicted_dim": source.shape(leave)[0] if leave in source.tensors else width,
        "predictor_depth": source.agreed(source.layers(BLOCK), "predictor.depth"),
        "predictor_heads": heads,
        "predictor_head_dim": head_dim,
        "predictor_mlp_width": source.agreed(mlp, "predictor.mlp_dim"),
        "predictor_projector": projection(source, "pred_proj"),
    }


def predictor_heads(source: Published, width: int) -> tuple[int, int]:
    """Heads, and width of one, of so many numbers; FamilyError where nothing says them, or they make another number."""
    names = ("predictor.heads", "predictor.transformer.heads", f"{BLOCK}.0.attn.heads")
    (where, heads), head_dim = source.stated(*names), source.setting("predictor.dim_head")
    if heads is None and head_dim:
        heads = width // head_dim
    elif heads is None or not head_dim:
        heads = source.number("heads of the predictor", *names)
        head_dim = width // heads
    if heads * head_dim != width:
        raise FamilyError(
            f"{CONFIG_FILE} says {where or names[0]} {heads} and predictor.dim_head {head_dim}, "
            f"the tensors have {width} numbers for all heads: which is right?"
        )
    return heads, head_dim


def projection(source: Published, name: str) -> Projection | None:
    """What follows encoder or predictor; None for nothing. FamilyError where it is of layers that are not read."""
    first = f"{name}.net.0.weight"
    if first not in source.tensors:
        if any(other.startswith(f"{name}.") for other in source.tensors):
            raise FamilyError(f"{name} is no MLP of stable-worldmodel ({first} is missing): it cannot be exported")
        return None
    parts = {part for part in ("weight", "bias", "running_var") if f"{name}.net.1.{part}" in source.tensors}
    if parts not in (set(), {"weight", "bias"}, {"weight", "bias", "running_var"}):
        raise FamilyError(
            f"the norm of {name} has {', '.join(sorted(parts))}: only BatchNorm1d and LayerNorm, with weight and bias, "
            "and no norm at all can be exported"
        )
    norm = "batch" if "running_var" in parts else "layer" if parts else "none"
    said, options = named(source.setting(f"{name}.norm_fn") or "")
    if said and parts and NORMS.get(said.rpartition(".")[2].lower()) != norm:
        raise FamilyError(f"{CONFIG_FILE} says {name}.norm_fn {said}, the tensors have a {norm} norm: which is right?")
    eps = {"norm_eps": float(options["eps"])} if "eps" in options else {}
    eps = eps or {"norm_eps": source.positive(1e-5, f"{name}.net.1.eps")}
    width = source.agreed(source.shape(first)[0], f"{name}.hidden_dim")
    return Projection(width=width, norm=norm, activation=activation_of(source, name), **eps)


def activation_of(source: Published, name: str) -> Activation:
    """Of a projection: of the settings or of a converted module, else what the reference's ``MLP`` has by default."""
    where, said = source.stated(f"{name}.act_fn", f"{name}.net.2.type")
    return "gelu" if said is None else activation(said, where)


def interpolated(positions: Tensor, side: int) -> Tensor:
    """Positions `[1, 1 + P, C]` for `side x side` patches, by Hugging Face's ``interpolate_pos_encoding``."""
    before = round((positions.shape[1] - 1) ** 0.5)
    if before == side:
        return positions
    grid = torch.unflatten(positions[:, 1:].float(), 1, (before, before)).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1].float(), grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
