"""Gates between an exported engine and its place in a repository; one that fails is named, and nothing is written.

    parity   every output of every engine is torch's: the largest error, relative to the output's largest value
    rank     a planner would choose the same: elites, and the first action of their mean, over random problems

Coarse engines have no parity to keep: a server takes from them which candidates to score again, and rank holds that
choice. Their errors are reported.

Half precisions have limits of their own, and are tried by what runs on a CPU: ``tensorrt.half.rounded``.

Parity alone is not enough: a search sorts candidates by cost, and where costs lie close, a small error swaps them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from wmserve.world import Dtype, GoalMetric, Precision

from wmserve_export.engines import Engine, output_axes
from wmserve_export.examples import Examples, actions_like, bounds
from wmserve_export.families import Encoder, FamilyConfig
from wmserve_export.onnx_graphs import graph
from wmserve_export.runtime import Floats, Runner
from wmserve_export.scoring import CANDIDATES, ELITES, RESCORED, scorers, share, total

PARITY_LIMIT = 1e-4
PARITY_SIZES: tuple[Mapping[str, int], ...] = (
    {"B": 1, "S": 1, "h": 64, "w": 64},
    {"B": 2, "S": 30, "h": 96, "w": 128},
    {"B": 1, "S": 300, "h": 224, "w": 224},
    {"B": 4, "S": 64, "h": 31, "w": 47},
)
"""With `CANDIDATES` in the largest population; `S` shrinks with it."""

RANK_ITERATIONS = 3
FEWEST_CANDIDATES = 20
"""Of which a tenth, 2, are elites."""
OVERLAP_LIMIT = 28
"""Elites of `ELITES` that engine and torch must share, in all but 5 % of the populations."""
ACTION_LIMIT = 0.01
"""Largest difference of the elites' mean first action, as a fraction of its range, in all but 5 %."""


@dataclass(frozen=True)
class Limits:
    """What the gates allow products of a type."""

    parity: float
    overlap: int
    """As ``OVERLAP_LIMIT``."""
    first_action: float
    """As ``ACTION_LIMIT``."""


LIMITS: Mapping[Dtype, Limits] = {
    "float32": Limits(PARITY_LIMIT, OVERLAP_LIMIT, ACTION_LIMIT),
    "float16": Limits(16 * 2.0**-11, 28, 0.02),
    "bfloat16": Limits(16 * 2.0**-8, 25, 0.04),
}
"""Halves: 16 times what one rounding does. Seen: a third of that, 29 and 26 elites, 1.4 and 2.9 % of the range."""


class GateError(RuntimeError):
    """A gate refused the world; the message begins with its name."""


@dataclass(frozen=True)
class Parity:
    """Largest relative error by ``engine:output``; those of coarse engines apart, which have no limit."""

    errors: Mapping[str, float]
    coarse_errors: Mapping[str, float] = field(default_factory=dict)
    limit: float = PARITY_LIMIT
    sizes: tuple[Mapping[str, int], ...] = PARITY_SIZES
    """Of the inputs that were tried."""

    def check(self) -> None:
        """GateError unless every error is within the limit, and those of coarse engines are finite; NaN is neither."""
        for output, error in self.coarse_errors.items():
            if not math.isfinite(error):
                raise GateError(f"parity: {output} is off by {error:.2g} relative to torch")
        for output, error in self.errors.items():
            if not error <= self.limit:
                raise GateError(f"parity: {output} is off by {error:.2g} relative to torch, allowed {self.limit:.0e}")


@dataclass(frozen=True)
class Rank:
    """Agreement of the searches that engines and torch would make."""

    precision: Precision
    """How the engines' candidates were scored."""
    dtype: Dtype
    problems: int
    populations: int
    overlap_p5: float
    """Elites shared, of a tenth of the candidates: exceeded in 95 % of the populations."""
    overlap_mean: float
    first_action_p95: float
    """Difference of the first action as a fraction of its range: not reached in 95 %."""
    candidates: int = CANDIDATES
    """Of each population."""

    @property
    def elites(self) -> int:
        """Elites of each population."""
        return share(ELITES, self.candidates)

    @property
    def overlap_limit(self) -> int:
        """Of these, how many must be torch's."""
        return share(LIMITS[self.dtype].overlap, self.candidates)

    def check(self) -> None:
        """GateError unless both figures are within their limits."""
        name = "mixed" if self.precision == "mixed" else self.dtype
        if not self.overlap_p5 >= self.overlap_limit:
            raise GateError(
                f"rank: {self.overlap_p5:g} of {self.elites} elites in {name} precision are torch's, "
                f"at least {self.overlap_limit} must be"
            )
        allowed = LIMITS[self.dtype].first_action
        if not self.first_action_p95 <= allowed:
            figure = f"{self.first_action_p95:.2%} of its range"
            raise GateError(f"rank: the first action in {name} precision differs by {figure}, allowed {allowed:.0%}")


def parity(
    family: Encoder,
    files: Mapping[Engine, Path],
    examples: Examples,
    dtype: Dtype = "float32",
    candidates: int = CANDIDATES,
    show: bool = False,
) -> Parity:
    """Hold every engine against torch on random inputs of several sizes, up to so many candidates."""
    generator, sizes = torch.Generator().manual_seed(0), parity_sizes(candidates)
    errors: dict[bool, dict[str, float]] = {False: {}, True: {}}
    for engine, file in tqdm(files.items(), "parity gate", disable=not show):
        drawn = (examples.inputs(family.config, engine, size, generator) for size in sizes)
        errors[engine.kind == "coarse"] |= engine_errors(family, engine, file, drawn)
    return Parity(errors[False], errors[True], LIMITS[dtype].parity, sizes)


def parity_sizes(candidates: int) -> tuple[Mapping[str, int], ...]:
    """`PARITY_SIZES` for so many candidates in the largest population."""
    return tuple({**sizes, "S": share(sizes["S"], candidates)} for sizes in PARITY_SIZES)


def engine_errors(
    family: Encoder, engine: Engine, file: Path, drawn: Iterable[Mapping[str, Tensor]]
) -> dict[str, float]:
    """Largest relative error of each output of one engine; nothing of it stays in memory."""
    run, module = Runner(file), graph(family, engine)
    names = output_axes(family.config, engine.graph, engine.horizon)
    errors: dict[str, float] = {}
    for inputs in drawn:
        with torch.inference_mode():
            wanted = dict(zip(names, module(**inputs), strict=True))
        for name, array in run(inputs).items():
            key = f"{engine.key}:{name}"
            errors[key] = worst(errors.get(key, 0.0), relative_error(array, wanted[name].numpy()))
    return errors


def relative_error(array: Floats, wanted: Floats) -> float:
    """Largest absolute difference over the largest absolute value."""
    return float(np.abs(array - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))


def worst(one: float, other: float) -> float:
    """The larger; NaN is the worst of all."""
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)


@dataclass(frozen=True)
class Population:
    """Inputs of a plan engine for many candidates, their actions `[S, N, A]`, and torch's elites among them."""

    inputs: Mapping[str, Tensor]
    actions: Tensor
    elites: NDArray[np.intp]

    def mean(self, elites: NDArray[np.intp]) -> Tensor:
        """Mean `[N, A]` of some candidates."""
        return self.actions[elites].mean(dim=0)

    def shared(self, theirs: NDArray[np.intp]) -> int:
        """Elites that are among `theirs`, too; of candidates with the same actions one is as good as another.

        Where the best is at the bounds of the actions, a search has many such.
        """
        flat = self.actions.flatten(1).numpy()
        known = np.unique(flat, axis=0, return_inverse=True)[1].reshape(-1)
        return (Counter(known[self.elites].tolist()) & Counter(known[theirs].tolist())).total()


def rank(
    family: Encoder,
    files: Mapping[Engine, Path],
    examples: Examples,
    problems: Iterable[int],
    dtype: Dtype = "float32",
    candidates: int = CANDIDATES,
) -> dict[Precision, Rank]:
    """Search with torch's costs, and compare what the engines' costs would have chosen in every population."""
    config, planner, metric = family.config, family.config.planner, family.config.goal_metric
    assert planner is not None, "a world that plans has a planner"
    assert metric is not None, "and a goal metric"
    plans = (e for e in files if e.verb == "plan" and e.kind == "exact")
    engine = min(plans, key=lambda e: abs((e.horizon or 0) - planner.horizon))
    scored = scorers(files, engine, metric)
    overlaps: dict[Precision, list[int]] = {precision: [] for precision in scored}
    differences: dict[Precision, list[float]] = {precision: [] for precision in scored}
    for drawn in populations(family, metric, engine, examples, problems, candidates):
        for precision, costs in scored.items():
            theirs = elites(costs(drawn.inputs))
            overlaps[precision].append(drawn.shared(theirs))
            difference = first_action_difference(config, drawn.mean(drawn.elites), drawn.mean(theirs))
            differences[precision].append(difference)
    return {
        precision: agreement(precision, dtype, candidates, overlaps[precision], differences[precision])
        for precision in scored
    }


def agreement(
    precision: Precision, dtype: Dtype, candidates: int, overlaps: list[int], differences: list[float]
) -> Rank:
    """Figures of all populations."""
    return Rank(
        precision=precision,
        dtype=dtype,
        candidates=candidates,
        problems=len(overlaps) // RANK_ITERATIONS,
        populations=len(overlaps),
        overlap_p5=float(np.percentile(overlaps, 5)),
        overlap_mean=float(np.mean(overlaps)),
        first_action_p95=float(np.percentile(differences, 95)),
    )


def populations(
    family: Encoder,
    metric: GoalMetric,
    engine: Engine,
    examples: Examples,
    problems: Iterable[int],
    candidates: int,
) -> Iterator[Population]:
    """Draw what searches over random problems would, each population around torch's elites of the one before."""
    config, module, generator = family.config, graph(family, engine), torch.Generator().manual_seed(1)
    for _ in problems:
        problem = examples.inputs(config, engine, {"B": 1, "S": 1}, generator)
        mean, std = actions_like(config, tuple(problem["actions"].shape[2:]), generator) / 2, 0.5
        for _ in range(RANK_ITERATIONS):
            actions = population(config, mean, std, generator, candidates)
            inputs = {**problem, "actions": actions.unsqueeze(0)}
            with torch.inference_mode():
                ours = elites(total(metric, module(**inputs)[0].numpy()))
            drawn = Population(inputs, actions, ours)
            yield drawn
            mean, std = drawn.mean(ours), std / 2


def population(
    config: FamilyConfig, mean: Tensor, std: float, generator: torch.Generator, candidates: int = CANDIDATES
) -> Tensor:
    """Candidates `[S, N, A]` around a mean `[N, A]`, as CEM draws them; `std` is a fraction of the range."""
    low, high = bounds(config.action.axes)
    noise = torch.randn((candidates, *mean.shape), generator=generator)
    return torch.clamp(mean + std * (high - low) * noise, low, high)


def elites(costs: Floats) -> NDArray[np.intp]:
    """Indices `[S / 10]` of the candidates with the least cost `[S]`."""
    return np.argsort(costs, kind="stable")[: share(ELITES, len(costs))]


def first_action_difference(config: FamilyConfig, mean: Tensor, other: Tensor) -> float:
    """Largest difference of the first actions of two plans `[N, A]`, as a fraction of the axis' range."""
    low, high = bounds(config.action.axes)
    return float(((mean[0] - other[0]).abs() / (high - low).clamp(min=1e-12)).max())


def as_report(parity: Parity, rank: Mapping[Precision, Rank]) -> dict[str, object]:
    """Figures and limits of both gates; where plans are of mixed precision, ``rank`` is theirs."""
    report: dict[str, object] = {"parity": asdict(parity)}
    if served := rank.get("mixed", rank.get("float32")):
        allowed = LIMITS[served.dtype].first_action
        limits = {"overlap": served.overlap_limit, "elites": served.elites, "first_action": allowed}
        report["rank"] = {**asdict(served), "limits": limits}
    if "mixed" in rank:
        report |= {"rank_float32": asdict(rank["float32"]), "rescored": share(RESCORED, rank["mixed"].candidates)}
    return report
