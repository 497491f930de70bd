"""LeWM checkpoints with random weights, of any size: for tests and benchmarks where no trained one can be had.

python -m loadtest.lewm_checkpoint FOLDER
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from wmserve.world import ActionSpec, Axis, PlannerDefaults
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.families.lewm.weights import shapes, write

ACTION = ActionSpec(
    axes=tuple(Axis(name=f"move_{axis}", unit="1", low=-1.0, high=1.0, mean=0.1, std=0.5) for axis in ("x", "y")),
    action_block=5,
)
PLANNER = PlannerDefaults(horizon=5, candidate_count=300, iterations=10, elite_count=30, receding_horizon=5)


def full_size(context_length: int = 1) -> LewmConfig:
    """The published sizes."""
    return LewmConfig(
        name="lewm_random",
        description="A LeWM with random weights, for measurements.",
        context_length=context_length,
        action=ACTION,
        planner=PLANNER,
    )


def small(context_length: int = 1, name: str = "lewm_small") -> LewmConfig:
    """Small enough for tests; no two sizes alike."""
    return LewmConfig(
        name=name,
        description="A small LeWM with random weights, for tests.",
        image_size=28,
        patch_size=7,
        latent_dim=24,
        encoder_depth=2,
        encoder_heads=3,
        encoder_mlp_width=40,
        projector_width=48,
        action_width=7,
        predictor_depth=2,
        predictor_heads=4,
        predictor_head_dim=8,
        predictor_mlp_width=56,
        context_length=context_length,
        action=ACTION,
        planner=PLANNER,
    )


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """One tensor, drawn so that activations keep their size from layer to layer.

    The reference begins training with AdaLN at zero, which makes the predictor deaf to actions: here it is drawn too.
    """
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    noise = torch.randn(shape, generator=generator)
    if name.endswith("running_var"):
        return 1.0 + 0.5 * torch.rand(shape, generator=generator)
    if len(shape) > 1:
        embedding = name.endswith(("cls_token", "position_embeddings", "pos_embedding"))
        return noise * (0.5 if embedding else torch.Size(shape[1:]).numel() ** -0.5)
    gain = name.endswith("weight")
    return noise * 0.1 + gain


def random_weights(config: LewmConfig, seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: draw(name, shape, generator) for name, shape in shapes(config).items()}


def save(config: LewmConfig, folder: Path, weights: dict[str, Tensor] | None = None) -> Path:
    """Write a checkpoint folder; without weights, random ones."""
    write(folder, config, random_weights(config) if weights is None else weights)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    save(full_size(), parser.parse_args().folder)
