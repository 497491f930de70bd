"""Trains a small LeWM on recorded episodes: stable-worldmodel's modules, its loss and its way to save them.

    python -m loadtest.own_world.train data.lance --name two_room_own --out checkpoint

The loss is LeWM's: the error of the next latents, predicted from up to three frames and their actions, and SIGReg on
all latents. A folder with `config.json` and `weights.pt` comes out, and a `world.json` with what no checkpoint says.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("LOGURU_LEVEL", "WARNING")

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import trange
from wmserve.torchvision import declare_operators

from loadtest.own_world import lewm
from loadtest.own_world.recordings import BLOCK, Episodes, read

PLANNER = {"horizon": 5, "candidate_count": 64, "iterations": 6, "elite_count": 8, "receding_horizon": 2}
"""A search that a CPU does in a fraction of a second; the published one is 300 candidates, 30 times, all 5 executed."""


@dataclass(frozen=True)
class Recipe:
    """What decides the outcome of a training."""

    steps: int
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-3
    sigreg: float = 0.09
    projections: int = 256
    seed: int = 0


def loss(model: nn.Module, sigreg: nn.Module, recipe: Recipe, frames: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """LeWM's loss on one batch of clips, and the part of it that is prediction."""
    encoded = model.encode({"pixels": frames, "action": actions})
    latents = encoded["emb"]
    error = (model.predict(latents[:, :-1], encoded["act_emb"]) - latents[:, 1:]).square().mean()
    return error + recipe.sigreg * sigreg(latents.transpose(0, 1)), error


def rate_at(done: float) -> float:
    """Share of the learning rate after this share of the steps: a short rise, then half a cosine."""
    return float(min(1.0, done / 0.03 + 0.05) * (0.5 + 0.5 * np.cos(np.pi * done)))


def train(model: nn.Module, episodes: Episodes, recipe: Recipe) -> dict[str, float]:
    """Train the model in place; the last figures, means of about twenty steps."""
    from stable_worldmodel.wm.loss import SIGReg

    torch.manual_seed(recipe.seed)
    sigreg = SIGReg(num_proj=recipe.projections)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step / recipe.steps))
    starts, known = episodes.starts(), episodes.known_actions()
    mean, std = known.mean(dim=0).repeat(BLOCK), known.std(dim=0).repeat(BLOCK)
    smooth = np.zeros(2)
    for step in (bar := trange(recipe.steps, desc="training", unit="step", mininterval=5)):
        frames, actions = episodes.clips(starts[torch.randint(len(starts), (recipe.batch,))])
        pixels = lewm.pixels(frames, *lewm.IMAGENET)
        total, error = loss(model, sigreg, recipe, pixels, (actions - mean) / std)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        blend = min(0.95, 1 - 1 / (step + 1))
        smooth = blend * smooth + (1 - blend) * np.array([total.item(), error.item()])
        bar.set_postfix(loss=f"{smooth[0]:.3f}", prediction=f"{smooth[1]:.4f}", refresh=False)
    return {"loss": float(smooth[0]), "prediction": float(smooth[1])}


def save(model: nn.Module, settings: dict[str, Any], folder: Path) -> None:
    """`config.json` and `weights.pt`, by the peer's `save_pretrained`, which puts them under a cache of its own."""
    from omegaconf import OmegaConf
    from stable_worldmodel.wm.utils import save_pretrained

    cache = folder.parent / ".cache"
    save_pretrained(model, folder.name, OmegaConf.create(settings), cache_dir=str(cache.absolute()))
    folder.mkdir(parents=True, exist_ok=True)
    for file in (cache / "checkpoints" / folder.name).iterdir():
        file.replace(folder / file.name)


def facts(name: str, actions: Tensor) -> dict[str, Any]:
    """What `wmserve export --world` asks for, with the statistics that training standardised actions `[M, A]` by."""
    mean, std = (values.tolist() for values in (actions.mean(dim=0), actions.std(dim=0)))
    axes = [
        {"name": f"action_{axis}", "unit": "1", "low": -1.0, "high": 1.0, "mean": mean[axis], "std": std[axis]}
        for axis in range(actions.shape[1])
    ]
    return {
        "name": name,
        "description": f"{name}: a small LeWM, trained with stable-worldmodel's own module on its own recordings.",
        "action": {"axes": axes, "action_block": BLOCK},
        "context_length": lewm.WINDOW,
        "planner": PLANNER,
    }


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="+")
    parser.add_argument("--name", required=True, help="name of the world")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--patch", type=int, default=16, help="pixels of a patch: 8 sees more, and takes longer")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # two are slower on a machine with two cores that does anything else
    declare_operators()
    episodes = read(options.dataset)
    recipe = Recipe(options.steps)
    torch.manual_seed(recipe.seed)
    settings = lewm.settings(BLOCK * episodes.actions.shape[1], options.patch)
    model = lewm.build(settings)
    figures = train(model, episodes, recipe)
    save(model, settings, options.out)
    world = facts(options.name, episodes.known_actions())
    (options.out / "world.json").write_text(json.dumps(world, indent=1) + "\n")
    print(json.dumps({"clips": len(episodes.starts()), "steps": options.steps, **figures}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
