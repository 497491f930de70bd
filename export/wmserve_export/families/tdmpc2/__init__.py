"""The `tdmpc2` family: TD-MPC2 (arXiv 2310.16828), as ``stable_worldmodel.wm.tdmpc2`` defines it.

    frames -> resize -> convolutions ─┐
                                      ├─ simplices = latents -> dynamics -> predicted latents
    proprioception -> z-score -> MLP ─┘              │              ^              │
                                                     ├─ reward ─────┤              └─ policy -> critics
                                  actions -> [-1, 1] ┴──────────────┘

Such a world has learned rewards, so plans need no goal: the cost of a plan is what it is expected to bring, with its
sign turned. It may look at frames, at proprioception (all that is not frames, such as the state of a simulation), or at
both. Training knows actions in -1..1 only: an axis' mean and standard deviation must map its bounds to that, mean
``(low + high) / 2`` and deviation ``(high - low) / 2``.

A checkpoint is a ``config.json`` (:class:`Tdmpc2Config`) and a ``weights.safetensors``; ``adopting`` makes one of the
formats that its authors use. Features, by which strange frames are known, are the embeddings that become simplices.

Axes: `B` batch, `T` context frames (1), `S` candidates, `H` model steps, which are environment steps, `A` action
dimension, `D` latent dimension, `E` critics, `Q` proprioception.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from wmserve.world import Axis

from wmserve_export.families import CONFIG_FILE
from wmserve_export.families.images import reduce_frames
from wmserve_export.families.lewm.weights import Weights, read_fitting
from wmserve_export.families.tdmpc2.config import Tdmpc2Config
from wmserve_export.families.tdmpc2.layers import Classes, Critics, FrameEncoder, Perceptron, simplices
from wmserve_export.families.tdmpc2.weights import shapes


class Standard(nn.Module):
    """Values in environment units as training knew them: less their mean, over their standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, axes: tuple[Axis, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([axis.mean for axis in axes]))
        self.register_buffer("std", torch.tensor([axis.std for axis in axes]))

    def forward(self, values: Tensor) -> Tensor:
        """`[..., axes]` -> `[..., axes]`."""
        return (values - self.mean) / self.std


class Tdmpc2(nn.Module):
    """A world of the `tdmpc2` family."""

    def __init__(self, config: Tdmpc2Config, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.frames = FrameEncoder(config, weights) if config.image_size else None
        self.states = nn.ModuleList(Perceptron(weights, f"extra_encoders.{part.name}") for part in config.encoders)
        self.sensed, self.done = Standard(config.proprioception), Standard(config.action.axes)
        self.dynamics, self.reward, self.policy = (Perceptron(weights, name) for name in ("dynamics", "reward", "pi"))
        self.critics, self.number = Critics(config, weights), Classes(config)

    def encode(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 of any size, and proprioception `[B, T, Q]`, each if the world has it.

        -> latents `[B, T, D]` and features `[B, T, D]`
        """
        parts = []
        if self.frames is not None:
            pixels = reduce_frames(observed[0].flatten(0, 1), self.config.image_size)
            parts.append(torch.unflatten(self.frames(pixels), 0, observed[0].shape[:2]))
        if self.config.encoders:
            values = torch.split(self.sensed(observed[-1]), [part.inputs for part in self.config.encoders], dim=-1)
            parts += [state(part) for state, part in zip(self.states, values, strict=True)]
        features = torch.cat(parts, dim=-1)
        return simplices(features, self.config.simnorm_dim), features

    def readout(self, latents: Tensor) -> Tensor:
        """No quantities: `[..., D]` -> `[..., 0]`."""
        return latents[..., :0]

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:  # noqa: ARG002
        """Context `[B, 1, D]` and actions `[B, S, H, A]` -> latents `[B, S, 1, H, D]`."""
        latents, path = context.expand(-1, actions.shape[1], -1), []
        for action in self.done(actions).unbind(dim=2):
            latents = simplices(self.dynamics(torch.cat([latents, action], dim=-1)), self.config.simnorm_dim)
            path.append(latents)
        return torch.stack(path, dim=2).unsqueeze(2)

    def negative_return(self, context: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """Context `[B, 1, D]`, actions `[B, S, H, A]` and latents `[B, S, 1, H, D]` -> costs `[B, S, H]`.

        Of stopping after `h` steps: ``-(sum_t<h discount^t reward_t + discount^h (mean - c |mean| std))``, mean and
        standard deviation those of the critics for what the policy would do there, c the penalty.
        """
        steps, path = actions.shape[2], latents.squeeze(2)
        before = torch.cat([context.expand(-1, actions.shape[1], -1).unsqueeze(2), path[:, :, :-1]], dim=2)
        rewards = self.number(self.reward(torch.cat([before, self.done(actions)], dim=-1)))
        discounts = torch.tensor([self.config.discount**step for step in range(steps + 1)])
        # Row t, column h: what a reward after step t counts for who stops after step h.
        counted = torch.triu(discounts[:steps, None].expand(-1, steps))
        mean, std = self.valued(path)
        value = mean - self.config.uncertainty_penalty * mean.abs() * std
        return -(rewards @ counted + discounts[1:] * value)

    def value_spread(self, latents: Tensor) -> Tensor:
        """Standard deviation `[B, S, H]`, in units of reward, of what critics say of latents `[B, S, 1, H, D]`."""
        return self.valued(latents.squeeze(2))[1]

    def valued(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents `[B, S, H, D]` -> mean and standard deviation `[B, S, H]` of what critics expect from there on."""
        mean_action, _ = self.policy(latents).chunk(2, dim=-1)
        inputs = torch.cat([latents, torch.tanh(mean_action)], dim=-1)
        values = torch.unflatten(self.number(self.critics(inputs.flatten(0, 2))), 1, latents.shape[:3])
        mean = values.mean(dim=0)
        return mean, ((values - mean).square().sum(dim=0) / (self.config.critics - 1)).sqrt()


def load(folder: Path) -> Tdmpc2:
    """Read a checkpoint folder; safetensors only, nothing that runs code when read."""
    config = Tdmpc2Config.model_validate_json((folder / CONFIG_FILE).read_text())
    return Tdmpc2(config, read_fitting(folder, shapes(config))).eval()
