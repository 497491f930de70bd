"""The formats of DINO-WM checkpoints, and what the code that each comes from fixes beside its tensors.

    stable-worldmodel   ``PreJEPA``'s state dict, backbone included; ImageNet's statistics and one resize
                        (its ``scripts/train/prejepa.py``)
    dino_wm             its modules (``checkpoints/model_N.pth``), after ``wmserve convert``; mean and standard
                        deviation 0.5, frames brought to 224 pixels and then to 14 for every 16
                        (``datasets/img_transforms.py``, ``models/visual_world_model.py``)
    jepa-wms            state dicts of its modules (``.pth.tar``); 0.5, too, frames of 224 pixels and two of them in a
                        rollout's window (``configs/evals/simu_env_planning/*/dino-wm``)

A setting ``objective.alpha``, as in dino_wm's ``conf/plan.yaml``, is what a difference of proprioception costs; else
the published weight counts, 1 in the first two and 0.1 in jepa-wms.

The latter two keep their backbone elsewhere, as it was published: Hugging Face's copy of it is read from a folder
``backbone`` beside the checkpoint. They interpolate its positions by a scale, stable-worldmodel to a size, which is not
the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from wmserve.world import PlannerDefaults

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.dino_wm.config import ACTION
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, Statistics
from wmserve_export.families.published import Published, read

BACKBONE_FOLDER = "backbone"
IMAGENET = IMAGENET_MEAN, IMAGENET_STD
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
POSITIONS = "backbone.embeddings.position_embeddings"
NOT_NEEDED = ("decoder.", "backbone.embeddings.mask_token", "backbone.classifier.")
RENAMED = {
    "action_encoder.": "extra_encoders.action.",
    "proprio_encoder.": "extra_encoders.proprio.",
    "state_encoder.": "extra_encoders.proprio.",
    "backbone.backbone.": "backbone.",
}
"""Prefixes: those of the authors' modules, an older one of theirs, and what stable-pretraining wraps a backbone in."""
ORDER = ("proprio", ACTION)
HEAD_DIM = 64
"""Of the predictor of dino_wm and of jepa-wms (``dim_head``)."""
PLANNER = PlannerDefaults(horizon=5, candidate_count=300, iterations=30, elite_count=30, receding_horizon=5)
"""``conf/plan_pusht.yaml`` of dino_wm, and stable-worldmodel's ``scripts/plan/config``: CEM, all steps executed."""
JEPA_WMS_PLANNER = PLANNER.model_copy(update={"horizon": 6, "elite_count": 10, "receding_horizon": 6})
"""Of its Push-T, PointMaze and Wall."""


@dataclass(frozen=True)
class Format:
    """A checkpoint by the names that are used here, and what its code fixes."""

    source: Published
    pixel_mean: Statistics
    pixel_std: Statistics
    resized_from: int | None
    """None where frames are brought to the backbone's size at once."""
    window: int | None
    """None for as many frames as the predictor has positions for."""
    proprioception_weight: float
    proprioception_patches: Literal["first", "all"]
    planner: PlannerDefaults
    order: tuple[str, ...]
    """Names of what follows the pixels' features."""
    head_dim: int | None
    """Width of the predictor's heads that the code fixes where settings say nothing; None where it fixes none."""
    kludge: float
    """Added to a grid's side where the backbone's positions are interpolated by a scale; 0 where to a size."""

    def positions(self, side: int) -> Tensor:
        """The backbone's positions `[1, 1 + P, C]` for a grid of patches, interpolated as by the format's own code."""
        known = self.source.tensors[POSITIONS].float()
        before = round((known.shape[1] - 1) ** 0.5)
        if before == side:
            return known
        grid = torch.unflatten(known[:, 1:], 1, (before, before)).permute(0, 3, 1, 2)
        if self.kludge:
            scale = (side + self.kludge) / before
            grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        else:
            grid = functional.interpolate(grid, size=(side, side), mode="bicubic")
        return torch.cat([known[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def recognise(source: Published) -> Format:
    """Of which format a checkpoint is; FamilyError where it is of none, or lacks its backbone."""
    tensors = renamed(source.tensors)
    ours = replace(source, tensors=tensors)
    if "predictor.pos_embedding" not in tensors:
        raise FamilyError("the checkpoint lacks predictor.pos_embedding; is it of this family?")
    if any(name.startswith("backbone.") for name in tensors):
        window = source.setting("wm.history_size", "history_size")
        if any(part in name for name in tensors for part in (".weights_in.", ".weights_out.")):
            raise FamilyError("the backbone's MLPs are SwiGLU, as dinov2-giant's: that is not read")
        named = source.setting("wm.encoding", "extra_encoders.modules") or ()
        order = ours.order("extra_encoders", named, "wm.encoding")
        return Format(ours, *IMAGENET, None, window, 1.0, "first", PLANNER, order, head_dim=None, kludge=0.0)
    if any(name.startswith("encoder.") for name in tensors):
        raise FamilyError("the checkpoint has an encoder of its own, trained with it: only DINOv2 as published is read")
    ours, alpha = with_backbone(ours), source.setting("objective.alpha")
    of_modules = Format(
        ours,
        *HALF,
        source.setting("img_size") or 224,
        None,
        1.0,
        "first",
        PLANNER,
        ORDER,
        head_dim=HEAD_DIM,
        kludge=0.1,
    )
    if not source.attributes:
        of_modules = replace(
            of_modules, window=2, proprioception_weight=0.1, proprioception_patches="all", planner=JEPA_WMS_PLANNER
        )
    return of_modules if alpha is None else replace(of_modules, proprioception_weight=alpha)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that are used here, without those that rollouts have no use for."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for prefix, ours in RENAMED.items():
            if name.startswith(prefix):
                name = ours + name.removeprefix(prefix)
        if not name.startswith(NOT_NEEDED):
            found[name] = tensor
    return found


def with_backbone(source: Published) -> Published:
    """Add the backbone that lies beside a checkpoint, and its settings as ``backbone.config``."""
    folder = source.file.parent / BACKBONE_FOLDER
    if not folder.is_dir():
        raise FamilyError(
            f"the checkpoint does not hold its DINOv2: put Hugging Face's copy, such as facebook/dinov2-small "
            f"({CONFIG_FILE} and model.safetensors), into a folder {BACKBONE_FOLDER} beside {source.file.name}"
        )
    backbone = read(folder)
    tensors = {f"backbone.{name.removeprefix('dinov2.')}": tensor for name, tensor in backbone.tensors.items()}
    settings = {**source.settings, "backbone": {"config": backbone.settings}}
    return replace(source, tensors={**source.tensors, **renamed(tensors)}, settings=settings)
