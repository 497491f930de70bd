"""Puts heads on the exported engines of a world: nodes are added behind its latents, and outputs take their place.

Nothing before the latents is touched; what the old heads needed alone goes. Readouts of frames come from the output
`latents`, those of actions and goal distances from the tensor `paths` (:mod:`wmserve_export.graphs`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from wmserve.world import World

from wmserve_export.coarse import EXACT
from wmserve_export.engines import Axes, Engine, output_axes, search_members
from wmserve_export.families import FamilyConfig
from wmserve_export.fit.heads import Added, Distance, Stack
from wmserve_export.graphs import PATHS

GOAL_DISTANCE, READOUTS = "goal_distance", "readouts"


class FitError(ValueError):
    """A world that cannot be fitted; the message says what to do."""


@dataclass(frozen=True)
class Heads:
    """What is new; None leaves what the world has."""

    readouts: Stack | None = None
    metric: Distance | None = None

    def outputs(self, world: World, engine: Engine) -> tuple[str, ...]:
        """Outputs of an engine that they answer."""
        answered = {
            "encode": (READOUTS,),
            "rollout": (READOUTS,),
            "plan": (GOAL_DISTANCE, READOUTS),
            "judge": (GOAL_DISTANCE, READOUTS) if held_out(world) else (READOUTS,),
            "fill": (),
        }[engine.graph]
        has = {READOUTS: self.readouts is not None, GOAL_DISTANCE: self.metric is not None}
        return tuple(name for name in answered if has[name])


def plan_engine(world: World) -> Engine:
    """The plan engine that the world's planner uses."""
    enough = [steps for steps in world.engine_horizons if steps >= world.search.horizon]
    return Engine("plan", min(enough, default=max(world.engine_horizons)))


def held_out(world: World) -> bool:
    """Whether there are members that no search asks."""
    return search_members(world.ensemble_size) < world.ensemble_size


def put(file: Path, engine: Engine, heads: Heads, world: World, config: FamilyConfig) -> ir.Model:
    """An engine with other heads, whose outputs are those of `config`; FitError where heads have no place in it."""
    model = ir.load(file)
    graph, wanted = model.graph, heads.outputs(world, engine)
    axes = output_axes(config, engine.graph, engine.horizon)
    known = {value.name: value for value in graph.outputs}
    source = known["latents"] if engine.graph == "encode" else paths_of(graph, engine)
    answers = dict(known)
    for name in wanted:
        if name in known:
            known[name].name = f"before/{name}"
        answers[name] = named(added(name, graph, engine, heads, source, world), name, axes[name])
    graph.outputs[:] = [answers[name] for name in axes]
    RemoveUnusedNodesPass()(model)
    return model


def added(name: str, graph: ir.Graph, engine: Engine, heads: Heads, source: ir.Value, world: World) -> ir.Value:
    """The value of one output."""
    nodes = Added(graph, f"{EXACT}{name}")
    if name == GOAL_DISTANCE:
        assert heads.metric is not None, "who has an output has its head"
        goal = next(value for value in graph.inputs if value.name == "goal")
        if engine.kind == "judge":  # the members that searches do not ask
            span = [nodes.weight([at]) for at in (world.search_members, world.ensemble_size, 2)]
            source = nodes.node("Slice", source, *span)
        return heads.metric.add(nodes, source, goal)
    assert heads.readouts is not None, "who has an output has its head"
    answer = heads.readouts.add(nodes, source)
    return nodes.node("ReduceMean", answer, nodes.weight([2]), keepdims=0) if engine.graph == "rollout" else answer


def paths_of(graph: ir.Graph, engine: Engine) -> ir.Value:
    """The latents of members; FitError where an older exporter has not named them."""
    for node in graph:
        for value in node.outputs:
            if value.name == PATHS:
                return value
    raise FitError(
        f"engine {engine.key} has no tensor {PATHS}, where heads are put: an older version of wmserve exported it; "
        "export the world again"
    )


def named(value: ir.Value, name: str, axes: Axes) -> ir.Value:
    """An output of a name and shape."""
    value.name, value.shape = name, ir.Shape(axes)
    value.type = ir.TensorType(ir.DataType.FLOAT)
    return value


def shown(file: Path, engine: Engine) -> ir.Model:
    """An engine whose paths are an output besides, where it has any."""
    model = ir.load(file)
    if engine.graph in ("rollout", "plan", "judge"):
        paths = paths_of(model.graph, engine)
        paths.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(paths)
    return model


Files = Mapping[Engine, Path]
