"""DINO-WM as stable-worldmodel has it, with its backbone in the checkpoint."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from wmserve.world import ActionSpec, Axis

from wmserve_export.families.facts import Facts
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, Statistics
from wmserve_export.families.published import Published
from wmserve_export.pairs import Pairs
from wmserve_export.peers import NoPeerError
from wmserve_export.peers.building import called, load, module_of, part, prepared, settings_of
from wmserve_export.peers.stable_worldmodel import CausalPredictor, PatchEmbedder, PreJEPA, blocks, scored, spread

ACTION = "action"
UNUSED = ("decoder.", "backbone.embeddings.mask_token", "backbone.classifier.")
HEADS = {"small": 6, "base": 12, "large": 16}
"""Of the DINOv2 that a name loads."""


@dataclass(frozen=True)
class DinoWmPeer:
    """A ``PreJEPA``."""

    model: Any
    side: int
    pixels: tuple[Statistics, Statistics]
    action: ActionSpec
    proprioception: tuple[Axis, ...]

    def answers(self, given: Pairs) -> Pairs:
        """Latents of the frames' patches with what was felt there, and those after each model step."""
        assert given.observations is not None, "it looks at frames"
        assert given.actions is not None, "it knows actions"
        info, known = {"pixels": prepared(given.observations, self.pixels)}, given.observations.shape[1]
        if given.proprioception is not None:
            widths = {name: self.model.extra_encoders[name].in_chans for name in self.sensed}
            info |= spread(scored(given.proprioception, self.proprioception), widths)
        with torch.inference_mode():
            latents = self.model.encode(dict(info), emb_keys=self.sensed)["emb"].flatten(2)
            asked = {name: value[:, None] for name, value in info.items()}
            copy.copy(self.model).rollout(asked, blocks(given.actions, self.action)[:, None])
        predicted = asked["predicted_embedding"][:, 0, known:][..., self.columns()].flatten(2)
        return replace(given, latents=latents, predicted=predicted)

    @property
    def sensed(self) -> list[str]:
        """Names of what is felt."""
        return [name for name in self.model.extra_encoders if name != ACTION]

    def columns(self) -> list[int]:
        """Columns of a patch's latents, without those of actions."""
        start = self.model.backbone.config.hidden_size
        found = list(range(start))
        for name, encoder in self.model.extra_encoders.items():
            found += range(start, start + encoder.emb_dim) if name != ACTION else ()
            start += encoder.emb_dim
        return found


def build(family: str, source: Published, facts: Facts) -> DinoWmPeer:
    """The package's model from a checkpoint's settings and tensors."""
    del family  # one
    tensors = {name.replace("backbone.backbone.", "backbone."): tensor for name, tensor in source.tensors.items()}
    if not any(name.startswith("backbone.") for name in tensors):
        raise NoPeerError("checkpoints of dino_wm and jepa-wms are not of stable-worldmodel")
    settings = settings_of(source)
    names = [name.split(".")[1] for name in tensors if name.startswith("extra_encoders.")]
    # A file of safetensors has lost the order of modules; a converted module's settings have kept it.
    order = list(part(settings, "wm").get("encoding") or part(settings, "extra_encoders") or dict.fromkeys(names))
    encoders = {name: embedder(tensors, name) for name in order if name in names}
    predictor, patches = predictor_of(settings, tensors)
    model = PreJEPA(
        encoder=backbone(settings, tensors),
        predictor=predictor,
        extra_encoders=nn.ModuleDict(encoders),
        history_size=part(settings, "wm").get("history_size") or settings.get("history_size") or predictor.num_frames,
    )
    load(model, tensors, UNUSED)
    side = facts.image_size or settings.get("image_size") or model.backbone.config.patch_size * round(patches**0.5)
    pixels = source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD))
    return DinoWmPeer(model, side, pixels, facts.known_action(), facts.proprioception)


def backbone(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Hugging Face's DINOv2, by its own settings or the name that it was loaded by."""
    from transformers import Dinov2Config, Dinov2Model

    said = part(settings, "backbone")
    inner = said.get("config") or (said.get("backbone") or {}).get("config") or {}
    width, _, patch, _ = tensors["backbone.embeddings.patch_embeddings.projection.weight"].shape
    layers = {name.split(".")[3] for name in tensors if name.startswith("backbone.encoder.layer.")}
    known: dict[str, Any] = {"hidden_size": width, "patch_size": patch, "num_hidden_layers": len(layers)}
    known["mlp_ratio"] = len(tensors["backbone.encoder.layer.0.mlp.fc1.weight"]) / width
    known["image_size"] = patch * round((tensors["backbone.embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    known["qkv_bias"] = "backbone.encoder.layer.0.attention.attention.query.bias" in tensors
    name = said.get("name") or part(settings, "encoder").get("name")
    match = re.search(r"dinov2[-_](small|base|large)$", str(name))
    if "num_attention_heads" not in inner:
        if match is None:
            raise NoPeerError("config.json does not say which DINOv2 the backbone is, nor its heads")
        known["num_attention_heads"] = HEADS[match[1]]
    takes = ("num_attention_heads", "layer_norm_eps", "hidden_act", *known)
    stated = {key: value for key, value in inner.items() if key in takes}
    made: nn.Module = Dinov2Model(called(Dinov2Config, {**known, **stated}))
    return made


def predictor_of(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Any, int]:
    """The package's predictor, and the patches of a frame."""
    said, block = part(settings, "predictor"), "predictor.transformer.layers"
    _, places, width = tensors["predictor.pos_embedding"].shape
    mask = tensors.get(f"{block}.0.0.bias")
    if mask is None:
        raise NoPeerError("the checkpoint lacks the predictor's masks, which stable-worldmodel keeps in it")
    patches, attention = int(mask[0, 0, 0].sum()), tensors[f"{block}.0.0.to_qkv.weight"].shape[0]
    shown: dict[str, Any] = {
        "num_patches": patches,
        "num_frames": places // patches,
        "dim": width,
        "depth": len({name.split(".")[3] for name in tensors if name.startswith(f"{block}.")}),
        "mlp_dim": len(tensors[f"{block}.0.1.net.1.weight"]),
    }
    if carried := source_heads(said):  # of a converted module
        said.setdefault("heads", carried)
    if said.get("heads"):
        shown["dim_head"] = attention // (3 * said["heads"])
    elif said.get("dim_head"):
        shown["heads"] = attention // (3 * said["dim_head"])
    said.pop("size", None)
    return module_of(said, CausalPredictor, shown), patches


def source_heads(said: Mapping[str, Any]) -> int | None:
    """Heads that the attention of a converted predictor carried; None where nothing did."""
    for name in ("transformer", "layers", "0", "0"):
        said = part(said, name)
    return said.get("heads")


def embedder(tensors: Mapping[str, Tensor], name: str) -> nn.Module:
    """The package's embedding of actions or of what is felt."""
    width, inputs, _ = tensors[f"extra_encoders.{name}.patch_embed.weight"].shape
    made: nn.Module = PatchEmbedder(in_chans=inputs, emb_dim=width)
    return made
