"""The goal metric that a world has, as something to be asked by itself: what a fitted one is held against."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass

from wmserve_export.engines import Engine
from wmserve_export.external_data import has_external_data
from wmserve_export.fit.engines_before import Before
from wmserve_export.fit.measures import Metric
from wmserve_export.fit.surgery import GOAL_DISTANCE, paths_of
from wmserve_export.graphs import PATHS
from wmserve_export.runtime import Floats, Runner

MEMORY = 64 << 20
"""Bytes of latents that are asked about at once."""


def of(before: Before, engine: Engine, scratch: Path) -> tuple[str, Metric]:
    """Its name and itself; the squared distance of latents where it cannot be told from what comes before it."""
    world = before.world
    file = before.file(engine)
    model = None if has_external_data(file) else behind_paths(file, engine)
    if model is None:
        return "latent distance", latent_distance
    onnx.save(ir.to_proto(model), scratch / "metric.onnx")
    run, members, steps = Runner(scratch / "metric.onnx"), world.search_members, engine.horizon or 1

    def distance(latents: Floats, goals: Floats) -> Floats:
        at_once, length = max(1, MEMORY // (4 * latents.shape[2] * members * steps)), latents.shape[1]
        found = []
        for start in range(0, len(latents), at_once):
            some = latents[start : start + at_once, None, None]
            padded = np.pad(some, ((0, 0), (0, 0), (0, 0), (0, steps - length), (0, 0)), mode="edge")
            paths = torch.from_numpy(np.ascontiguousarray(np.repeat(padded, members, axis=2)))
            goal = torch.from_numpy(np.ascontiguousarray(goals[start : start + at_once]))
            found.append(run({PATHS: paths, "goal": goal})[GOAL_DISTANCE][:, 0, :length])
        return np.concatenate(found)

    return world.metric.name, distance


def latent_distance(latents: Floats, goals: Floats) -> Floats:
    """Squared distances `[P, H]` of latents `[P, H, D]` from goals `[P, D]`."""
    return np.square(latents - goals[:, None]).sum(axis=-1)


def behind_paths(file: Path, engine: Engine) -> ir.Model | None:
    """What a plan engine makes of `paths` and a goal; None where that is not all it needs."""
    model = ir.load(file)
    graph = model.graph
    paths = paths_of(graph, engine)
    given = ir.Value(name=PATHS, shape=paths.shape, type=ir.TensorType(ir.DataType.FLOAT))
    paths.name = f"before/{PATHS}"
    paths.replace_all_uses_with(given)
    graph.inputs.append(given)
    graph.outputs[:] = [value for value in graph.outputs if value.name == GOAL_DISTANCE]
    RemoveUnusedNodesPass()(model)
    graph.inputs[:] = [value for value in graph.inputs if value.uses()]
    return model if {value.name for value in graph.inputs} == {PATHS, "goal"} else None
