"""A small LeWM of stable-worldmodel's own modules, by the settings that its `save_pretrained` writes as config.json."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from loadtest.own_world.collect import IMAGE

IMAGENET = (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))
"""Mean and deviation of pixels."""
WINDOW = 3
"""Frames that the predictor sees."""
WIDTH, DEPTH, HEADS = 96, 3, 4
MODULES = "stable_worldmodel.wm.lewm.module"


def settings(action_numbers: int, patch: int) -> dict[str, Any]:
    """What the peer's `config.json` holds: a size by name, and keywords beside it that override it.

    Frames are cut into patches of `patch` x `patch` pixels.
    """
    projector = {
        "_target_": f"{MODULES}.MLP",
        "input_dim": WIDTH,
        "hidden_dim": 3 * WIDTH,
        "output_dim": WIDTH,
        "norm_fn": {"_target_": "hydra.utils.get_class", "path": "torch.nn.BatchNorm1d"},
    }
    return {
        "_target_": "stable_worldmodel.wm.lewm.LeWM",
        "encoder": {
            "_target_": "stable_pretraining.backbone.utils.vit_hf",
            "size": "tiny",
            "patch_size": patch,
            "image_size": IMAGE,
            "pretrained": False,
            "use_mask_token": False,
            "hidden_size": WIDTH,
            "num_hidden_layers": DEPTH,
            "num_attention_heads": HEADS,
            "intermediate_size": 2 * WIDTH,
        },
        "predictor": {
            "_target_": f"{MODULES}.Predictor",
            "num_frames": WINDOW,
            "depth": 3,
            "heads": 4,
            "dim_head": 48,
            "mlp_dim": 4 * WIDTH,
            "input_dim": WIDTH,
            "hidden_dim": WIDTH,
            "output_dim": WIDTH,
            "dropout": 0.0,
        },
        "action_encoder": {
            "_target_": f"{MODULES}.Embedder",
            "input_dim": action_numbers,
            "smoothed_dim": action_numbers,
            "emb_dim": WIDTH,
        },
        "projector": projector,
        "pred_proj": projector,
    }


def build(config: dict[str, Any]) -> nn.Module:
    """The model of these settings, with fresh weights."""
    from hydra.utils import instantiate

    encoder = vit(**{name: value for name, value in config["encoder"].items() if name != "_target_"})
    model: nn.Module = instantiate(
        {name: value for name, value in config.items() if name != "encoder"}, encoder=encoder
    )
    return model


def vit(size: str, pretrained: bool, use_mask_token: bool, **sizes: int) -> nn.Module:
    """The encoder that `vit_hf` of stable-pretraining makes of these keywords; that package need not be installed."""
    from transformers import ViTConfig, ViTModel

    if pretrained or size != "tiny":
        raise ValueError(f"this example trains a vit of size tiny from nothing, not {size} (pretrained {pretrained})")
    return ViTModel(ViTConfig(**sizes), add_pooling_layer=False, use_mask_token=use_mask_token)


def pixels(frames: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Frames `[..., 3, h, w]` uint8 as the encoder takes them."""
    return (frames.float() / 255.0 - mean[:, None, None]) / std[:, None, None]


def read(folder: Path) -> nn.Module:
    """A trained model of its folder."""
    model = build(json.loads((folder / "config.json").read_text()))
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return model.eval()


def statistics(world: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of pixels in 0..1 that a world.json says; ImageNet's where it says none."""
    said = world.get("pixels")
    return IMAGENET if said is None else (torch.tensor(said["mean"]), torch.tensor(said["std"]))
