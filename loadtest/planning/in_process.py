"""Planning without a server: the served planner over the served engines, in this process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc.model_config_pb2 import ModelConfig
from wmserve.world import CONTRACT_PARAMETER, World
from wmserve_server.planner import Limits, Problem, Settings, Shape, State, search
from wmserve_server.planner.goal import GoalCost

COST_OUTPUTS = ["goal_distance", "disagreement", "readouts"]
Floats = NDArray[np.float32]


def session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """An engine with the settings that it is served with."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])


def contract(repository: Path, name: str) -> World:
    """The contract of a world in a repository."""
    config = text_format.Parse((repository / f"{name}_encode" / "config.pbtxt").read_text(), ModelConfig())
    return World.model_validate_json(config.parameters[CONTRACT_PARAMETER].string_value)


@dataclass(frozen=True)
class Engines:
    """What planning takes of a world: its contract, encoder and cost engine."""

    world: World
    encode: onnxruntime.InferenceSession
    cost: onnxruntime.InferenceSession

    @classmethod
    def load(cls, repository: Path, name: str, threads: int = 1) -> "Engines":
        """Read a world from a repository; the cost engine is the one of the planner's horizon."""
        world = contract(repository, name)
        cost = repository / f"{name}_plan" / "1" / f"horizon_{world.search.horizon}.onnx"
        encode = repository / f"{name}_encode" / "1" / "engine.onnx"
        return cls(world, session(encode, threads), session(cost, threads))

    def see(self, frames: NDArray[np.uint8]) -> Floats:
        """Latents `[M, D]` of frames `[M, h, w, 3]`, one by one as the server runs them."""
        rows = [self.encode.run(["latents"], {"observations": frame[None, None]})[0][0, 0] for frame in frames]
        return np.stack(rows)

    def settings(self, **overrides: object) -> Settings:
        """The world's own planner, with other values for some of its settings."""
        chosen = self.world.planner
        own = {name: getattr(chosen, name) for name in Settings.__dataclass_fields__ if hasattr(chosen, name)}
        return Settings(**{**own, **overrides})

    def problem(self, settings: Settings, seed: int, hold_steps: int | None = None) -> Problem:
        """A problem of this world's shape and bounds."""
        axes, planner = self.world.action.axes, self.world.planner
        steps = planner.horizon * self.world.action.action_block
        limits = Limits(np.float32([axis.low for axis in axes]), np.float32([axis.high for axis in axes]))
        return Problem(Shape(steps, len(axes), hold_steps or planner.hold_steps), limits, settings, seed)

    def plan(self, latents: Floats, goal: Floats, problem: Problem, warm_start: Floats | None = None) -> State:
        """Search from latents `[D]` to goal latents `[D]`."""
        metric = self.world.goal_metric
        add_up = GoalCost(metric.final_weight, metric.path_weight)

        def cost(candidates: Floats) -> tuple[Floats, dict[str, Floats]]:
            inputs = {"context": latents[None, None], "goal": goal[None], "actions": candidates[None]}
            scored = self.cost.run(COST_OUTPUTS, inputs)
            costs, details = add_up({name: array[0] for name, array in zip(COST_OUTPUTS, scored, strict=True)})
            return costs, dict(details)

        return search(cost, problem, warm_start)
