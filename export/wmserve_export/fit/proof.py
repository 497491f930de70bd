"""Gates between a fitted world and its place in a repository; where one refuses, nothing is written.

untouched  every output that no new head answers is what it was, to the bit: encoder and predictor are as they were
parity     what a new head answers in an engine is what torch says of the latents that the engine before had
sound      goal distances are finite, not negative, and 0 at the goal
rank       searches choose what torch's costs would choose (:mod:`wmserve_export.gates`)
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from wmserve.world import Precision, World

from wmserve_export import gates
from wmserve_export.engines import Engine
from wmserve_export.examples import Examples
from wmserve_export.fit.engines_before import Before, FromContract, Predicting
from wmserve_export.fit.surgery import GOAL_DISTANCE, Heads
from wmserve_export.gates import GateError, Parity, Rank, parity_sizes, relative_error, worst
from wmserve_export.graphs import PATHS
from wmserve_export.runtime import Floats, Runner

PROBLEMS = 20
"""Random planning problems of the rank gate."""
CANDIDATES = 300
AT_GOAL = 1e-3
"""Largest distance of a goal from itself, in parts of the mean distance of two frames."""


@dataclasses.dataclass(frozen=True)
class Proved:
    """What the gates found."""

    unchanged: tuple[str, ...]
    """Outputs that are what they were, as ``engine:output``."""
    parity: Parity
    rank: Mapping[Precision, Rank]

    def report(self) -> dict[str, object]:
        """As an export's report has it."""
        return {**gates.as_report(self.parity, self.rank), "unchanged": list(self.unchanged)}


def prove(
    before: Before,
    files: Mapping[Engine, Path],
    heads: Heads,
    config: FromContract,
    examples: Examples,
    candidates: int,
    show: bool,
) -> Proved:
    """Try the changed engines; GateError from the first gate that refuses."""
    found: dict[bool, dict[str, float]] = {False: {}, True: {}}
    unchanged: list[str] = []
    generator, sizes = torch.Generator().manual_seed(0), parity_sizes(candidates)
    for engine, file in tqdm(files.items(), "gates", disable=not show):
        run = Runner(file)
        source = before.runner(engine.beside("exact") if engine.kind == "coarse" else engine)
        for size in sizes:
            inputs = examples.inputs(config, engine, size, generator)
            was, now = source(inputs), run(inputs)
            wanted = answers(heads, engine, was, inputs, before.world)
            for name, array in now.items():
                key = f"{engine.key}:{name}"
                if name in wanted or engine.kind == "coarse":
                    error = relative_error(array, wanted.get(name, was.get(name, array)))
                    errors = found[engine.kind == "coarse"]
                    errors[key] = worst(errors.get(key, 0.0), error)
                elif array.tobytes() != was[name].tobytes():
                    raise GateError(f"untouched: {key} is no longer what it was")
                else:
                    unchanged.append(key)
    parity = Parity(found[False], found[True], sizes=sizes)
    parity.check()
    ranks: Mapping[Precision, Rank] = {}
    if heads.metric is not None:
        sound(heads, examples)
        family = Predicting(before, config, heads.metric)
        problems = tqdm(range(PROBLEMS), "rank gate", disable=not show)
        ranks = gates.rank(family, files, examples, problems, candidates=candidates)
        for agreement in ranks.values():
            agreement.check()
    return Proved(tuple(dict.fromkeys(unchanged)), parity, ranks)


@torch.inference_mode()
def answers(
    heads: Heads, engine: Engine, was: Mapping[str, Floats], inputs: Mapping[str, torch.Tensor], world: World
) -> dict[str, Floats]:
    """What torch's heads say of the latents that an engine had before."""
    names = heads.outputs(world, engine.beside("exact") if engine.kind == "coarse" else engine)
    latents = torch.from_numpy(was["latents" if engine.graph == "encode" else PATHS])
    said: dict[str, Floats] = {}
    for name in names:
        if name == GOAL_DISTANCE:
            assert heads.metric is not None, "who has an output has its head"
            asked = latents[:, :, world.search_members :] if engine.kind == "judge" else latents
            said[name] = heads.metric(asked, inputs["goal"]).numpy()
        else:
            assert heads.readouts is not None, "who has an output has its head"
            values = heads.readouts(latents)
            said[name] = (values.mean(dim=2) if engine.graph == "rollout" else values).numpy()
    return said


@torch.inference_mode()
def sound(heads: Heads, examples: Examples) -> None:
    """GateError unless distances between frames are what a search can add up."""
    assert heads.metric is not None, "there is a metric"
    assert examples.latents is not None, "who fits has seen frames"
    latents = examples.latents
    apart = heads.metric.between(latents[:, None], latents[None])
    if not (torch.isfinite(apart).all() and (apart >= 0).all()):
        raise GateError("sound: some goal distances are negative or not finite")
    own, usual = float(apart.diagonal().max()), float(apart.mean())
    if not own <= AT_GOAL * usual:
        raise GateError(f"sound: a goal is {own:.3g} from itself, where frames are {usual:.3g} from each other")


def examples_of(latents: Floats, most: int = 512) -> Examples:
    """Latents for the gates."""
    rows = np.linspace(0, len(latents) - 1, min(most, len(latents))).astype(int)
    return Examples(None, torch.from_numpy(latents[rows].copy()))
