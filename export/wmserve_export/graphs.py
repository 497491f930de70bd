"""The graphs of a world, as modules that a family's methods are put together to.

    encode    observations                            -> latents, features, readouts
    rollout   context, (action_history,) actions       -> latents, disagreement, readouts
    plan      context, (action_history,) goal, actions -> goal_distance, disagreement, readouts of each member
    judge     the same                                 -> latents, disagreement, goal_distance, readouts of each member

Features are for the score of a calibration and leave no server.
Latents of candidates stay inside ``plan``, the cost engine: what leaves it is what a planner adds up. It asks a part of
the ensemble only. ``judge`` asks all, and its goal distance is that of the others: a search finds where its own members
err in its favour, and those know nothing of that. A world without readouts has no such output.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wmserve_export.engines import search_members
from wmserve_export.families import Family


class Graph(nn.Module):
    """A graph of a family, which is a module itself: its weights are exported with the graph."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def readouts(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Readouts of latents `[..., D]`, if the world has any."""
        return (self.family.readout(latents),) if self.family.config.readouts else ()


class EncodeGraph(Graph):
    """What state is this observation?"""

    def forward(self, observations: Tensor) -> tuple[Tensor, ...]:
        """Frames `[B, T, h, w, 3]` uint8 -> latents `[B, T, D]`, features `[B, T, F]`, readouts `[B, T, R]`."""
        latents, features = self.family.encode(observations)
        return latents, features, *self.readouts(latents)


class RolloutGraph(Graph):
    """What will happen if these actions are taken, and how sure is the model?"""

    def forward(self, context: Tensor, actions: Tensor, action_history: Tensor | None = None) -> tuple[Tensor, ...]:
        """Context `[B, T, D]`, actions `[B, S, N, A]` -> `[B, S, H, D]`, `[B, S, H]`, `[B, S, H, R]`."""
        paths = self.family.predict(context, with_history(actions, action_history))
        return paths.mean(dim=2), disagreement(paths), *mean_of_members(self.readouts(paths))


class CostGraph(Graph):
    """How far from the goal does each candidate lead?"""

    def forward(
        self, context: Tensor, goal: Tensor, actions: Tensor, action_history: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Context `[B, T, D]`, goal `[B, D]`, actions `[B, S, N, A]` -> `[B, S, H]`, `[B, S, H]`, `[B, S, E, H, R]`."""
        members = search_members(self.family.config.members)
        paths = self.family.predict(context, with_history(actions, action_history), members)
        distance = self.family.goal_distance(paths, goal)
        return distance, disagreement(paths), *self.readouts(paths)


class JudgeGraph(Graph):
    """What does everybody say of a plan, and what those whom its search did not ask?"""

    def forward(
        self, context: Tensor, goal: Tensor, actions: Tensor, action_history: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Context `[B, T, D]`, goal `[B, D]`, actions `[B, S, N, A]`.

        -> `[B, S, H, D]`, `[B, S, H]`, `[B, S, H]` if there are such members, `[B, S, E, H, R]`
        """
        paths = self.family.predict(context, with_history(actions, action_history))
        searching = search_members(self.family.config.members)
        held_out = paths[:, :, searching:]
        distance = (self.family.goal_distance(held_out, goal),) if searching < self.family.config.members else ()
        return paths.mean(dim=2), disagreement(paths), *distance, *self.readouts(paths)


GRAPHS: Mapping[str, type[Graph]] = {
    "encode": EncodeGraph,
    "rollout": RolloutGraph,
    "plan": CostGraph,
    "judge": JudgeGraph,
}


def mean_of_members(readouts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """`[B, S, E, H, R]` -> `[B, S, H, R]`."""
    return tuple(values.mean(dim=2) for values in readouts)


def disagreement(paths: Tensor) -> Tensor:
    """Paths `[B, S, E, H, D]` -> `[B, S, H]`: ``|| std_e z_h^e ||``, the population's standard deviation."""
    if paths.shape[2] == 1:  # a single member agrees with itself
        return torch.zeros_like(paths[:, :, 0, :, 0])
    return paths.var(dim=2, correction=0).sum(dim=-1).sqrt()


def with_history(actions: Tensor, action_history: Tensor | None) -> Tensor:
    """Put `[B, (T - 1) x action_block, A]` before every candidate of `[B, S, N, A]`."""
    if action_history is None:
        return actions
    history = action_history.unsqueeze(1).expand(-1, actions.shape[1], -1, -1)
    return torch.cat([history, actions], dim=2)
