"""How little search is enough? Success on Two-Room against the size of the search, on the tuning seeds and doors.

    python -m loadtest.tune_planner [--episodes 200] [--settings cem:300x30/30 icem:32x2/6 ...]

In one process, without a server: the served planner over the served engines. Each row is a setting of the planner,
`algorithm:candidates x iterations / elites` and perhaps `@std`, the initial standard deviation; it plans again after
each model step from the rest of the last plan, as the client's policy does. The evaluation seeds are not touched.
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from wmserve_export.reference import environment
from wmserve_export.reference.collect import ACTION_BLOCK, TUNING_SEED
from wmserve_export.reference.evaluate import PROTOCOLS, Episodes, draw_episodes, interval
from wmserve_server.planner import Settings

from loadtest.planning.in_process import Engines

REPOSITORY = Path(__file__).parent.parent / "model_repository"
DEFAULT = ["cem:300x30/30", "cem:64x4/8", "cem:32x2/6", "cem:16x2/4", "icem:32x2/6", "icem:16x2/4", "mppi:32x2/8"]


def render(positions: NDArray[np.float32], doors: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Frames `[M, h, w, 3]` of agents at positions `[M, 2]` behind doors `[M]`."""
    return np.concatenate([environment.render(positions[i : i + 1], int(d)).numpy() for i, d in enumerate(doors)])


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
    goals, warm, times = engines.see(render(episodes.goal, episodes.door)), {}, []
    for step in range(0, budget, ACTION_BLOCK):
        live = np.flatnonzero(~done)
        if not len(live):
            break
        latents = engines.see(render(position[live], episodes.door[live]))
        for row, index in enumerate(live):
            began = time.perf_counter()
            problem = engines.problem(settings, seed=1000 * step + int(index))
            best = engines.plan(latents[row], goals[index], problem, warm.get(index)).best
            times.append(1000 * (time.perf_counter() - began))
            assert best is not None
            warm[index] = best.actions[ACTION_BLOCK:]
            for action in best.actions[:ACTION_BLOCK]:
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
    engines = Engines.load(REPOSITORY, "two_room")
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
