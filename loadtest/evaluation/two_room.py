"""Success on Two-Room, through a running server, with 95 % confidence intervals and baselines beside it.

    python -m loadtest.evaluation.two_room [--episodes 200] [--server HOST:PORT]

Without --server it starts one. The last line is JSON: success of each protocol in percent, each also with `_low`, the
lower end of its interval; `plan_ms_median`, seen by a single caller; `episodes`.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from wmserve_client import Client
from wmserve_client.stable_worldmodel import ServerPolicy

from loadtest.evaluation import protocols
from loadtest.evaluation.baselines import Expert, Idle, LatentDistancePolicy, Uniform
from loadtest.evaluation.protocols import PROTOCOLS, Problems, Protocol
from loadtest.serving import running

WORLD = "two_room"
Z_95 = 1.959964
TIMED_PLANS = 100


def wilson(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, z = successes / count, Z_95
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half


def policies(client: Client) -> dict[str, object]:
    """The served policy first, then what stands beside it."""
    latent_distance = ServerPolicy(client, WORLD, make=LatentDistancePolicy)
    return {
        "wmserve": ServerPolicy(client, WORLD),
        "latent distance": latent_distance,
        "random": Uniform(seed=0),
        "no action": Idle(),
        "expert": Expert(),
    }


def first(problems: Problems, count: int) -> Problems:
    """The first problems."""
    return Problems(problems.starts[:count], problems.goals[:count], problems.doors[:count], problems.solved_at_start)


def evaluate(protocol: Protocol, client: Client, episodes: int, baseline_episodes: int) -> dict[str, float]:
    """Play a protocol with every policy; print rows, return the figures of the served one."""
    problems = protocols.draw(protocol, episodes)
    figures: dict[str, float] = {}
    for name, policy in policies(client).items():
        own = problems if name == "wmserve" else first(problems, baseline_episodes)
        successes = protocols.play(protocol, own, policy, name)
        low, high = wilson(int(successes.sum()), len(successes))
        share = 100 * float(successes.mean())
        row = f"{share:6.1f} %  [{100 * low:5.1f}, {100 * high:5.1f}]  {int(successes.sum())}/{len(successes)}"
        print(f"{protocol.name:22} {name:16} {row}", flush=True)
        if name == "wmserve":
            figures = {protocol.name: round(share, 2), f"{protocol.name}_low": round(100 * low, 2)}
    print(f"{'':22} {problems.solved_at_start} problems solved at the start were left out\n")
    return figures


def plan_times(client: Client, count: int) -> list[float]:
    """Milliseconds of plans from frames, one after the other, as one caller sees them."""
    problems = protocols.draw(PROTOCOLS[-1], count)
    frames = protocols.Start(problems).load_chunk(np.arange(count), np.arange(count), np.arange(count))
    times = []
    for episode in tqdm(frames, desc="timing plans", unit="plan", leave=False):
        start, goal = (np.ascontiguousarray(frame.permute(1, 2, 0).numpy()) for frame in episode["pixels"])
        began = time.perf_counter()
        client.plan(WORLD, start, goal)
        times.append(1000 * (time.perf_counter() - began))
    return times


@contextmanager
def connected(server: str | None) -> Iterator[Client]:
    """A client of the server at that address, or of one that is started for the occasion."""
    if server is not None:
        with Client(server) as client:
            yield client
        return
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "log") as started:
        started.wait_ready()
        with Client(started.grpc) as client:
            yield client


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=200, help="episodes of the served policy, each protocol")
    parser.add_argument("--baseline-episodes", type=int, default=50, help="episodes of each other policy")
    parser.add_argument("--server", help="host:port of a gRPC endpoint; left out, a server is started")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the environments draw small frames; the other core is the server's
    figures: dict[str, float] = {}
    with connected(options.server) as client:
        times = plan_times(client, TIMED_PLANS)
        for protocol in PROTOCOLS:
            figures |= evaluate(protocol, client, options.episodes, options.baseline_episodes)
    median = statistics.median(times)
    print(f"a plan takes {median:.1f} ms at the median of {len(times)}, {max(times):.1f} at most, for a single caller")
    print(json.dumps(figures | {"plan_ms_median": round(median, 2), "episodes": options.episodes}))


if __name__ == "__main__":
    main()
