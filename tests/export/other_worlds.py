"""Worlds that are not frames, actions and goals: encoders alone, clips with hidden parts, rewards, robots that feel.

Each is as small as it gets, with weights drawn from a seed.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from wmserve.world import ActionSpec, Axis, GoalMetric, PlannerDefaults, Readout
from wmserve_export.families import Described
from wmserve_export.families.images import reduce_frames

FEELING = tuple(
    Axis(name=name, unit=unit, low=-2.0, high=2.0, mean=0.5, std=1.0)
    for name, unit in (("reach", "m"), ("turn", "rad"))
)
MOVES = ActionSpec(axes=(Axis(name="push", unit="N", low=-1.0, high=1.0, mean=0.0, std=1.0),))
PLANNER = PlannerDefaults(horizon=2, candidate_count=8, iterations=2, elite_count=2)


class Config(Described):
    """Four patches of three features of a frame of 8 x 8."""

    family: str
    description: str = "A world for tests."
    image_size: int = 8
    latent_shape: tuple[int, ...] = (2, 2, 3)
    feature_dim: int = 3


class Patches(nn.Module):
    """Encodes: the mean colour of each patch, mapped."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = config
        self.map = nn.Linear(3, 3)

    def encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of any size; what each quarter of them shows."""
        frames = reduce_frames(observations.flatten(0, 1), 8) / 255.0
        patches = frames.unflatten(3, (2, 4)).unflatten(2, (2, 4)).mean(dim=(3, 5))
        latents = self.map(patches.permute(0, 2, 3, 1))
        per_latent = self.config.tubelet_size
        latents = latents.unflatten(0, (observations.shape[0], -1, per_latent)).mean(dim=2)
        return latents.flatten(2), latents.mean(dim=(2, 3))

    def readout(self, latents: Tensor) -> Tensor:
        """There are none."""
        return latents[..., :0]


class Clips(Patches):
    """Predicts hidden patches to be what the visible ones are on the whole."""

    def fill(self, observations: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of what is not hidden."""
        latents = self.encode(observations)[0].unflatten(2, (4, 3))
        covered = hidden.unsqueeze(-1).to(torch.float32)
        visible = (latents * (1 - covered)).sum(dim=(1, 2), keepdim=True) / (1 - covered).sum(
            dim=(1, 2), keepdim=True
        ).clamp(min=1)
        filled = latents * (1 - covered) + visible * covered
        return filled.flatten(2), (filled - latents).abs().mean(dim=3)


class Robot(Patches):
    """Sees and feels; what it feels is the last of its patches, and pushing moves it on."""

    def encode(self, observations: Tensor, proprioception: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Patches, the last of which is what is felt."""
        latents, features = super().encode(observations)
        felt = nn.functional.pad(proprioception, (0, 1))
        return torch.cat([latents[..., :-3], felt], dim=-1), features

    def readout(self, latents: Tensor) -> Tensor:
        """What is felt."""
        return latents[..., -3:-1]

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Pushes add up."""
        del members
        push = nn.functional.pad(actions.cumsum(dim=2), (context.shape[-1] - 3, 2))
        return (context[:, -1:, None] + push)[:, :, None]

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """All of it."""
        return (latents[:, :, 0] - goal[:, None, None]).square().sum(dim=-1)


class Blind(nn.Module):
    """Feels only, and likes it near zero."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def encode(self, proprioception: Tensor) -> tuple[Tensor, Tensor]:
        """As it is."""
        return proprioception + 0.0, proprioception * 1.0

    def readout(self, latents: Tensor) -> Tensor:
        """There are none."""
        return latents[..., :0]

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Pushes add up."""
        del members
        return (context[:, -1:, None] + nn.functional.pad(actions.cumsum(dim=2), (0, 1)))[:, :, None]

    def negative_return(self, context: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """How far from zero it is felt, and a price on pushing."""
        del context
        return latents[:, :, 0].abs().sum(dim=-1) + 0.01 * actions.abs().sum(dim=-1)

    def value_spread(self, latents: Tensor) -> Tensor:
        """Critics differ by a tenth of it."""
        return 0.1 * latents[:, :, 0].abs().sum(dim=-1)


CONFIGS = {
    "patches": Config(family="patches", name="patches"),
    "clips": Config(family="clips", name="clips", context_length=4, tubelet_size=2),
    "robot": Config(
        family="robot",
        name="robot",
        action=MOVES,
        proprioception=FEELING,
        readouts=tuple(Readout(name=axis.name, unit=axis.unit, low=-5, high=5, error=0.0) for axis in FEELING),
        goal_metric=GoalMetric(name="squared", unit="1"),
        planner=PLANNER,
    ),
    "blind": Config(
        family="blind",
        name="blind",
        image_size=0,
        latent_shape=(2,),
        feature_dim=2,
        action=MOVES,
        proprioception=FEELING,
        goal_metric=GoalMetric(name="negative_return", unit="reward", needs_goal=False),
        planner=PLANNER,
    ),
}
WORLDS = {"patches": Patches, "clips": Clips, "robot": Robot, "blind": Blind}


def load(folder: Path) -> nn.Module:
    """The world that a checkpoint names."""
    config = Config.model_validate_json((folder / "config.json").read_text())
    return WORLDS[config.family](config).eval()


def save(folder: Path, name: str) -> Path:
    """A checkpoint."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS[name].model_dump(mode="json")))
    return folder
