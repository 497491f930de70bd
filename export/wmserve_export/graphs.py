"""The graphs of a world, as modules that a family's methods are put together to.

    encode    observations, proprioception             -> latents, features, readouts
    rollout   context, (action_history,) actions       -> latents, disagreement, readouts
    plan      context, (action_history,) goal, actions -> goal_distance, disagreement, readouts of each member
    judge     the same                                 -> latents, disagreement, goal_distance, readouts of each member
    fill      observations, hidden                     -> latents, surprise

Features are for the score of a calibration and leave no server.
Latents of candidates stay inside ``plan``, the cost engine: what leaves it is what a planner adds up. It asks a part of
the ensemble only. ``judge`` asks all, and its goal distance is that of the others: a search finds where its own members
err in its favour, and those know nothing of that. A world without readouts has no such output, one that needs no goal
no such input. Bytes become float32 before anything else: TensorRT reads them only to cast them.

Where actions are rolled out, the latents of members are a tensor called `PATHS` in the exported graph, though no output
of it: there `wmserve fit` puts new heads.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wmserve_export.engines import search_members
from wmserve_export.families import Encoder, Family, Filler, Predictor, Rewarded

PATHS = "paths"
"""Tensor `[B, S, E, H, D]` of an exported graph: latents of each member that it asks."""


class Graph(nn.Module):
    """A graph of a family, which is a module itself: its weights are exported with the graph."""

    def __init__(self, family: Encoder) -> None:
        super().__init__()
        self.family = family

    def readouts(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Readouts of latents `[..., D]`, if the world has any."""
        return (self.family.readout(latents),) if self.family.config.readouts else ()


class EncodeGraph(Graph):
    """What state is this observation?"""

    def forward(self, observations: Tensor | None = None, proprioception: Tensor | None = None) -> tuple[Tensor, ...]:
        """Frames `[B, T, h, w, 3]` uint8, `[B, T, Q]` -> latents `[B, L, D]`, features `[B, L, F]`, `[B, L, R]`."""
        given = [tensor.to(torch.float32) for tensor in (observations, proprioception) if tensor is not None]
        latents, features = self.family.encode(*given)
        return latents, features, *self.readouts(latents)


class FillGraph(Graph):
    """What is the hidden part of this clip?"""

    family: Filler

    def forward(self, observations: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Frames `[B, T, h, w, 3]` uint8, `[B, L, P]` uint8 -> latents `[B, L, D]`, surprise `[B, L, P]`."""
        return self.family.fill(observations.to(torch.float32), hidden.to(torch.float32))


class ActionGraph(Graph):
    """A graph of a family that knows what actions do."""

    family: Predictor
    shows_paths = False
    """Whether the last output is `PATHS`: so the exporter learns which tensor they are."""

    def answer(self, paths: Tensor, *outputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, and the paths if they are shown."""
        return (*outputs, paths) if self.shows_paths else outputs

    def disagreement(self, paths: Tensor) -> Tensor:
        """Of members, or of critics, `[B, S, H]`."""
        family = self.family
        return family.value_spread(paths) if isinstance(family, Rewarded) else disagreement(paths)

    def goal_distance(self, context: Tensor, goal: Tensor | None, actions: Tensor, paths: Tensor) -> Tensor:
        """How far a goal is after each step, or what it costs to stop there, `[B, S, H]`."""
        family = self.family
        if isinstance(family, Rewarded):
            return family.negative_return(context, actions, paths)
        assert isinstance(family, Family), "what plans has a goal distance or a return"
        assert goal is not None, "a goal distance needs a goal"
        return family.goal_distance(paths, goal)


class RolloutGraph(ActionGraph):
    """What will happen if these actions are taken, and how sure is the model?"""

    def forward(self, context: Tensor, actions: Tensor, action_history: Tensor | None = None) -> tuple[Tensor, ...]:
        """Context `[B, T, D]`, actions `[B, S, N, A]` -> `[B, S, H, D]`, `[B, S, H]`, `[B, S, H, R]`."""
        paths = self.family.predict(context, with_history(actions, action_history))
        return self.answer(paths, paths.mean(dim=2), self.disagreement(paths), *mean_of_members(self.readouts(paths)))


class CostGraph(ActionGraph):
    """How far from the goal does each candidate lead?"""

    def forward(
        self, context: Tensor, actions: Tensor, goal: Tensor | None = None, action_history: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Context `[B, T, D]`, goal `[B, D]`, actions `[B, S, N, A]` -> `[B, S, H]`, `[B, S, H]`, `[B, S, E, H, R]`."""
        members, known = search_members(self.family.config.members), with_history(actions, action_history)
        paths = self.family.predict(context, known, members)
        distance = self.goal_distance(context, goal, known, paths)
        return self.answer(paths, distance, self.disagreement(paths), *self.readouts(paths))


class JudgeGraph(ActionGraph):
    """What does everybody say of a plan, and what those whom its search did not ask?"""

    def forward(
        self, context: Tensor, actions: Tensor, goal: Tensor | None = None, action_history: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Context `[B, T, D]`, goal `[B, D]`, actions `[B, S, N, A]`.

        -> `[B, S, H, D]`, `[B, S, H]`, `[B, S, H]` if there are such members, `[B, S, E, H, R]`
        """
        known = with_history(actions, action_history)
        paths = self.family.predict(context, known)
        searching = search_members(self.family.config.members)
        held_out = searching < self.family.config.members
        distance = (self.goal_distance(context, goal, known, paths[:, :, searching:]),) if held_out else ()
        return self.answer(paths, paths.mean(dim=2), self.disagreement(paths), *distance, *self.readouts(paths))


GRAPHS: Mapping[str, type[Graph]] = {
    "encode": EncodeGraph,
    "fill": FillGraph,
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
