"""V-JEPA 2-AC checkpoints with random weights, of any size, in the format of its authors and in this project's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from wmserve.world import ActionSpec
from wmserve_export.families.lewm.weights import write
from wmserve_export.families.vjepa2_ac.config import CONVENTIONS, POSE, UNITS, VJepa2AcConfig, axis, pose_readouts
from wmserve_export.families.vjepa2_ac.weights import shapes

REACH = {"x": (0.2, 0.8), "y": (-0.4, 0.4), "z": (0.0, 0.6)}
"""Metres in front of, beside and above a robot's foot."""
FURTHEST = 0.15
"""Metres, radians and closedness of one such action."""
PROPRIOCEPTION = tuple(
    axis(name, unit, *({**REACH, **CONVENTIONS}[name])) for name, unit in zip(POSE, UNITS, strict=True)
)


def full_size(context_length: int = 1) -> VJepa2AcConfig:
    """The published sizes."""
    return VJepa2AcConfig(
        name="vjepa2_ac_random",
        description="A V-JEPA 2-AC with random weights, for measurements.",
        context_length=context_length,
        proprioception=PROPRIOCEPTION,
        readouts=pose_readouts(PROPRIOCEPTION),
    )


def small(context_length: int = 1, name: str = "vjepa2_ac_small", image_size: int = 48) -> VJepa2AcConfig:
    """Small enough for tests; no two sizes alike."""
    return full_size(context_length).model_copy(
        update={
            "name": name,
            "description": "A small V-JEPA 2-AC with random weights, for tests.",
            "image_size": image_size,
            "latent_dim": 32,
            "depth": 2,
            "heads": 2,
            "mlp_width": 56,
            "predictor_dim": 48,
            "predictor_depth": 2,
            "predictor_heads": 3,
            "predictor_mlp_width": 72,
        }
    )


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """One tensor, drawn so that activations keep their size from layer to layer, and nothing is zero or one."""
    noise = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        # An action moves by centimetres: it counts as much as the pose, or plans would hardly differ.
        usual = 0.05 if name == "predictor.action_encoder.weight" else 1.0
        return noise * torch.Size(shape[1:]).numel() ** -0.5 / usual
    return 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)


def random_weights(config: VJepa2AcConfig, seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by name, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: draw(name, shape, generator) for name, shape in shapes(config).items()}


def save(config: VJepa2AcConfig, folder: Path, weights: dict[str, Tensor]) -> Path:
    """Write a checkpoint folder of this project."""
    write(folder, config, weights)
    return folder


def published(weights: dict[str, Tensor]) -> dict[str, Any]:
    """The content of the authors' ``vjepa2-ac-vitg.pt``: with what they leave in it, and their prefixes."""
    width, narrow = len(weights["encoder.norm.weight"]), len(weights["predictor.predictor_norm.weight"])
    named = {
        "encoder": {f"module.backbone.{name}": tensor for name, tensor in of(weights, "encoder").items()},
        "predictor": {f"module.{name}": tensor for name, tensor in of(weights, "predictor").items()},
    }
    named["encoder"]["module.backbone.pos_embed"] = torch.zeros(1, 8, width)
    named["predictor"]["module.extrinsics_encoder.weight"] = torch.zeros(narrow, 6)
    named["predictor"]["module.extrinsics_encoder.bias"] = torch.zeros(narrow)
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    return {**named, "opt": optimiser, "target_encoder": dict(named["encoder"]), "scaler": None, "epoch": 315}


def save_apart(weights: dict[str, Tensor], folder: Path, settings: Mapping[str, object]) -> None:
    """Write what users of jepa-wms have: its predictor, and V-JEPA 2's own file, which has another predictor."""
    content = published(weights)
    predictor = {name.replace("state_enc", "proprio_enc"): t for name, t in content["predictor"].items()}
    torch.save({"encoder": content["encoder"], "predictor": {"mask_token": torch.zeros(1)}}, folder / "vitg.pt")
    torch.save({"predictor": predictor, "action_encoder": None, "epoch": 315}, folder / "droid.pth.tar")
    files = {"encoder": "vitg.pt", "predictor": "droid.pth.tar"}
    (folder / "config.json").write_text(json.dumps({**settings, "files": files}))


def moves() -> dict[str, object]:
    """What is said of another robot's actions: it may move and turn further than the authors' planner lets it."""
    axes = (axis(f"delta_{name}", unit, -FURTHEST, FURTHEST) for name, unit in zip(POSE, UNITS, strict=True))
    return ActionSpec(axes=tuple(axes)).model_dump(mode="json")


def reach() -> list[dict[str, object]]:
    """What is asked for: axes of the gripper's place."""
    return [axis.model_dump() for axis in PROPRIOCEPTION[: len(REACH)]]


def of(weights: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """Tensors of a module by their names in it."""
    return {n.removeprefix(f"{module}."): tensor for n, tensor in weights.items() if n.startswith(f"{module}.")}
