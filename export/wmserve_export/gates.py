"""Gates between an exported engine and its place in a repository; one that fails is named, and nothing is written.

    parity   every output of every engine is torch's: the largest error, relative to the output's largest value
    rank     a planner would choose the same: elites, and the first action of their mean, over random problems

Parity alone is not enough: a search sorts candidates by cost, and where costs lie close, a small error swaps them.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmserve_export.engines import Engine, output_axes
from wmserve_export.examples import Examples, actions_like, bounds
from wmserve_export.families import Family, FamilyConfig
from wmserve_export.onnx_graphs import graph
from wmserve_export.runtime import Floats, Runner

Track = Callable[[Iterable[int]], Iterable[int]]
"""Passes numbers on and shows how far it is; tqdm, or nothing."""

PARITY_LIMIT = 1e-4
PARITY_SIZES: tuple[Mapping[str, int], ...] = (
    {"B": 1, "S": 1, "h": 64, "w": 64},
    {"B": 2, "S": 30, "h": 96, "w": 128},
    {"B": 1, "S": 300, "h": 224, "w": 224},
    {"B": 4, "S": 64, "h": 31, "w": 47},
)

RANK_PROBLEMS = 200
RANK_ITERATIONS = 3
CANDIDATES, ELITES = 300, 30
OVERLAP_LIMIT = 28
"""Elites of `ELITES` that engine and torch must share, in all but 5 % of the populations."""
ACTION_LIMIT = 0.01
"""Largest difference of the elites' mean first action, as a fraction of its range, in all but 5 %."""


class GateError(RuntimeError):
    """A gate refused the world; the message begins with its name."""


@dataclass(frozen=True)
class Parity:
    """Largest relative error by ``engine:output``."""

    errors: Mapping[str, float]
    limit: float = PARITY_LIMIT

    def check(self) -> None:
        """GateError unless every error is within the limit; NaN is not."""
        for output, error in self.errors.items():
            if not error <= self.limit:
                raise GateError(f"parity: {output} is off by {error:.2g} relative to torch, allowed {self.limit:.0e}")


@dataclass(frozen=True)
class Rank:
    """Agreement of the searches that engine and torch would make."""

    problems: int
    populations: int
    overlap_p5: float
    """Elites shared, of `ELITES`: exceeded in 95 % of the populations."""
    overlap_mean: float
    first_action_p95: float
    """Difference of the first action as a fraction of its range: not reached in 95 %."""

    def check(self) -> None:
        """GateError unless both figures are within their limits."""
        if not self.overlap_p5 >= OVERLAP_LIMIT:
            raise GateError(
                f"rank: {self.overlap_p5:g} of {ELITES} elites are torch's, at least {OVERLAP_LIMIT} must be"
            )
        if not self.first_action_p95 <= ACTION_LIMIT:
            figure = f"{self.first_action_p95:.2%} of its range"
            raise GateError(f"rank: the first action differs by {figure}, allowed {ACTION_LIMIT:.0%}")


def parity(family: Family, files: Mapping[Engine, bytes], examples: Examples) -> Parity:
    """Hold every engine against torch on random inputs of several sizes."""
    generator = torch.Generator().manual_seed(0)
    errors: dict[str, float] = {}
    for engine, model in files.items():
        run, module = Runner(model), graph(family, engine)
        names = output_axes(family.config, engine.verb, engine.horizon)
        for sizes in PARITY_SIZES:
            inputs = examples.inputs(family.config, engine, sizes, generator)
            with torch.inference_mode():
                wanted = dict(zip(names, module(**inputs), strict=True))
            for name, array in run(inputs).items():
                key = f"{engine.key}:{name}"
                errors[key] = worst(errors.get(key, 0.0), relative_error(array, wanted[name].numpy()))
    return Parity(errors)


def relative_error(array: Floats, wanted: Floats) -> float:
    """Largest absolute difference over the largest absolute value."""
    return float(np.abs(array - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))


def worst(one: float, other: float) -> float:
    """The larger; NaN is the worst of all."""
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)


def rank(family: Family, files: Mapping[Engine, bytes], examples: Examples, track: Track = iter) -> Rank:
    """Search with torch's costs, and compare what the engine's costs would have chosen in every population."""
    config = family.config
    engine = min((e for e in files if e.verb == "plan"), key=lambda e: abs((e.horizon or 0) - config.planner.horizon))
    run, module = Runner(files[engine]), graph(family, engine)
    generator = torch.Generator().manual_seed(1)
    overlaps, differences = [], []
    for _ in track(range(RANK_PROBLEMS)):
        problem = examples.inputs(config, engine, {"B": 1, "S": 1}, generator)
        mean, std = actions_like(config, tuple(problem["actions"].shape[2:]), generator) / 2, 0.5
        for _ in range(RANK_ITERATIONS):
            actions = population(config, mean, std, generator)
            inputs = {**problem, "actions": actions.unsqueeze(0)}
            with torch.inference_mode():
                ours = elites(config, module(**inputs)[0].numpy())
            theirs = elites(config, run(inputs)["goal_distance"])
            mean, std = actions[ours].mean(dim=0), std / 2
            overlaps.append(len(set(ours.tolist()) & set(theirs.tolist())))
            differences.append(first_action_difference(config, mean, actions[theirs].mean(dim=0)))
    return Rank(
        problems=RANK_PROBLEMS,
        populations=len(overlaps),
        overlap_p5=float(np.percentile(overlaps, 5)),
        overlap_mean=float(np.mean(overlaps)),
        first_action_p95=float(np.percentile(differences, 95)),
    )


def population(config: FamilyConfig, mean: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Candidates `[S, N, A]` around a mean `[N, A]`, as CEM draws them; `std` is a fraction of the range."""
    low, high = bounds(config)
    noise = torch.randn((CANDIDATES, *mean.shape), generator=generator)
    return torch.clamp(mean + std * (high - low) * noise, low, high)


def elites(config: FamilyConfig, goal_distance: Floats) -> NDArray[np.intp]:
    """Indices `[ELITES]` of the candidates with the least cost, from distances `[1, S, H]`."""
    metric = config.goal_metric
    cost = metric.final_weight * goal_distance[0, :, -1] + metric.path_weight * goal_distance[0].mean(axis=-1)
    return np.argsort(cost, kind="stable")[:ELITES]


def first_action_difference(config: FamilyConfig, mean: Tensor, other: Tensor) -> float:
    """Largest difference of the first actions of two plans `[N, A]`, as a fraction of the axis' range."""
    low, high = bounds(config)
    return float(((mean[0] - other[0]).abs() / (high - low)).max())


def as_report(parity: Parity, rank: Rank) -> dict[str, object]:
    """Figures and limits of both gates."""
    limits = {"overlap": OVERLAP_LIMIT, "elites": ELITES, "first_action": ACTION_LIMIT}
    return {"parity": asdict(parity), "rank": {**asdict(rank), "limits": limits}}
