"""The peer: `stable_worldmodel.solver.CEMSolver`, untouched, in a process of its own.

    python -m loadtest.planning.peer lewm|two_room CHECKPOINT THREADS

Reads requests as JSON lines from standard input, answers each with a line that begins with ANSWER (the solver prints at
each solve). Frames travel as files. Two-Room is given wmserve's own cost, so that only the search differs; LeWM is its
package's own model with its own cost.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import torch
from stable_worldmodel.policy import PlanConfig
from stable_worldmodel.solver import CEMSolver
from torch import Tensor
from wmserve_export.families import conv_jepa, lewm
from wmserve_export.families.lewm.weights import read

from loadtest import lewm_reference

ANSWER = "ANSWER "
HORIZON, BLOCK = 5, 5
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class TwoRoomCost:
    """wmserve's cost of Two-Room, as the peer's solver asks for one; actions are clipped as the environment does."""

    def __init__(self, checkpoint: Path) -> None:
        self.world = conv_jepa.load(checkpoint)

    def get_cost(self, info: dict[str, Any], candidates: Tensor) -> Tensor:
        """Costs `[B, S]` of candidates `[B, S, H, block x A]`; latents are kept from the first call, as LeWM does."""
        if "emb" not in info:
            for key, frames in (("emb", "pixels"), ("goal_emb", "goal")):
                info[key] = self.world.encode(info[frames][:, 0])[0][:, -1]  # frames `[B, S, T, h, w, 3]`
        actions = candidates.reshape(*candidates.shape[:2], -1, 2).clamp(-1, 1)
        distance = self.world.goal_distance(self.world.predict(info["emb"][:, None], actions), info["goal_emb"])
        metric = self.world.config.goal_metric
        return metric.final_weight * distance[..., -1] + metric.path_weight * distance.mean(dim=-1)


def lewm_model(checkpoint: Path) -> torch.nn.Module:
    """The package's LeWM with a checkpoint's weights."""
    config = lewm.LewmConfig.model_validate_json((checkpoint / "config.json").read_text())
    return lewm_reference.build(config, read(checkpoint, config))


def solver(model: Any, candidates: int = 300, iterations: int = 30, elites: int = 30, seed: int = 0) -> CEMSolver:
    """The solver, configured for blocks of two-component actions."""
    made = CEMSolver(model, num_samples=candidates, n_steps=iterations, topk=elites, seed=seed, callbacks=[])
    space = gymnasium.spaces.Box(-np.inf, np.inf, (1, 2), np.float32)
    made.configure(action_space=space, n_envs=1, config=PlanConfig(HORIZON, 1, action_block=BLOCK))
    return made


class Lowest:
    """A callback of the solver that remembers the lowest cost."""

    output_key = "lowest"

    def reset(self) -> None:
        """Begin."""
        self.history = [float("inf")]

    def start_batch(self) -> None:
        """Nothing to do."""

    def end_solve(self) -> None:
        """Nothing to do."""

    def __call__(self, topk_vals: Tensor, **_: Any) -> None:
        """Look at an iteration."""
        self.history = [min(self.history[0], float(topk_vals.min()))]


def same_noise(seed: int) -> Any:
    """Have the solver draw the server's noise: then both searches see the same candidates."""
    iteration = iter(range(1_000_000))

    def randn(*shape: int, **device: Any) -> Tensor:
        del device
        _, count, horizon, _ = shape
        rng = np.random.default_rng((seed, next(iteration)))
        return torch.from_numpy(rng.standard_normal((count, horizon * BLOCK, 2), dtype=np.float32)).reshape(shape)

    patched = SimpleNamespace(**{**vars(torch), "randn": randn})
    return mock.patch("stable_worldmodel.solver.cem.torch", patched)


def pixels(file: str, name: str) -> Tensor:
    """A frame as each model's users prepare it: `[1, 1, h, w, 3]` uint8, or `[1, 1, 3, h, w]` float32."""
    frame = torch.from_numpy(np.load(file))[None, None]
    return frame if name == "two_room" else (frame.permute(0, 1, 4, 2, 3) / 255.0 - MEAN) / STD


def info(request: dict[str, Any], name: str) -> dict[str, Tensor]:
    """What a policy hands its solver."""
    seen, goal = pixels(request["start"], name), pixels(request["goal"], name)
    return {"pixels": seen, "goal": goal, "action": torch.zeros(1, 1, 2 * BLOCK)}


def answer(request: dict[str, Any], model: Any, name: str) -> dict[str, float]:
    """Solve; milliseconds and the lowest cost seen."""
    made = solver(model, seed=request["seed"])
    if request.get("same_noise"):
        made.callbacks = [Lowest()]
        with same_noise(request["seed"]):
            outputs = made.solve(info(request, name))
        return {"cost": outputs["callbacks"]["lowest"][0]}
    asked = info(request, name)
    began, cpu = time.perf_counter(), time.process_time()
    made.solve(asked)
    return {"ms": 1000 * (time.perf_counter() - began), "cpu_ms": 1000 * (time.process_time() - cpu)}


def main() -> None:
    """Answer until standard input ends."""
    name, checkpoint = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(int(sys.argv[3]))
    model: Any = TwoRoomCost(checkpoint) if name == "two_room" else lewm_model(checkpoint)
    for line in sys.stdin:
        print(ANSWER + json.dumps(answer(json.loads(line), model, name)), flush=True)


if __name__ == "__main__":
    main()
