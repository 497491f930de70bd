"""The score engines of a calibration, fitted here and run beside the world's own.

    encode/ood_*.onnx        features                                -> ood       how unlike known frames are
    rollout/error_*.onnx     context, actions, latents, disagreement -> error     how far off steps are expected to be
    rollout/distance_*.onnx  latents                                 -> distance  how far off known latents steps lead

The first is a Mahalanobis distance in the features. The second is learned: disagreement alone ranks errors poorly, but
where the model errs can mostly be told from what it predicts. Neither knows what nobody has logged, and an ensemble may
agree there, too: what the third is for. It is the distance from the nearest of some latents that were seen.
"""

import math

import torch
from torch import Tensor, nn
from torch.export import Dim
from tqdm import trange
from wmserve.world import World

from wmserve_export.onnx_graphs import traced

WIDTH, EPOCHS, BATCH, RATE = 128, 30, 128, 4e-3
SHRINKAGE = 1e-3
"""Part of the mean variance that is added to each: directions in which frames never differ would rule it else."""
LEAST = 1e-4
POINTS, CANDIDATES = 2048, 20_000
"""Latents that distances are measured from, and those that they are chosen from."""
SPREAD_LEVEL = 0.05


class Unlikeness(nn.Module):
    """Squared Mahalanobis distance of features from those of the calibration, over their number: 1 on average there."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        centred = (features - features.mean(dim=0)).double()
        covariance = centred.T @ centred / len(centred)
        ridge = SHRINKAGE * covariance.diagonal().mean() + 1e-12
        inverse = torch.linalg.inv(covariance + ridge * torch.eye(len(covariance), dtype=torch.float64))
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("whitening", torch.linalg.cholesky(inverse).float() / math.sqrt(len(covariance)))

    def forward(self, features: Tensor) -> Tensor:
        """Features `[B, T, F]` -> scores `[B, T]`."""
        return ((features - self.mean) @ self.whitening).square().sum(dim=-1)


class ExpectedError(nn.Module):
    """How far off a rollout's steps are expected to be: the mean of `|| predicted - encoded ||`, latent units."""

    mean: Tensor
    std: Tensor
    bounds: Tensor
    spread_part: Tensor

    def __init__(self, world: World) -> None:
        super().__init__()
        self.block, self.horizon = world.action.action_block * len(world.action.axes), world.horizon_limit
        inputs = 3 * math.prod(world.latent_shape) + self.block + 3
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.register_buffer("bounds", torch.tensor([-torch.inf, torch.inf]))
        self.register_buffer("spread_part", torch.zeros(()))
        self.network = nn.Sequential(
            nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
        )

    def inputs(self, context: Tensor, actions: Tensor, latents: Tensor, disagreement: Tensor) -> Tensor:
        """What it sees of each step `[B, S, H, I]`: where it began, was, came to, what was done, the spread."""
        start = context[:, None, -1:].expand(-1, latents.shape[1], -1, -1)
        before = torch.cat([start, latents[:, :, :-1]], dim=2)
        blocks = actions.reshape(*latents.shape[:3], self.block)
        spread = disagreement.clamp(min=LEAST).log()[..., None]
        spread_before = torch.cat([torch.full_like(spread[:, :, :1], math.log(LEAST)), spread[:, :, :-1]], dim=2)
        step = torch.ones_like(spread).cumsum(dim=2) / self.horizon
        return torch.cat([start.expand_as(latents), before, latents, blocks, spread, spread_before, step], dim=-1)

    def forward(self, context: Tensor, actions: Tensor, latents: Tensor, disagreement: Tensor) -> Tensor:
        """Context `[B, T, D]`, actions `[B, S, N, A]`, latents `[B, S, H, D]`, spread `[B, S, H]` -> `[B, S, H]`."""
        inputs = (self.inputs(context, actions, latents, disagreement) - self.mean) / self.std
        errors: Tensor = self.network(inputs).squeeze(-1).clamp(*self.bounds.unbind()).exp()
        return torch.maximum(errors, self.spread_part * disagreement)

    def keep_within(self, seen: Tensor, errors: Tensor, disagreement: Tensor) -> None:
        """Hold on to what was seen while fitting, `[M, H, I]` and `[M, H]`: beyond it a network may say anything.

        No expected error under the least or over the largest of those, nor one that the members' spread belies: 95 % of
        errors are larger parts of it than `spread_part`.
        """
        with torch.inference_mode():
            expected = self.network(seen).squeeze(-1)
            self.bounds.copy_(torch.stack([expected.min(), expected.max()]))
            if disagreement.any():
                self.spread_part.copy_((errors / disagreement.clamp(min=LEAST)).flatten().quantile(SPREAD_LEVEL))


class Distance(nn.Module):
    """Distance of latents from the nearest of some known ones, latent units (Sun et al., 2022, with k = 1)."""

    points: Tensor

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.register_buffer("points", spread_out(known, POINTS))

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, S, H, D]` -> `[B, S, H]`."""
        squares = self.points.square().sum(dim=-1) - 2 * latents @ self.points.T
        nearest = squares.amin(dim=-1) + latents.square().sum(dim=-1)
        return nearest.clamp(min=0).sqrt()


def spread_out(known: Tensor, count: int) -> Tensor:
    """Of latents `[M, D]` some that leave none of them far from all: each next is the farthest (Gonzalez, 1985)."""
    generator = torch.Generator().manual_seed(0)
    known = known[torch.randperm(len(known), generator=generator)[:CANDIDATES]]
    chosen = [0]
    nearest = torch.full((len(known),), torch.inf)
    for _ in range(min(count, len(known)) - 1):
        nearest = torch.minimum(nearest, (known - known[chosen[-1]]).square().sum(dim=1))
        chosen.append(int(nearest.argmax()))
    return known[chosen]


def fit_error(
    world: World, rollouts: tuple[Tensor, Tensor, Tensor, Tensor], errors: Tensor, show: bool
) -> ExpectedError:
    """Fit to rollouts `[M, ...]` and their errors `[M, H]`, as the mean of an exponential distribution."""
    torch.manual_seed(0)
    model = ExpectedError(world)
    seen = model.inputs(*rollouts)[:, 0]
    model.mean.copy_(seen.flatten(0, 1).mean(dim=0))
    model.std.copy_(seen.flatten(0, 1).std(dim=0) + 1e-6)
    seen = (seen - model.mean) / model.std
    steps = max(1, len(seen) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps)
    for _ in trange(EPOCHS, desc="learning where it errs", disable=not show):
        for rows in torch.randperm(len(seen))[: steps * BATCH].tensor_split(steps):
            expected = model.network(seen[rows]).squeeze(-1)
            loss = (expected + errors[rows] * torch.exp(-expected)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.keep_within(seen, errors, rollouts[3][:, 0])
    return model.eval()


def ood_engine(model: Unlikeness) -> bytes:
    """As ONNX, batch and frames free."""
    features = torch.zeros(2, 3, len(model.mean))
    axes = {"features": {0: Dim("B", min=1), 1: Dim("T", min=1)}}
    return traced(model, {"features": features}, ["ood"], axes, "ood")


def error_engine(model: ExpectedError, world: World) -> bytes:
    """As ONNX, batch, candidates and steps free."""
    batch, candidates, steps = Dim("B", min=1), Dim("S", min=1), Dim("H", min=1)
    dim = math.prod(world.latent_shape)
    inputs = {
        "context": torch.zeros(2, world.context_length, dim),
        "actions": torch.zeros(2, 3, 4 * world.action.action_block, len(world.action.axes)),
        "latents": torch.zeros(2, 3, 4, dim),
        "disagreement": torch.zeros(2, 3, 4),
    }
    axes = {
        "context": {0: batch},
        "actions": {0: batch, 1: candidates, 2: world.action.action_block * steps},
        "latents": {0: batch, 1: candidates, 2: steps},
        "disagreement": {0: batch, 1: candidates, 2: steps},
    }
    return traced(model, inputs, ["error"], axes, "error")


def distance_engine(model: Distance) -> bytes:
    """As ONNX, batch, candidates and steps free."""
    latents = torch.zeros(2, 3, 4, model.points.shape[1])
    axes = {"latents": {0: Dim("B", min=1), 1: Dim("S", min=1), 2: Dim("H", min=1)}}
    return traced(model, {"latents": latents}, ["distance"], axes, "distance")
