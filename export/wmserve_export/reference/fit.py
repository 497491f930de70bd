"""Trains encoder, predictor ensemble and inverse model end to end, then members and readouts on frozen latents.

Loss: next latents and a rollout over the window (LeWM, arXiv 2603.19312), SIGReg on all latents against collapse, and
two things that layouts which vary between trajectories need: SIGReg on latents centred in their layout, because
without it the encoder describes the layout, which never moves and is predicted for free, and forgets the agent;
and an inverse-dynamics loss, which keeps in what the actions change. Gradients flow through the targets too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import trange

from wmserve_export.families.conv_jepa import ConvJepa
from wmserve_export.reference.collect import Trajectories
from wmserve_export.reference.goal_metric import Inverse
from wmserve_export.reference.losses import sigreg


@dataclass(frozen=True)
class Recipe:
    """What is trained for how long, and the weights of the losses."""

    steps: int = 1600
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    layouts: int = 16
    trajectories: int = 6
    """Trajectories of each layout in a batch."""
    window: int = 5
    """Model steps of each trajectory in a batch."""
    spread_weight: float = 10.0
    centred_weight: float = 10.0
    centred_share: float = 0.7
    """Variance that latents are to have within a layout; the rest of 1 is between layouts."""
    inverse_weight: float = 0.5
    member_steps: int = 2000
    member_batch: int = 512
    readout_steps: int = 2000


Weights = Tensor
"""`[E, M]`: how often each member's bootstrap sample holds a trajectory, scaled to a mean of 1."""


@dataclass(frozen=True)
class Batch:
    """Windows of `M` trajectories: ``layouts`` x ``trajectories``, layout by layout."""

    frames: Tensor
    """`[M, W + 1, 3, 64, 64]` uint8."""
    actions: Tensor
    """`[M, W, n, 2]` float32."""
    weights: Weights


class Sampler:
    """Draws batches in which several trajectories share each layout."""

    def __init__(self, data: Trajectories, members: int, recipe: Recipe) -> None:
        self.data, self.recipe = data, recipe
        self.groups = [torch.nonzero(data.doors == door).flatten() for door in torch.unique(data.doors)]
        # Poisson(1) counts: the bootstrap, trajectory by trajectory.
        self.counts = torch.poisson(torch.ones(members, len(data.doors)))

    def draw(self) -> Batch:
        """Random layouts, random trajectories of each, a random window of each."""
        chosen = torch.randperm(len(self.groups))[: self.recipe.layouts].tolist()
        groups = [self.groups[index] for index in chosen]
        rows = torch.cat([group[torch.randperm(len(group))[: self.recipe.trajectories]] for group in groups])
        last_start = self.data.actions.shape[1] - self.recipe.window
        start = torch.randint(last_start + 1, (len(rows), 1))
        times = start + torch.arange(self.recipe.window + 1)
        counts = self.counts[:, rows]
        return Batch(
            self.data.frames[rows[:, None], times],
            self.data.actions[rows[:, None], times[:, :-1]],
            counts / counts.mean(),
        )


def encode_frames(world: ConvJepa, frames: Tensor) -> Tensor:
    """Reduced frames `[M, L, 3, 64, 64]` uint8 -> latents `[M, L, D]`; noise stands for what rounding lost."""
    pixels = frames.flatten(0, 1).to(torch.float32)
    if world.training:
        pixels = pixels + torch.rand_like(pixels) - 0.5
    # Channels last: convolutions are a third faster on a CPU.
    latents = world.encoder(pixels.contiguous(memory_format=torch.channels_last))
    return torch.unflatten(latents, 0, frames.shape[:2])


def prediction_losses(world: ConvJepa, latents: Tensor, actions: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """Squared errors of the next latents and of a rollout: latents `[M, W + 1, D]`, actions `[M, W, n, 2]`."""
    members, (count, window) = world.config.members, actions.shape[:2]
    blocks = world.blocks(actions.flatten(1, 2))
    following = world.members(
        latents[:, :-1].flatten(0, 1).expand(members, -1, -1), blocks.flatten(0, 1).expand(members, -1, -1)
    )
    following = torch.unflatten(following, 1, (count, window))
    one_step = ((following - latents[:, 1:]).square().mean(dim=(2, 3)) * weights).mean()
    current, rollout = following[:, :, 0], torch.zeros(())
    for step in range(1, window):
        current = world.members(current, blocks[:, step].expand(members, -1, -1))
        error = (current - latents[:, step + 1]).square().mean(dim=2) * weights
        rollout = rollout + error.mean() / (window - 1)
    return one_step, rollout


def losses(world: ConvJepa, inverse: Inverse, batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """Every part of the loss, already weighted."""
    latents = encode_frames(world, batch.frames)
    one_step, rollout = prediction_losses(world, latents, batch.actions, batch.weights)
    grouped = torch.unflatten(latents, 0, (recipe.layouts, recipe.trajectories))
    centred = grouped - grouped.mean(dim=(1, 2), keepdim=True)
    guessed = inverse(latents[:, :-1], latents[:, 1:])
    return {
        "one_step": one_step,
        "rollout": rollout,
        "spread": recipe.spread_weight * sigreg(latents.flatten(0, 1)),
        "centred": recipe.centred_weight * sigreg(centred.flatten(0, 2) / recipe.centred_share**0.5),
        "inverse": recipe.inverse_weight
        * functional.mse_loss(guessed / world.action_std, batch.actions.mean(dim=2) / world.action_std),
    }


def fit_world(world: ConvJepa, inverse: Inverse, data: Trajectories, recipe: Recipe) -> dict[str, float]:
    """Train; returns each loss, averaged over the last hundred steps or so."""
    world.train()
    sampler = Sampler(data, world.config.members, recipe)
    parameters = [*world.encoder.parameters(), *world.members.parameters(), *inverse.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.05
    )
    mean: dict[str, float] = {}
    progress = trange(recipe.steps, desc="world", mininterval=5)
    for _ in progress:
        parts = losses(world, inverse, sampler.draw(), recipe)
        optimiser.zero_grad()
        torch.autograd.backward(torch.stack(list(parts.values())).sum())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        for name, value in parts.items():
            mean[name] = mean.get(name, value.item()) * 0.99 + value.item() * 0.01
        progress.set_postfix({name: f"{value:.4f}" for name, value in mean.items()}, refresh=False)
    world.eval()
    return mean


def fit_members(world: ConvJepa, latents: Tensor, data: Trajectories, recipe: Recipe) -> dict[str, float]:
    """Go on training the members alone, on latents `[M, L + 1, D]` that no longer move.

    Without the encoder a step costs little, and where exactly a door ends takes members many steps to learn.
    """
    window, counts = recipe.window, torch.poisson(torch.ones(world.config.members, len(latents)))
    optimiser = torch.optim.AdamW(world.members.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.member_steps, pct_start=0.05
    )
    mean = {"one_step": 0.0, "rollout": 0.0}
    progress = trange(recipe.member_steps, desc="members", mininterval=5)
    for _ in progress:
        rows = torch.randint(len(latents), (recipe.member_batch,))
        times = torch.randint(latents.shape[1] - window, (len(rows), 1)) + torch.arange(window + 1)
        weights = counts[:, rows] / counts[:, rows].mean()
        parts = prediction_losses(
            world, latents[rows[:, None], times], data.actions[rows[:, None], times[:, :-1]], weights
        )
        optimiser.zero_grad()
        torch.autograd.backward(torch.stack(parts).sum())
        optimiser.step()
        schedule.step()
        for name, value in zip(mean, parts, strict=True):
            mean[name] += 0.01 * (value.item() - mean[name])
        progress.set_postfix({name: f"{value:.4f}" for name, value in mean.items()}, refresh=False)
    return mean


@torch.no_grad()
def encode_all(world: ConvJepa, data: Trajectories) -> Tensor:
    """Latents `[M, L + 1, D]` of all frames."""
    return torch.cat([encode_frames(world, some) for some in torch.split(data.frames, 32)])


def readout_targets(data: Trajectories) -> Tensor:
    """What the readouts are to say, `[M, L + 1, R]`, pixels: the agent's x and y, the door's y."""
    doors = data.doors[:, None, None].expand(-1, data.positions.shape[1], 1)
    return torch.cat([data.positions, doors.to(torch.float32)], dim=-1)


def fit_readouts(world: ConvJepa, latents: Tensor, targets: Tensor, recipe: Recipe) -> None:
    """Fit the readouts to latents `[M, L, D]` and targets `[M, L, R]`; the encoder learns nothing from them."""
    latents, targets = latents.flatten(0, 1), targets.flatten(0, 1)
    optimiser = torch.optim.Adam(world.readouts.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.readout_steps)
    for _ in trange(recipe.readout_steps, desc="readouts", mininterval=5):
        some = torch.randint(len(latents), (1024,))
        error = (world.readout(latents[some]) - targets[some]) / world.readout_span
        loss = error.square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
