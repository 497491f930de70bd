"""Exports that must be refused: a checkpoint's weights under settings that it was not trained with.

What config.json says wrong is wrong for the peer's package, too. So each is held against examples of the trained model
itself, as a user gives them with `wmserve export --check`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loadtest.own_world import lewm
from loadtest.own_world.recordings import BLOCK, Episodes

Settings = dict[str, Any]
EXAMPLES, STEPS = 8, 1


def write_pairs(checkpoint: Path, episodes: Episodes, out: Path) -> None:
    """Examples of what the peer's own model answers to recorded episodes."""
    world = json.loads((checkpoint / "world.json").read_text())
    starts = episodes.starts()
    rows = starts[torch.linspace(0, len(starts) - 1, EXAMPLES).long()]
    frames = episodes.frames[rows[:, None] + torch.arange(lewm.WINDOW) * BLOCK].permute(0, 1, 3, 4, 2)
    actions = episodes.actions[rows[:, None] + torch.arange((lewm.WINDOW - 1 + STEPS) * BLOCK)]
    latents, predicted = answers(lewm.read(checkpoint), world, frames, actions)
    np.savez(out, observations=frames.numpy(), actions=actions.numpy(), latents=latents, predicted=predicted)


@torch.no_grad()
def answers(model: nn.Module, world: Settings, frames: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Latents `[M, T, D]` of frames `[M, T, h, w, 3]` uint8, and those after each model step beyond them."""
    axes = world["action"]["axes"]
    mean, std = (torch.tensor([axis[name] for axis in axes]) for name in ("mean", "std"))
    blocks = ((actions - mean) / std).reshape(len(actions), -1, BLOCK * len(axes))
    pixels = lewm.pixels(frames.permute(0, 1, 4, 2, 3), *lewm.statistics(world))
    first = model.encode({"pixels": pixels})["emb"]
    info = {"pixels": pixels[:, None], "emb": first[:, None]}
    rolled: Tensor = model.rollout(info, blocks[:, None])["predicted_emb"][:, 0]
    return first, rolled[:, first.shape[1] :]


def heads(config: Settings, world: Settings) -> None:
    """Half the encoder's heads: every shape fits."""
    del world
    config["encoder"]["num_attention_heads"] //= 2


def predictor_heads(config: Settings, world: Settings) -> None:
    """Half the predictor's heads, twice as wide: every shape fits."""
    del world
    config["predictor"]["heads"] //= 2
    config["predictor"]["dim_head"] *= 2


def activation(config: Settings, world: Settings) -> None:
    """ReLU in the encoder where training had GELU."""
    del world
    config["encoder"]["hidden_act"] = "relu"


def normalisation(config: Settings, world: Settings) -> None:
    """Pixels as they are, where training normalised them."""
    del config
    world["pixels"] = {"mean": [0.0] * 3, "std": [1.0] * 3}


def action_statistics(config: Settings, world: Settings) -> None:
    """Actions as they are, where training standardised them."""
    del config
    for axis in world["action"]["axes"]:
        axis["mean"], axis["std"] = 0.0, 1.0


BREAKS: tuple[Callable[[Settings, Settings], None], ...] = (
    heads,
    predictor_heads,
    activation,
    normalisation,
    action_statistics,
)


def broken(checkpoint: Path, out: Path) -> list[Path]:
    """A copy of the checkpoint's folder for each wrong setting, of that name."""
    found = []
    for change in BREAKS:
        folder = out / change.__name__
        shutil.copytree(checkpoint, folder)
        config, world = (json.loads((folder / name).read_text()) for name in ("config.json", "world.json"))
        change(config, world)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "world.json").write_text(json.dumps(world))
        found.append(folder)
    return found
