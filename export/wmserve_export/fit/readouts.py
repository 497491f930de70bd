"""Fits readouts: named columns from latents, by a linear map or, where that is clearly better, by a small network.

What is chosen by and what is held out are other trajectories than what is learned from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import trange
from wmserve.world import Readout

from wmserve_export.fit.encoding import Track, Tracks
from wmserve_export.fit.heads import Stack, linear
from wmserve_export.fit.reducing import Reduction
from wmserve_export.fit.surgery import FitError
from wmserve_export.gates import GateError

RIDGES = (1e-6, 1e-4, 1e-2, 1.0)
"""Parts of the mean variance of latents that are added to each direction's."""
WIDTH, STEPS, BATCH, RATE = 128, 1500, 256, 3e-3
BETTER = 0.8
"""A network is taken where its squared error is under this part of the linear map's."""
LEAST_EXPLAINED = 0.2
"""Share of the held-out variance under which a column is no readout of these latents."""


@dataclass(frozen=True)
class Found:
    """One readout, on held-out frames."""

    name: str
    unit: str
    error: float
    """Root mean square, in `unit`."""
    explained: float
    """Share of the variance (R squared)."""
    frames: int


@dataclass(frozen=True)
class Fitted:
    """All readouts."""

    head: Stack
    kind: str
    """``linear`` or ``network``."""
    contract: tuple[Readout, ...]
    found: tuple[Found, ...]


def fit(tracks: Tracks, reduction: Reduction, seed: int, show: bool) -> Fitted:
    """Fit them; FitError where a column is constant, GateError where latents do not hold it."""
    latents, truth = frames(tracks.fit)
    seen, wanted = frames(tracks.choose)
    low, high = truth.amin(dim=0), truth.amax(dim=0)
    for at, one in enumerate(tracks.readouts):
        if not high[at] > low[at]:
            raise FitError(f"readout {one.name} is {low[at]:g} in every frame: there is nothing to learn")
    mean, std = truth.mean(dim=0), truth.std(dim=0)
    reduced, target = reduction(latents), (truth - mean) / std
    goal = (wanted - mean) / std
    lines = [ridge(reduced, target, part) for part in RIDGES]
    line = min(lines, key=lambda one: error(one, reduction(seen), goal))
    net = network(reduced, target, seed, show)
    better = error(net, reduction(seen), goal) < BETTER * error(line, reduction(seen), goal)
    head = joined(reduction, net if better else line, mean, std)
    found = measured(head, tracks)
    for each in found:
        if not each.explained >= LEAST_EXPLAINED:
            raise GateError(
                f"readouts: {each.name} is off by {each.error:.3g} {each.unit} on held-out trajectories, explaining "
                f"{max(each.explained, 0.0):.0%} of its variance, at least {LEAST_EXPLAINED:.0%} must be: the latents "
                "do not hold it. Name the others by --readout, or leave readouts out with --no-readouts"
            )
    contract = tuple(
        Readout(
            name=one.name,
            unit=one.unit,
            low=float(low[at]) if one.low is None else one.low,
            high=float(high[at]) if one.high is None else one.high,
            error=found[at].error,
        )
        for at, one in enumerate(tracks.readouts)
    )
    return Fitted(head, "network" if better else "linear", contract, found)


def measured(head: Stack, tracks: Tracks) -> tuple[Found, ...]:
    """Errors on the held-out part."""
    latents, truth = frames(tracks.held_out)
    with torch.inference_mode():
        squares = (head(latents) - truth).square().mean(dim=0)
    variance = truth.var(dim=0, correction=0)
    return tuple(
        Found(
            name=one.name,
            unit=one.unit,
            error=float(squares[at].sqrt()),
            explained=float(1 - squares[at] / variance[at].clamp(min=1e-12)),
            frames=len(truth),
        )
        for at, one in enumerate(tracks.readouts)
    )


def frames(tracks: Sequence[Track]) -> tuple[Tensor, Tensor]:
    """Latents `[N, D]` and readouts `[N, R]` of all frames."""
    joined = (np.concatenate([getattr(one, part) for one in tracks]) for part in ("latents", "readouts"))
    latents, truth = map(torch.from_numpy, joined)
    return latents, truth


def ridge(latents: Tensor, target: Tensor, part: float) -> Stack:
    """Least squares with a price on weights: `[N, W]`, `[N, R]`."""
    inputs = latents.double()
    covariance = inputs.T @ inputs / len(inputs)
    price = part * covariance.diagonal().mean() + 1e-9
    covariance += price * torch.eye(len(covariance), dtype=torch.float64)
    weight = torch.linalg.solve(covariance, inputs.T @ target.double() / len(inputs))
    return Stack(linear(weight.float()))


def network(latents: Tensor, target: Tensor, seed: int, show: bool) -> Stack:
    """A network of one hidden layer."""
    torch.manual_seed(seed)
    net = Stack(nn.Linear(latents.shape[1], WIDTH), nn.Linear(WIDTH, target.shape[1]))
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for _ in trange(STEPS, desc="readouts", mininterval=2, disable=not show):
        some = torch.randint(len(latents), (BATCH,))
        loss = (net(latents[some]) - target[some]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net


@torch.inference_mode()
def error(head: Stack, latents: Tensor, target: Tensor) -> float:
    """Mean square."""
    return float((head(latents) - target).square().mean())


def joined(reduction: Reduction, head: Stack, mean: Tensor, std: Tensor) -> Stack:
    """From latents as they are to readouts in their units."""
    scaled = [*head.layers]
    last = scaled[-1]
    assert isinstance(last, nn.Linear)
    scaled[-1] = linear(last.weight.T * std, last.bias * std + mean)
    return reduction.before(Stack(*scaled, active=head.active))
