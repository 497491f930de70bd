"""CEM and iCEM over a cost engine, all plans of a batch at once, on the device from the first draw to the last refit.

The arithmetic is `wmserve_server.planner.algorithms`', whose constants and whose noise are used; nothing in it depends
on data, so a whole plan can be captured in one CUDA graph.

Axes: `B` plans, `S` candidates, `N` environment steps (each a knot of its own), `A` action dimension, `T` context
frames, `D` latent dimension.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from wmserve.world import ActionSpec
from wmserve_server.planner.algorithms import KEPT_FRACTION, SHRINK, coloured

from loadtest.gpu.precision import FLOAT32

Cost = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Context `[B, T, D]`, goal `[B, D]`, candidates `[B, S, N, A]` in environment units -> costs `[B, S]`."""

INITIAL_STD = 0.5
"""Fraction of each axis' range."""


@dataclass(frozen=True)
class Workload:
    """How to search, and how many plans at once; `horizon` in model steps."""

    algorithm: str
    candidates: int
    iterations: int
    batch: int
    elites: int
    horizon: int = 5

    @property
    def name(self) -> str:
        """As tables call it, without its batch."""
        return f"{'iCEM' if self.smooth else 'CEM'} {self.candidates} x {self.iterations}"

    @property
    def smooth(self) -> bool:
        """Whether this is iCEM: coloured noise, kept elites, populations that shrink."""
        return self.algorithm == "icem"

    @property
    def populations(self) -> list[int]:
        """Candidates of each iteration, of one plan."""
        if not self.smooth:
            return [self.candidates] * self.iterations
        wanted = (max(2 * self.elites, round(self.candidates / SHRINK**step)) for step in range(self.iterations))
        return [min(self.candidates, count) for count in wanted]

    @property
    def kept(self) -> int:
        """Elites that enter the next population."""
        return max(1, int(KEPT_FRACTION * self.elites)) if self.smooth else 0


@dataclass(frozen=True)
class Plan:
    """The best candidates seen: actions `[B, N, A]`, environment units, and their costs `[B]`."""

    actions: Tensor
    cost: Tensor


@dataclass(frozen=True)
class Problem:
    """Where plans start and where they shall lead: context `[B, T, D]`, goal `[B, D]`."""

    context: Tensor
    goal: Tensor


class BasisVectors:
    """Stands in for a generator of normal numbers: what `coloured` makes of these is its matrix."""

    def __init__(self, size: int) -> None:
        self.parts = iter(np.split(np.eye(2 * size), 2, axis=1))

    def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Real parts `[2 size, size, 1]`, then imaginary ones."""
        return next(self.parts).reshape(shape)


def colouring(knots: int) -> Tensor:
    """The matrix `[N, 2 x (N // 2 + 1)]` that makes iCEM's noise of white noise: the planner's own, which is linear."""
    size = knots // 2 + 1
    columns = coloured(BasisVectors(size), (2 * size, knots, 1))  # type: ignore[arg-type]
    return torch.from_numpy(columns[:, :, 0].T.copy())


class Search:
    """Plans a batch with a cost engine."""

    def __init__(self, workload: Workload, action: ActionSpec, cost: Cost, device: torch.device) -> None:
        self.workload, self.cost, self.device = workload, cost, device
        low, high = (torch.tensor([getattr(axis, end) for axis in action.axes]) for end in ("low", "high"))
        self.low, self.high = low.to(device), high.to(device)
        self.knots = workload.horizon * action.action_block

    @cached_property
    def colours(self) -> Tensor:
        """The matrix of the noise, on the device."""
        return colouring(self.knots).to(self.device)

    def noise(self) -> Iterator[Tensor]:
        """Unit noise `[B, S, N, A]` of each iteration; all of it is drawn at once."""
        load = self.workload
        width = self.colours.shape[1] if load.smooth else self.knots
        drawn = torch.randn(load.batch, sum(load.populations), width, len(self.low), device=self.device)
        if load.smooth:
            with FLOAT32.applied():  # every engine is given the same noise
                drawn = self.colours @ drawn
        yield from drawn.split(load.populations, dim=1)

    @torch.no_grad()
    def __call__(self, problem: Problem) -> Plan:
        """Search from the middle of the bounds."""
        shape = (self.workload.batch, self.knots, len(self.low))
        mean = ((self.low + self.high) / 2).expand(shape)
        std = ((self.high - self.low) * INITIAL_STD).expand(shape)
        kept, best = None, None
        for noise in self.noise():
            candidates = self.candidates(mean, std, noise, kept)
            costs = self.cost(problem.context, problem.goal, candidates)
            elites, values = best_of(candidates, costs, self.workload.elites)
            mean, std = elites.mean(dim=1), elites.std(dim=1)
            kept = elites[:, : self.workload.kept]
            best = better(best, Plan(elites[:, 0], values[:, 0]))
        assert best is not None, "there is at least one iteration"
        return best

    def candidates(self, mean: Tensor, std: Tensor, noise: Tensor, kept: Tensor | None) -> Tensor:
        """Candidates `[B, S, N, A]`: the mean first, elites kept from the last population last."""
        found = mean[:, None] + std[:, None] * noise
        found[:, 0] = mean
        if kept is not None and kept.shape[1]:
            found[:, -kept.shape[1] :] = kept
        return torch.clamp(found, self.low, self.high)


def best_of(candidates: Tensor, costs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The cheapest candidates `[B, count, N, A]` in order, and their costs `[B, count]`."""
    values, order = costs.topk(count, dim=1, largest=False)
    return candidates.gather(1, order[:, :, None, None].expand(-1, -1, *candidates.shape[2:])), values


def better(before: Plan | None, now: Plan) -> Plan:
    """The cheaper plan of each problem; ties go to the earlier."""
    if before is None:
        return now
    improved = now.cost < before.cost
    return Plan(torch.where(improved[:, None, None], now.actions, before.actions), torch.minimum(now.cost, before.cost))


class CapturedSearch:
    """A search of one problem's buffers, captured whole in a CUDA graph: drawing, scoring, choosing, fitting."""

    def __init__(self, search: Search, problem: Problem) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up outside of the capture
            for _ in range(2):
                search(problem)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.plan = search(problem)

    def __call__(self) -> Plan:
        """Search; the plan lies in the same memory each time. Noise follows the seed, as it does outside of a graph."""
        self.graph.replay()
        return self.plan
