"""Correctness before timing: costs against the reference's, plans against plans of the same noise.

Axes: `B` plans, `S` candidates, `N` environment steps, `A` action dimension, `T` context frames, `D` latent dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from wmserve_export.families.lewm.config import LewmConfig

from loadtest.gpu.precision import Precision
from loadtest.gpu.search import Cost, Plan, Problem

EXACT_TOLERANCE = 1e-4
"""Largest difference of float32 costs, relative to the largest cost."""
REDUCED_TOLERANCE = 0.2
"""In reduced precision: only what is plainly broken is refused, the rest is reported."""
PLAN_TOLERANCE = 1e-3
"""Largest difference between two runs of the same kernels on the same noise: actions, environment units; costs."""
SEED = 11


class Wrong(Exception):  # named as the report says it
    """An engine's answers are not what they have to be; the message says by how much."""


@dataclass(frozen=True)
class CostCheck:
    """How an engine's costs differ from the reference's."""

    error: float
    """Largest difference, relative to the largest cost."""
    elites_shared: int
    """Of the cheapest candidates, the fewest over the problems."""
    elites: int


def problem(config: LewmConfig, batch: int, device: torch.device) -> Problem:
    """Random latents, the same on every device."""
    generator = torch.Generator().manual_seed(SEED)
    context = torch.randn(batch, config.context_length, config.latent_dim, generator=generator)
    goal = torch.randn(batch, config.latent_dim, generator=generator)
    return Problem(context.to(device), goal.to(device))


def candidates(config: LewmConfig, batch: int, count: int, device: torch.device, horizon: int = 5) -> Tensor:
    """Candidates `[B, S, N, A]`, uniform within -1..1."""
    steps, width = horizon * config.action.action_block, len(config.action.axes)
    drawn = torch.rand(batch, count, steps, width, generator=torch.Generator().manual_seed(SEED))
    return (drawn * 2 - 1).to(device)


@torch.no_grad()
def costs_of(cost: Cost, asked: Problem, actions: Tensor, precision: Precision) -> Tensor:
    """Costs `[B, S]` of an engine, in float64 on the host."""
    with precision.applied():
        return cost(asked.context, asked.goal, actions).double().cpu()


def compare(found: Tensor, wanted: Tensor, elites: int) -> CostCheck:
    """Compare costs `[B, S]`."""
    if found.shape != wanted.shape or not found.isfinite().all():
        raise Wrong(f"costs of shape {tuple(found.shape)}, finite: {bool(found.isfinite().all())}")
    shared = [
        len(set(own.argsort()[:elites].tolist()) & set(theirs.argsort()[:elites].tolist()))
        for own, theirs in zip(found, wanted, strict=True)
    ]
    return CostCheck(float((found - wanted).abs().max() / wanted.abs().max()), min(shared), elites)


def check_costs(found: Tensor, wanted: Tensor, precision: Precision, elites: int) -> CostCheck:
    """Wrong where costs differ by more than the precision allows."""
    check = compare(found, wanted, elites)
    tolerance = EXACT_TOLERANCE if precision.exact else REDUCED_TOLERANCE
    if not check.error <= tolerance:
        raise Wrong(f"costs differ from the reference's by {check.error:.1e} of the largest, over {tolerance:.0e}")
    return check


def seeded(run: Callable[[], Plan], precision: Precision) -> Plan:
    """A plan of the one noise that all are compared with; a copy, since a captured search reuses its memory."""
    torch.manual_seed(SEED)
    with precision.applied():
        plan = run()
    return Plan(plan.actions.clone(), plan.cost.clone())


def check_same_plan(captured: Plan, plain: Plan) -> float:
    """Largest difference of actions, environment units; Wrong where that or the costs' is more than rounding."""
    difference = float((captured.actions - plain.actions).abs().max())
    cost = float(((captured.cost - plain.cost) / plain.cost).abs().max())
    if not max(difference, cost) <= PLAN_TOLERANCE:
        raise Wrong(f"the captured plan differs from the uncaptured one: actions by {difference:.1e}, cost {cost:.1e}")
    return difference


def first_action_difference(plan: Plan, wanted: Plan) -> float:
    """Largest difference of first actions `[B, A]`, environment units."""
    return float((plan.actions[:, 0] - wanted.actions[:, 0]).abs().max())
