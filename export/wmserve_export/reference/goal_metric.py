"""The goal metric of the reference world: how many model steps from latents to goal latents, through the door.

Fitted after training, from latents, logged actions and the knowledge of which trajectories share a layout; nothing
else of the environment is seen. In each layout:

1. edges: the inverse model says which held action would lead from one recorded state to another; the edge stands
   where the predictor ensemble, given that action, indeed arrives. Its length is the action's norm: 1 is a model
   step at full speed along one axis. A wall between two states makes the prediction stop short, so no edge.
2. shortest paths between all recorded states of the layout (Floyd-Warshall).
3. a network is regressed on these lengths: `GoalNet`, small enough for the inside of a planner.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm, trange

from wmserve_export.families.conv_jepa import ConvJepa, GoalNet

UNREACHED = 1e6
"""Length between states that no path joins."""
ACTION_LIMIT = 1.02
"""An edge's action may exceed its bounds by this factor, the inverse model's own error."""


@dataclass(frozen=True)
class Recipe:
    """How the metric is fitted."""

    states_per_layout: int = 448
    arrival_quantile: float = 0.9
    """An edge's prediction must come as close as this part of logged transitions comes."""
    steps: int = 2500
    batch: int = 4096
    learning_rate: float = 2e-3
    near: int = 8
    """Half of the pairs take the nearest of so many goals, because success is decided near the goal."""


@dataclass(frozen=True)
class Paths:
    """Recorded states of one layout, latents `[K, D]`, and the path lengths between them `[K, K]`, model steps."""

    latents: Tensor
    lengths: Tensor


def step_held(world: ConvJepa, latents: Tensor, action: Tensor) -> Tensor:
    """The ensemble's mean after one model step with a held action: `[M, D]`, `[M, A]` environment units -> `[M, D]`."""
    held = action[:, None].expand(-1, world.config.action.action_block, -1)
    return world.predict(latents[:, None], held[:, None])[:, 0, :, 0].mean(dim=1)


class Inverse(nn.Module):
    """The inverse model: the mean action, environment units, that leads from latents to the next latents."""

    def __init__(self, world: ConvJepa, width: int = 128) -> None:
        super().__init__()
        dim = world.config.latent_dim
        self.of_latents = nn.Linear(dim, width)
        self.of_next = nn.Linear(dim, width, bias=False)
        self.head = nn.Linear(width, len(world.config.action.axes))

    def forward(self, latents: Tensor, following: Tensor) -> Tensor:
        """Latents and next latents, `[..., D]` that broadcast -> `[..., A]`."""
        action: Tensor = self.head(functional.relu(self.of_latents(latents) + self.of_next(following)))
        return action


@torch.no_grad()
def arrival_tolerance(world: ConvJepa, inverse: Inverse, latents: Tensor, quantile: float) -> float:
    """Squared distance within which predictions of logged transitions `[M, L + 1, D]` arrive, at a quantile."""
    start, end = latents[:, :-1].flatten(0, 1), latents[:, 1:].flatten(0, 1)
    some = torch.randperm(len(start))[:20_000]
    start, end = start[some], end[some]
    missed = (step_held(world, start, inverse(start, end).clamp(-1, 1)) - end).square().sum(dim=-1)
    return float(missed.quantile(quantile))


@torch.no_grad()
def edges(world: ConvJepa, inverse: Inverse, states: Tensor, tolerance: float) -> Tensor:
    """Lengths `[K, K]` of the edges between states `[K, D]`; UNREACHED where there is none."""
    actions = inverse(states[:, None], states[None])
    start, end = torch.nonzero(actions.abs().amax(dim=-1) <= ACTION_LIMIT, as_tuple=True)
    action = actions[start, end].clamp(-1, 1)
    arrived = (step_held(world, states[start], action) - states[end]).square().sum(dim=-1) < tolerance
    lengths = torch.full((len(states), len(states)), UNREACHED)
    lengths[start[arrived], end[arrived]] = action[arrived].norm(dim=-1)
    return lengths.fill_diagonal_(0.0)


def shortest_paths(lengths: Tensor) -> Tensor:
    """Floyd-Warshall on edge lengths `[K, K]`."""
    paths = lengths.clone()
    for middle in range(len(paths)):
        torch.minimum(paths, paths[:, middle : middle + 1] + paths[middle : middle + 1], out=paths)
    return paths


def layout_paths(world: ConvJepa, inverse: Inverse, latents: Tensor, layouts: Tensor, recipe: Recipe) -> list[Paths]:
    """Paths of every layout, from latents `[M, L + 1, D]` and the layout `[M]` of each trajectory."""
    tolerance = arrival_tolerance(world, inverse, latents, recipe.arrival_quantile)
    found = []
    for layout in tqdm(torch.unique(layouts), desc="shortest paths", unit="layout", mininterval=5):
        states = latents[layouts == layout].flatten(0, 1)
        states = states[torch.randperm(len(states))[: recipe.states_per_layout]]
        found.append(Paths(states, shortest_paths(edges(world, inverse, states, tolerance))))
    return found


def draw_pairs(paths: list[Paths], recipe: Recipe, layouts: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """States `[P, D]`, goals `[P, D]` and path lengths `[P]`; half of the goals near, half anywhere."""
    states, goals, lengths = [], [], []
    count = recipe.batch // layouts
    for index in torch.randint(len(paths), (layouts,)).tolist():
        layout = paths[index]
        start = torch.randint(len(layout.latents), (count,))
        offered = torch.randint(len(layout.latents), (count, recipe.near))
        nearest = layout.lengths[start[:, None], offered].argmin(dim=1)
        nearest[count // 2 :] = 0
        goal = offered[torch.arange(count), nearest]
        states.append(layout.latents[start])
        goals.append(layout.latents[goal])
        lengths.append(layout.lengths[start, goal])
    return torch.cat(states), torch.cat(goals), torch.cat(lengths)


def fit(net: GoalNet, paths: list[Paths], noise: float, recipe: Recipe) -> float:
    """Regress the network on path lengths; returns the last mean absolute error, model steps.

    ``noise`` is the predictor's own error: what is scored while planning is predicted, not recorded.
    """
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.05
    )
    error = 0.0
    progress = trange(recipe.steps, desc="goal metric", mininterval=5)
    for _ in progress:
        states, goals, lengths = draw_pairs(paths, recipe)
        reached = lengths < UNREACHED / 2
        guess = net(states + noise * torch.randn_like(states), goals)[reached]
        lengths = lengths[reached]
        # Relative, so that the last steps before the goal are as exact as the first are rough.
        loss = (functional.smooth_l1_loss(guess, lengths, reduction="none", beta=0.3) / (1.0 + lengths)).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        error += 0.01 * (float((guess - lengths).detach().abs().mean()) - error)
        progress.set_postfix(error=f"{error:.3f}", refresh=False)
    return error
