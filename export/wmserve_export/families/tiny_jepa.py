"""The `tiny_jepa` family: the published weights of tiny-jepa (PyPI, MIT), an MLP world model of 32 x 32 grey frames.

A checkpoint is a folder with the package's own ``.npz`` file and a ``config.json``: ``{"family": "tiny_jepa"}``, which
may also give ``name`` and ``description``.

The model knows five moves: stay, up, down, left, right. Here an action is where to move, (x, y) in pixels, and the
nearest of the five is taken. Observed frames may be in colour and of any size: their mean over channels is seen.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from wmserve.world import ActionSpec, Axis, GoalMetric, PlannerDefaults, Readout

from wmserve_export.examples import EXAMPLES_FILE
from wmserve_export.families import CONFIG_FILE, Described, FamilyError
from wmserve_export.families.images import reduce_frames

CANVAS, PATCH, LATENT_DIM, FEATURE_DIM, SPEED = 32, 8, 32, 64, 2.0
MOVES = ((0.0, 0.0), (0.0, -SPEED), (0.0, SPEED), (-SPEED, 0.0), (SPEED, 0.0))
"""(x, y) in pixels, by the index that the predictor was trained with; y points down."""
LAYERS = {"enc": 3, "pred": 2, "pellet": 2, "agenth": 2}
"""The networks that are served, and their linear layers."""


class TinyJepaConfig(Described):
    """What the contract says of the world; sizes are those of the package."""

    family: str = "tiny_jepa"
    name: str = "tiny_jepa"
    description: str = "OrbyWorld, 32 x 32 pixels: an agent, two balls and a pellet; tiny-jepa's published weights."
    image_size: int = CANVAS
    latent_shape: tuple[int, ...] = (LATENT_DIM,)
    feature_dim: int = FEATURE_DIM
    action: ActionSpec = ActionSpec(
        axes=tuple(Axis(name=name, unit="px", low=-SPEED, high=SPEED, mean=0, std=1) for name in ("move_x", "move_y")),
        action_block=1,
    )
    readouts: tuple[Readout, ...] = tuple(
        Readout(name=name, unit="px", low=0, high=CANVAS, error=0)
        for name in ("pellet_x", "pellet_y", "agent_x", "agent_y")
    )
    goal_metric: GoalMetric = GoalMetric(name="latent_distance", unit="1", final_weight=1.0, path_weight=0.0)
    planner: PlannerDefaults = PlannerDefaults(
        algorithm="cem", horizon=6, candidate_count=48, iterations=3, elite_count=10, initial_std=0.5
    )


class TinyJepa(nn.Module):
    """The served part of the model; parameters by the package's own names."""

    moves: Tensor

    def __init__(self, config: TinyJepaConfig, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        self.enc, self.pred, self.pellet, self.agenth = (perceptron(name, weights) for name in LAYERS)
        self.register_buffer("moves", torch.tensor(MOVES), persistent=False)

    def encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 -> latents `[B, T, D]` and features `[B, T, F]`."""
        frames = observations.shape[:2]
        grey = reduce_frames(observations.flatten(0, 1), CANVAS).mean(dim=1) / 255.0
        side = CANVAS // PATCH
        patches = grey.reshape(-1, side, PATCH, side, PATCH).transpose(2, 3).flatten(1)
        features = self.enc[:-1](patches)
        return torch.unflatten(self.enc[-1](features), 0, frames), torch.unflatten(features, 0, frames)

    def readout(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> pellet's and agent's place `[..., 4]`, pixels."""
        return CANVAS * torch.cat([self.pellet(latents), self.agenth(latents)], dim=-1)

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Context `[B, T, D]`, of which the last frame counts, actions `[B, S, N, 2]` -> latents `[B, S, 1, H, D]`."""
        del members  # there is one
        distance = (actions[..., None, :] - self.moves).square().sum(dim=-1)
        moves = torch.nn.functional.one_hot(distance.argmin(dim=-1), len(MOVES)).to(context.dtype)
        latents = context[:, -1:].expand(-1, actions.shape[1], -1)
        path = []
        for step in range(actions.shape[2]):
            latents = self.pred(torch.cat([latents, moves[:, :, step]], dim=-1))
            path.append(latents)
        return torch.stack(path, dim=2)[:, :, None]

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Distance `[B, S, H]` of latents `[B, S, 1, H, D]` from goals `[B, D]`; the package has no metric."""
        return (latents[:, :, 0] - goal[:, None, None]).square().sum(dim=-1).sqrt()


def perceptron(name: str, weights: dict[str, Tensor]) -> nn.Sequential:
    """A network of linear layers with ReLU between them; FamilyError where a weight is missing."""
    layers: list[nn.Module] = []
    for number in range(LAYERS[name]):
        try:
            weight, bias = weights[f"{name}.{number}.W"].T, weights[f"{name}.{number}.b"]
        except KeyError as error:
            raise FamilyError(f"the checkpoint lacks {error.args[0]}; is it tiny-jepa's?") from None
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def load(folder: Path) -> TinyJepa:
    """Read a checkpoint folder; no pickle is opened."""
    config = TinyJepaConfig.model_validate(json.loads((folder / CONFIG_FILE).read_text()))
    files = sorted(file for file in folder.glob("*.npz") if file.name != EXAMPLES_FILE)
    if len(files) != 1:
        raise FamilyError(f"a tiny_jepa checkpoint has one .npz file, {folder.name} has {len(files)}")
    with np.load(files[0], allow_pickle=False) as arrays:
        weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "config"}
    return TinyJepa(config, weights).eval()
