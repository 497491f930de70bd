"""What half precisions cost a plan, by their values on a CPU: the gates' figures, and the plans that searches find.

    python -m loadtest.half_precision CHECKPOINT ...

Prints JSON: by checkpoint and type, the worst parity, what the rank gate sees, and by how much the float32 cost of the
plan found with rounded products is over that of the plan found in float32 with the same seed (quartiles and 95 %).
Beside it, what another seed changes in float32. CEM, 300 candidates, 10 iterations, the planner's horizon.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from wmserve.world import Dtype
from wmserve_export import families, gates
from wmserve_export.engines import Engine
from wmserve_export.examples import Examples, bounds
from wmserve_export.export import one_thread
from wmserve_export.external_data import ExternalData
from wmserve_export.families import Encoder
from wmserve_export.onnx_graphs import export_engine
from wmserve_export.scoring import Scorer, scorer
from wmserve_export.tensorrt.half import rounded
from wmserve_server.planner import Limits, Problem, Settings, Shape, search

SETTINGS = Settings("cem", candidate_count=300, iterations=10, elite_count=30, initial_std=0.5)
OTHER_SEED = 1000


def figures(checkpoint: Path, problems: int) -> dict[str, object]:
    """Of one world, by type."""
    family = families.load(checkpoint)
    config, examples = family.config, Examples.load(checkpoint, family)
    assert config.planner is not None, "half precisions matter to worlds that plan"
    assert config.goal_metric is not None
    engine = Engine("plan", config.planner.horizon)
    with tempfile.TemporaryDirectory() as folder:
        exact = export_engine(family, engine, ExternalData(Path(folder)))
        files = {dtype: rounded(exact, dtype) for dtype in get_args(Dtype)}
        found: dict[str, dict[str, object]] = {}
        for dtype, file in files.items():
            parity = gates.parity(family, {engine: file}, examples, dtype)
            rank = gates.rank(family, {engine: file}, examples, range(problems), dtype)["float32"]
            found[dtype] = {
                "parity": max(parity.errors.values()),
                "overlap_p5": rank.overlap_p5,
                "first_action_p95": rank.first_action_p95,
            }
        scores = {dtype: scorer(file, config.goal_metric) for dtype, file in files.items()}
    worse: dict[str, list[float]] = {name: [] for name in (*scores, "another seed")}
    generator = torch.Generator().manual_seed(3)
    for seed in range(problems):
        inputs = examples.inputs(config, engine, {"B": 1, "S": 1}, generator)
        best = cost_of_plan(family, scores["float32"], scores["float32"], inputs, seed)
        for dtype, score in scores.items():
            worse[dtype].append(cost_of_plan(family, score, scores["float32"], inputs, seed) / best - 1)
        other = cost_of_plan(family, scores["float32"], scores["float32"], inputs, seed + OTHER_SEED)
        worse["another seed"].append(other / best - 1)
    over = {name: np.percentile(values, [25, 50, 75, 95]).round(5).tolist() for name, values in worse.items()}
    return {
        **{dtype: {**own, "cost_over": over[dtype]} for dtype, own in found.items()},
        "another_seed": over.popitem()[1],
    }


def cost_of_plan(family: Encoder, score: Scorer, exact: Scorer, inputs: Mapping[str, Tensor], seed: int) -> float:
    """Float32 cost of the plan that a search finds with some scores."""
    action, planner = family.config.action, family.config.planner
    assert planner is not None
    low, high = bounds(action.axes)
    shape = Shape(planner.horizon * action.action_block, len(action.axes), planner.hold_steps)

    def costs(score: Scorer, candidates: np.ndarray) -> np.ndarray:
        return score({**inputs, "actions": torch.from_numpy(np.ascontiguousarray(candidates))[None]})

    problem = Problem(shape, Limits(low.numpy(), high.numpy()), SETTINGS, seed)
    state = search(lambda candidates: (costs(score, candidates), {}), problem)
    assert state.best is not None
    return float(costs(exact, state.best.actions[None])[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--problems", type=int, default=60)
    options = parser.parse_args()
    with one_thread():
        print(json.dumps({place.name: figures(place, options.problems) for place in options.checkpoints}, indent=1))
