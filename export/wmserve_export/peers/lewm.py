"""LeWM and PLDM of stable-worldmodel."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from wmserve.world import ActionSpec

from wmserve_export.families.facts import Facts
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, Statistics
from wmserve_export.families.lewm.weights import older_name
from wmserve_export.families.published import Published
from wmserve_export.pairs import Pairs
from wmserve_export.peers import NoPeerError
from wmserve_export.peers.building import (
    instantiated,
    load,
    looked_up,
    module_of,
    part,
    prepared,
    settings_of,
    vit_hf,
)
from wmserve_export.peers.stable_worldmodel import MLP, PLDM, Embedder, LeWM, Predictor, blocks

UNUSED = ("encoder.embeddings.mask_token", "encoder.pooler.")
OF_CONFIG = frozenset(
    ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps")
) | {"image_size", "patch_size", "num_channels", "qkv_bias"}
"""What ``ViTConfig`` knows and makes a difference when nothing is trained."""


@dataclass(frozen=True)
class LewmPeer:
    """A LeWM or PLDM."""

    model: Any
    side: int
    pixels: tuple[Statistics, Statistics]
    action: ActionSpec

    def answers(self, given: Pairs) -> Pairs:
        """Latents of the frames, and those after each model step."""
        assert given.observations is not None, "it looks at frames"
        assert given.actions is not None, "it knows actions"
        pixels, known = prepared(given.observations, self.pixels), given.observations.shape[1]
        info = {"pixels": pixels[:, None]}
        with torch.inference_mode():
            latents = self.model.encode({"pixels": pixels})["emb"]
            self.model.rollout(info, blocks(given.actions, self.action)[:, None])
        return replace(given, latents=latents, predicted=info["predicted_emb"][:, 0, known:])


def build(family: str, source: Published, facts: Facts) -> LewmPeer:
    """The package's model from a checkpoint's settings and tensors."""
    settings = settings_of(source)
    tensors = {older_name(name): tensor for name, tensor in source.tensors.items()}
    model = (PLDM if family == "pldm" else LeWM)(
        encoder=encoder(settings, tensors),
        predictor=predictor(settings, tensors),
        action_encoder=action_encoder(settings, tensors),
        projector=projection(settings, tensors, "projector"),
        pred_proj=projection(settings, tensors, "pred_proj"),
    )
    own = {older_name(name): name for name in model.state_dict()}
    load(model, {own.get(name, name): tensor for name, tensor in tensors.items()}, UNUSED)
    side = facts.image_size or model.encoder.config.image_size
    return LewmPeer(model, side, source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD)), facts.known_action())


def encoder(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Hugging Face's ViT, as settings describe it or, where they name its size alone, as trainings make it."""
    said = part(settings, "encoder")
    patches = tensors["encoder.embeddings.patch_embeddings.projection.weight"].shape
    shown: dict[str, Any] = {"use_mask_token": "encoder.embeddings.mask_token" in tensors}
    if "_target_" not in said:
        inner = {key: value for key, value in (said.pop("config", None) or {}).items() if key in OF_CONFIG}
        said = {key: value for key, value in {**said, **inner}.items() if key in OF_CONFIG | {"size"}}
        for theirs, ours in (("encoder_scale", "size"), ("patch_size", "patch_size"), ("img_size", "image_size")):
            if settings.get(theirs) is not None:
                said.setdefault(ours, settings[theirs])
        patch, places = patches[-1], tensors["encoder.embeddings.position_embeddings"].shape[1]
        shown |= {"patch_size": patch, "image_size": patch * round((places - 1) ** 0.5)}
        if "size" not in said:
            if "num_attention_heads" not in said:
                raise NoPeerError("config.json says neither the encoder's size nor its heads")
            layers = {name.split(".")[3] for name in tensors if name.startswith("encoder.encoder.layer.")}
            shown |= {"hidden_size": patches[0], "num_hidden_layers": len(layers)}
            shown["intermediate_size"] = len(tensors["encoder.encoder.layer.0.intermediate.dense.weight"])
            shown["qkv_bias"] = "encoder.encoder.layer.0.attention.attention.query.bias" in tensors
    return module_of(said, vit_hf, shown)


def predictor(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """The package's predictor."""
    said, block = part(settings, "predictor"), "predictor.transformer.layers"
    attention, hidden = tensors[f"{block}.0.attn.to_qkv.weight"].shape
    _, frames, width = tensors["predictor.pos_embedding"].shape
    leave = tensors.get("predictor.transformer.output_proj.weight")
    shown: dict[str, Any] = {
        "num_frames": frames,
        "input_dim": width,
        "hidden_dim": hidden,
        "output_dim": hidden if leave is None else len(leave),
        "depth": len({name.split(".")[3] for name in tensors if name.startswith(f"{block}.")}),
        "mlp_dim": len(tensors[f"{block}.0.mlp.net.1.weight"]),
    }
    if said.get("heads"):
        shown["dim_head"] = attention // (3 * said["heads"])
    elif said.get("dim_head"):
        shown["heads"] = attention // (3 * said["dim_head"])
    return module_of(said, Predictor, shown)


def action_encoder(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """The package's embedding of actions."""
    smoothed, inputs, _ = tensors["action_encoder.patch_embed.weight"].shape
    width, hidden = tensors["action_encoder.embed.2.weight"].shape
    shown = {"input_dim": inputs, "smoothed_dim": smoothed, "emb_dim": width, "mlp_scale": hidden // width}
    return module_of(settings.get("action_encoder"), Embedder, shown)


def projection(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Any:
    """The package's MLP after encoder or predictor; None where there is none."""
    if f"{name}.net.0.weight" not in tensors:
        return None
    said = part(settings, name)
    hidden, inputs = tensors[f"{name}.net.0.weight"].shape
    norm = nn.BatchNorm1d if f"{name}.net.1.running_var" in tensors else nn.LayerNorm
    shown: dict[str, Any] = {
        "input_dim": inputs,
        "hidden_dim": hidden,
        "output_dim": len(tensors[f"{name}.net.3.weight"]),
        "norm_fn": norm if f"{name}.net.1.weight" in tensors else None,
    }
    if carried := ((said.get("net") or {}).get("2") or {}).get("type"):  # of a converted module
        shown["act_fn"] = looked_up(f"torch.nn.{str(carried).rpartition('.')[2]}")
    for key in ("norm_fn", "act_fn"):
        if isinstance(said.get(key), str):
            said[key] = looked_up(said[key])
        elif said.get(key) is not None:
            said[key] = instantiated(said[key])
    return module_of(said, MLP, shown)
