"""DINO-WM as its authors and jepa-wms publish it, made of stable-worldmodel's modules, which have their arithmetic."""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from wmserve_export import convert

IMAGE, SIZE = 24, 21
"""Sides to which dino_wm brings frames, one after the other, pixels."""
GRID, KNOWN_GRID = 3, 5
"""Patches along a side, and positions that the backbone was trained with."""
WEIGHT = 0.1
"""What jepa-wms takes a squared difference of proprioception for."""


def modules(model: nn.Module) -> dict[str, nn.Module]:
    """The parts of a model by their authors' names."""
    encoders = {"action": "action_encoder", "proprio": "proprio_encoder"}
    return {"predictor": model.predictor, **{encoders[name]: part for name, part in model.extra_encoders.items()}}


def pickled(model: nn.Module) -> dict[str, Any]:
    """What dino_wm's trainer saves."""
    optimiser = torch.optim.AdamW(model.predictor.parameters())
    return {"epoch": 3, "predictor_optimizer": optimiser, **modules(model)}


def states(model: nn.Module) -> dict[str, Any]:
    """What that of jepa-wms does."""
    optimiser = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    wrapped = {
        name: {f"module.{key}": tensor for key, tensor in part.state_dict().items()}
        for name, part in modules(model).items()
    }
    return {**wrapped, "opt": optimiser, "epoch": 50}


def converted(model: nn.Module, folder: Path) -> Path:
    """A checkpoint of dino_wm, its modules converted, with its settings and its backbone beside."""
    torch.save(pickled(model), folder / "model_3.pth")
    out = folder / "converted"
    assert convert.inside(argparse.Namespace(checkpoint=folder / "model_3.pth", out=out)) == 0
    (out / "hydra.yaml").write_text(f"img_size: {IMAGE}\nframeskip: 5\nnum_hist: 3\n")
    model.backbone.save_pretrained(out / "backbone")
    return out


def jepa_wms(model: nn.Module, folder: Path) -> Path:
    """A checkpoint of jepa-wms with its backbone beside, and settings, since these sizes are not the published."""
    torch.save(states(model), folder / "pt_dino-wm.pth.tar")
    (folder / "config.json").write_text(json.dumps({"img_size": IMAGE, "predictor": {"heads": 2}}))
    model.backbone.save_pretrained(folder / "backbone")
    return folder / "pt_dino-wm.pth.tar"


def as_authors(model: nn.Module, window: int = 3) -> nn.Module:
    """The model as both compute it: positions interpolated by a scale, as by ``torch.hub``'s copy of DINOv2."""
    changed = copy.deepcopy(model)
    embeddings = changed.backbone.embeddings
    grid = embeddings.position_embeddings[:, 1:].unflatten(1, (KNOWN_GRID, KNOWN_GRID)).movedim(-1, 1)
    scale = (GRID + 0.1) / KNOWN_GRID
    patches = nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic").flatten(2).mT
    embeddings.position_embeddings = nn.Parameter(torch.cat([embeddings.position_embeddings[:, :1], patches], dim=1))
    changed.history_size = window
    return changed


def halved(frames: Tensor) -> Tensor:
    """Frames `[..., h, w, 3]` uint8 as both prepare them: two resizes, mean and standard deviation 0.5."""
    pixels = frames.movedim(-1, -3).flatten(0, -4) / 255.0
    for size in (IMAGE, SIZE):
        pixels = nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return ((pixels - 0.5) / 0.5).unflatten(0, frames.shape[:-3])


def cost(predicted: Tensor, goal: Tensor, width: int) -> Tensor:
    """What jepa-wms searches by: latents `[..., P, C]`, of which the first `width` columns are the pixels' features."""
    squared = (predicted - goal).square()
    return squared[..., :width].mean(dim=(-2, -1)) + WEIGHT * squared[..., width:].mean(dim=(-2, -1))
