"""How little search is enough? Success on Two-Room against the size of the search, on the tuning seeds and doors.

    python -m loadtest.tune_planner [--episodes 200] [--settings cem:300x30/30 icem:32x2/6 ...]

In one process and without a server: the served planner over the served engines. Each row is one setting of the planner,
`algorithm:candidates x iterations / elites`, an optional `@std` for the initial standard deviation; it plans again after
each model step from the rest of the last plan, as the client's policy does. The evaluation seeds are not touched.
"""

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from wmserve_export.reference import environment
from wmserve_export.reference.collect import ACTION_BLOCK, TUNING_SEED
from wmserve_export.reference.evaluate import PROTOCOLS, Episodes, draw_episodes, interval
from wmserve_server.planner import Limits, Problem, Settings, Shape, search
from wmserve_server.planner.goal import GoalCost

REPOSITORY = Path(__file__).parent.parent / "model_repository"
HORIZON, HOLD = 5, 5
SHAPE = Shape(HORIZON * ACTION_BLOCK, 2, HOLD)
LIMITS = Limits(np.full(2, -1, np.float32), np.full(2, 1, np.float32))
GOAL = GoalCost(1.0, 1.0)
COST_OUTPUTS = ["goal_distance", "disagreement", "readouts"]
DEFAULT = ["cem:300x30/30", "cem:64x4/8", "cem:32x2/6", "cem:16x2/4", "icem:32x2/6", "icem:16x2/4", "mppi:32x2/8"]
Floats = NDArray[np.float32]


def session(path: str) -> onnxruntime.InferenceSession:
    """An engine of the shipped world on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession((REPOSITORY / path).read_bytes(), options)


@dataclass(frozen=True)
class Engines:
    """The two engines that planning takes."""

    encode: onnxruntime.InferenceSession
    cost: onnxruntime.InferenceSession

    def see(self, positions: Floats, doors: NDArray[np.int64]) -> Floats:
        """Latents `[M, D]` of agents at positions `[M, 2]` behind doors `[M]`."""
        frames = [environment.render(positions[i : i + 1], int(door)).numpy() for i, door in enumerate(doors)]
        latents: Floats = self.encode.run(["latents"], {"observations": np.stack(frames)})[0][:, 0]
        return latents

    def plan(self, latents: Floats, goal: Floats, settings: Settings, seed: int, warm: Floats | None) -> Floats:
        """Actions `[N, A]` of one plan."""

        def cost(candidates: Floats) -> tuple[Floats, dict[str, Floats]]:
            inputs = {"context": latents[None, None], "goal": goal[None], "actions": candidates[None]}
            scored = self.cost.run(COST_OUTPUTS, inputs)
            costs, details = GOAL({name: array[0] for name, array in zip(COST_OUTPUTS, scored, strict=True)})
            return costs, dict(details)

        best = search(cost, Problem(SHAPE, LIMITS, settings, seed), warm).best
        assert best is not None
        return best.actions


def parse(text: str) -> Settings:
    """`icem:32x2/6@0.4` as settings."""
    match = re.fullmatch(r"(\w+):(\d+)x(\d+)/(\d+)(?:@([\d.]+))?", text)
    if match is None:
        raise SystemExit(f"{text}: expected ALGORITHM:CANDIDATESxITERATIONS/ELITES[@STD]")
    algorithm, candidates, iterations, elites, std = match.groups()
    return Settings(algorithm, int(candidates), int(iterations), int(elites), float(std or 0.5))


def play(engines: Engines, episodes: Episodes, budget: int, settings: Settings) -> tuple[int, list[float]]:
    """Episodes solved, and the milliseconds of each plan."""
    position, done = episodes.start.copy(), np.zeros(len(episodes.start), bool)
    goals, warm, times = engines.see(episodes.goal, episodes.door), {}, []
    for step in range(0, budget, ACTION_BLOCK):
        live = np.flatnonzero(~done)
        if not len(live):
            break
        latents = engines.see(position[live], episodes.door[live])
        for row, index in enumerate(live):
            began = time.perf_counter()
            actions = engines.plan(latents[row], goals[index], settings, 1000 * step + int(index), warm.get(index))
            times.append(1000 * (time.perf_counter() - began))
            warm[index] = actions[ACTION_BLOCK:]
            for action in actions[:ACTION_BLOCK]:
                door = episodes.door[index : index + 1].astype(np.float32)
                position[index] = environment.step(position[index : index + 1], action[None], door)[0]
                done[index] |= np.linalg.norm(position[index] - episodes.goal[index]) < environment.SUCCESS_RADIUS
    return int(done.sum()), times


def main() -> None:
    """Print a row a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--settings", nargs="+", default=DEFAULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    engines = Engines(session("two_room_encode/1/engine.onnx"), session("two_room_plan/1/horizon_5.onnx"))
    print("| setting | plan ms | " + " | ".join(protocol.name for protocol in PROTOCOLS) + " |")
    print("|---|---|" + "---|" * len(PROTOCOLS))
    for text in options.settings:
        cells, times = [], []
        for protocol in PROTOCOLS:
            episodes = draw_episodes(protocol, options.episodes, TUNING_SEED)
            solved, spent = play(engines, episodes, protocol.budget, parse(text))
            low, high = interval(solved, options.episodes)
            cells.append(f"{100 * solved / options.episodes:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
            times += spent
        print(f"| {text} | {np.median(times):.2f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
