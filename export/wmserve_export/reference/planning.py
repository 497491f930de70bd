"""A small CEM for evaluation in process: plans for many episodes at once, as the gateway's planner does for one."""

from collections.abc import Callable

import torch
from torch import Tensor
from wmserve.world import PlannerDefaults

from wmserve_export.families.conv_jepa import ConvJepa

Cost = Callable[[Tensor, Tensor], Tensor]
"""Predicted latents `[B, S, E, H, D]` and goals `[B, D]` -> costs `[B, S]`, lower is better."""


def goal_cost(world: ConvJepa) -> Cost:
    """The world's own cost: its goal metric, added up as its contract says."""
    metric = world.config.goal_metric

    def cost(predicted: Tensor, goal: Tensor) -> Tensor:
        distance = world.goal_distance(predicted, goal)
        return metric.final_weight * distance[..., -1] + metric.path_weight * distance.mean(dim=-1)

    return cost


def latent_cost(projection: Tensor, path_weight: float) -> Cost:
    """Baselines: squared distance of latents mapped by ``projection`` `[D, P]`, at the last step plus its mean."""

    def cost(predicted: Tensor, goal: Tensor) -> Tensor:
        offset = (predicted.mean(dim=2) - goal[:, None, None]) @ projection
        distance = offset.square().sum(dim=-1)
        return distance[..., -1] + path_weight * distance.mean(dim=-1)

    return cost


@torch.no_grad()
def plan(
    world: ConvJepa, latents: Tensor, goal: Tensor, cost: Cost, planner: PlannerDefaults, generator: torch.Generator
) -> Tensor:
    """The best actions found, `[B, N, A]` environment units, from latents `[B, D]` to goals `[B, D]`."""
    axes, hold = world.config.action.axes, planner.hold_steps
    low = torch.tensor([axis.low for axis in axes])
    high = torch.tensor([axis.high for axis in axes])
    shape = (len(latents), planner.horizon * world.config.action.action_block // hold, len(axes))
    mean = ((low + high) / 2).expand(shape)
    std = (planner.initial_std * (high - low)).expand(shape)
    best, best_cost = mean, torch.full((len(latents),), torch.inf)
    for _ in range(planner.iterations):
        noise = torch.randn((shape[0], planner.candidate_count, *shape[1:]), generator=generator)
        noise[:, 0] = 0.0
        knots = torch.minimum(torch.maximum(mean[:, None] + std[:, None] * noise, low), high)
        costs = cost(world.predict(latents[:, None], knots.repeat_interleave(hold, dim=2)), goal)
        order = costs.argsort(dim=1)
        elites = knots.take_along_dim(order[:, : planner.elite_count, None, None], dim=1)
        better = costs.amin(dim=1) < best_cost
        best = torch.where(better[:, None, None], elites[:, 0], best)
        best_cost = torch.minimum(best_cost, costs.amin(dim=1))
        mean, std = elites.mean(dim=1), elites.std(dim=1, correction=0)
    return best.repeat_interleave(hold, dim=1)
