"""A family of one's own, as small as they get: linear maps, two context frames, and faults that can be turned on.

Faults show in torch and not in the exported graph, as a broken exporter's would.
"""

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from wmserve.world import ActionSpec, Axis, GoalMetric, PlannerDefaults, Readout
from wmserve_export.families import Described

AXES = tuple(Axis(name=f"move_{axis}", unit="1", low=-1.0, high=2.0, mean=0.5, std=0.7) for axis in ("x", "y"))


class LinearConfig(Described):
    """Fits `FamilyConfig`."""

    family: Literal["linear"] = "linear"
    name: str = "linear"
    description: str = "A world for tests."
    image_size: int = 8
    context_length: int = 2
    latent_dim: int = 3
    feature_dim: int = 3
    members: int = 3
    action: ActionSpec = ActionSpec(axes=AXES, action_block=2)
    readouts: tuple[Readout, ...] = (Readout(name="height", unit="m", low=0.0, high=1.0, error=0.1),)
    goal_metric: GoalMetric = GoalMetric(name="euclidean", unit="1", path_weight=0.5)
    planner: PlannerDefaults = PlannerDefaults(horizon=2, candidate_count=16, iterations=2, elite_count=4)
    fault: Literal["none", "shifted", "noisy"] = "none"

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.latent_dim,)


class LinearWorld(nn.Module):
    """Fits `Family`."""

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.config = config
        width = config.action.action_block * len(config.action.axes)
        self.encoder = nn.Linear(3, config.latent_dim)
        self.head = nn.Linear(config.latent_dim, len(config.readouts))
        self.move = nn.Parameter(torch.randn(config.members, width, config.latent_dim) / 4)

    def encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """The mean colour, mapped; and as it is."""
        colour = observations.to(torch.float32).mean(dim=(2, 3)) / 255.0
        return self.encoder(colour), colour

    def readout(self, latents: Tensor) -> Tensor:
        """One number."""
        values: Tensor = self.head(latents)
        return values

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Every block of actions, those of the history too, moves the first frame's latents."""
        blocks = actions.reshape(*actions.shape[:2], -1, self.move.shape[1])
        moves = (blocks.unsqueeze(2) @ self.move[:members]).cumsum(dim=3)
        path: Tensor = context[:, 0][:, None, None, None] + moves
        return path[:, :, :, self.config.context_length - 1 :]

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """A distance; its faults are invisible to the exporter."""
        distance = (latents.mean(dim=2) - goal[:, None, None]).square().sum(dim=-1)
        if self.config.fault == "noisy":  # within parity's limit, but larger than what tells candidates apart
            distance = 1000.0 + 1e-3 * distance
        if torch.compiler.is_exporting() or self.config.fault == "none":
            return distance
        generator = torch.Generator().manual_seed(0)
        shift = 0.01 * torch.randn(distance.shape, generator=generator)
        return distance + (shift if self.config.fault == "noisy" else 0.1)


def load(folder: Path) -> LinearWorld:
    """Read a checkpoint."""
    world = LinearWorld(LinearConfig.model_validate_json((folder / "config.json").read_text()))
    world.load_state_dict(load_file(folder / "weights.safetensors"))
    return world.eval()


def save(folder: Path, config: LinearConfig | None = None) -> Path:
    """Write a checkpoint with random weights, the same each time."""
    torch.manual_seed(0)
    world = LinearWorld(config or LinearConfig())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(world.config.model_dump(mode="json")))
    save_file(dict(world.state_dict()), folder / "weights.safetensors")
    return folder
