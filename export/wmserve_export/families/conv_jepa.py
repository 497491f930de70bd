"""The `conv_jepa` family: a small convolutional encoder, an ensemble of residual predictors, a learned goal metric.

frames -> reduce -> Encoder -> latents -+-> Members   -> predicted latents, one path per member
                                        +-> Readouts  -> quantities in environment units
                                        `-> GoalNet   -> model steps from latents to goal latents

Everything a caller could get wrong (resizing, scaling, z-scoring of actions) is inside, so that it is exported
with the graph. Only plain tensor ops, no loop over members: what is here traces to ONNX with free `B`, `S`, `h`, `w`.

Axes: `B` batch, `T` context frames, `S` candidates, `E` members, `H` model steps, `N = H x action_block`
environment steps, `A` action dimension, `D` latent dimension, `R` readouts.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import PositiveInt
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from wmserve.world import ActionSpec, GoalMetric, PlannerDefaults, Readout

from wmserve_export.families import Described
from wmserve_export.families.images import reduce_frames

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"


class ConvJepaConfig(Described):
    """What is needed to build the modules, and what the contract says of the world."""

    family: Literal["conv_jepa"] = "conv_jepa"
    image_size: PositiveInt
    """Side to which frames are reduced, pixels."""
    channels: tuple[PositiveInt, ...]
    """Channels of the encoder's convolutions; the first reduces the image to a quarter, the others halve it."""
    encoder_width: PositiveInt
    latent_dim: PositiveInt
    context_length: Literal[1] = 1
    members: PositiveInt
    member_width: PositiveInt
    goal_width: PositiveInt
    readout_width: PositiveInt
    action: ActionSpec
    readouts: tuple[Readout, ...]
    goal_metric: GoalMetric
    planner: PlannerDefaults

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.latent_dim,)

    @property
    def feature_dim(self) -> int:
        """Width `F` of what the encoder's last layer sees."""
        return self.encoder_width


class Encoder(nn.Module):
    """Reduced frames `[M, 3, size, size]` in 0..255 -> latents `[M, D]`."""

    def __init__(self, config: ConvJepaConfig) -> None:
        super().__init__()
        first, *rest = config.channels
        layers: list[nn.Module] = [nn.Conv2d(3, first, 5, stride=4, padding=2), nn.ReLU()]
        before = first
        for channels in rest:
            layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.ReLU()]
            before = channels
        side = config.image_size >> (1 + len(config.channels))
        # No batch norm between convolutions: on a CPU it costs more than they do.
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, config.encoder_width))
        self.latents = nn.Sequential(
            nn.BatchNorm1d(config.encoder_width), nn.ReLU(), nn.Linear(config.encoder_width, config.latent_dim)
        )

    def penultimate(self, pixels: Tensor) -> Tensor:
        """What the last layer sees, `[M, F]`; white, the background of most frames, becomes 0."""
        features: Tensor = self.latents[:-1](self.features(1.0 - pixels / 255.0))
        return features

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode."""
        latents: Tensor = self.latents[-1](self.penultimate(pixels))
        return latents


class StackedLinear(nn.Module):
    """`E` linear layers at once: `[E, M, inputs]` -> `[E, M, outputs]`, one batched product."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply member `e` to row `e`; fewer rows are the first members'."""
        members = inputs.shape[0]
        return torch.baddbmm(self.bias[:members], inputs, self.weight[:members])


class Members(nn.Module):
    """The predictor ensemble: next latents are latents plus a learned change, every member for itself."""

    def __init__(self, config: ConvJepaConfig) -> None:
        super().__init__()
        width = config.member_width
        self.network = nn.Sequential(
            StackedLinear(config.members, config.latent_dim + config.block_dim, width),
            nn.ReLU(),
            StackedLinear(config.members, width, width),
            nn.ReLU(),
            StackedLinear(config.members, width, config.latent_dim),
        )

    def forward(self, latents: Tensor, block: Tensor) -> Tensor:
        """One model step: latents `[E, M, D]` and z-scored action blocks `[E, M, block_dim]` -> `[E, M, D]`."""
        change: Tensor = self.network(torch.cat([latents, block], dim=-1))
        return latents + change


class GoalNet(nn.Module):
    """Model steps from latents to goal latents, >= 0; how it is fitted is in `reference/goal_metric.py`."""

    def __init__(self, config: ConvJepaConfig) -> None:
        super().__init__()
        self.of_latents = nn.Linear(config.latent_dim, config.goal_width)
        self.of_goal = nn.Linear(config.latent_dim, config.goal_width, bias=False)
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Linear(config.goal_width, config.goal_width),
            nn.ReLU(),
            nn.Linear(config.goal_width, 1),
            nn.Softplus(),
        )

    def forward(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Latents and goals, `[..., D]` that broadcast -> `[...]`; the goal's part is computed once per goal."""
        steps: Tensor = self.head(self.of_latents(latents) + self.of_goal(goal))
        return steps.squeeze(-1)


class ConvJepa(nn.Module):
    """A world of the `conv_jepa` family."""

    action_mean: Tensor
    action_std: Tensor
    readout_low: Tensor
    readout_span: Tensor

    def __init__(self, config: ConvJepaConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.members = Members(config)
        self.readouts = nn.Sequential(
            nn.Linear(config.latent_dim, config.readout_width),
            nn.ReLU(),
            nn.Linear(config.readout_width, len(config.readouts)),
        )
        self.goal_net = GoalNet(config)
        axes, readouts = config.action.axes, config.readouts
        self.register_buffer("action_mean", torch.tensor([axis.mean for axis in axes]), persistent=False)
        self.register_buffer("action_std", torch.tensor([axis.std for axis in axes]), persistent=False)
        self.register_buffer("readout_low", torch.tensor([item.low for item in readouts]), persistent=False)
        span = torch.tensor([item.high - item.low for item in readouts])
        self.register_buffer("readout_span", span, persistent=False)

    def encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 of any size -> latents `[B, T, D]` and features `[B, T, F]`."""
        frames = observations.shape[:2]
        features = self.encoder.penultimate(reduce_frames(observations.flatten(0, 1), self.config.image_size))
        latents: Tensor = self.encoder.latents[-1](features)
        return torch.unflatten(latents, 0, frames), torch.unflatten(features, 0, frames)

    def readout(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> quantities `[..., R]` in the readouts' units."""
        return self.readout_low + self.readout_span * self.readouts(latents)

    def blocks(self, actions: Tensor) -> Tensor:
        """Actions `[..., N, A]`, environment units -> z-scored blocks `[..., H, block_dim]`."""
        scored = (actions - self.action_mean) / self.action_std
        return scored.reshape(*actions.shape[:-2], -1, self.config.block_dim)

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Roll every member, or the first `members`, out on its own predictions.

        Context `[B, T, D]`, of which the last frame counts, and actions `[B, S, N, A]`, environment units
        -> latents `[B, S, E, H, D]`.
        """
        members, dim = members or self.config.members, self.config.latent_dim
        batch, candidates = actions.shape[0], actions.shape[1]
        blocks = self.blocks(actions).flatten(0, 1)
        start = context[:, -1].unsqueeze(1).expand(batch, candidates, dim).reshape(1, batch * candidates, dim)
        latents = start.expand(members, -1, -1)
        path = []
        for step in range(blocks.shape[1]):
            latents = self.members(latents, blocks[:, step].expand(members, -1, -1))
            path.append(latents)
        return torch.unflatten(torch.stack(path, dim=2), 1, (batch, candidates)).permute(1, 2, 0, 3, 4)

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Model steps `[B, S, H]` from latents `[B, S, E, H, D]` or `[B, S, H, D]` to goals `[B, D]`.

        Of members' latents the mean is taken first: it plans as well as the mean of distances, for a fifth of the work.
        """
        if latents.ndim == 5:
            latents = latents.mean(dim=2)
        distance: Tensor = self.goal_net(latents, goal[:, None, None, :])
        return distance


def load(folder: Path) -> ConvJepa:
    """Read a checkpoint folder; safetensors only, nothing that runs code when read."""
    config = ConvJepaConfig.model_validate_json((folder / CONFIG_FILE).read_text())
    world = ConvJepa(config)
    world.load_state_dict(load_file(folder / WEIGHTS_FILE))
    return world.eval()


def save(world: ConvJepa, config: ConvJepaConfig, folder: Path) -> None:
    """Write ``config.json`` and ``weights.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n")
    tensors = {key: value.contiguous() for key, value in world.state_dict().items()}
    (folder / WEIGHTS_FILE).write_bytes(to_bytes(tensors))
