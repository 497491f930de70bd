"""Success on Two-Room, through a running server, with 95 % confidence intervals and baselines beside it.

    python -m loadtest.evaluation.two_room [--episodes 200] [--server HOST:PORT]

Without --server it starts one. Before anything is played, each baseline is held against the served policy: one that
acts as that does is an error (exit status 1). The last line is JSON: success of each protocol in percent, each also
with `_low`, the lower end of its interval, `_plans` that were asked for, `_refused` of those, and `_latent_distance`,
the success of that baseline; `plan_ms_median`, seen by a single caller; `episodes`, `baseline_episodes`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from wmserve.intervals import wilson
from wmserve_client import Client
from wmserve_client.stable_worldmodel import ServerPolicy

from loadtest.evaluation import imitation, protocols
from loadtest.evaluation.baselines import Expert, Idle, LatentDistancePolicy, Uniform
from loadtest.evaluation.counting import ServedPolicy, Tally
from loadtest.evaluation.protocols import PROTOCOLS, Problems, Protocol
from loadtest.serving import running

WORLD = "two_room"
TIMED_PLANS = 100


@dataclass(frozen=True)
class Player:
    """A policy and what it is called in the table."""

    name: str
    policy: object
    tally: Tally = field(default_factory=Tally)
    """Plans that it asked for; none where it does not plan."""


def players(client: Client) -> list[Player]:
    """The served policy first, then what stands beside it."""
    served, nearest = Tally(), Tally()
    return [
        Player("wmserve", ServerPolicy(client, WORLD, lambda *at: ServedPolicy(*at, served)), served),
        Player("latent distance", ServerPolicy(client, WORLD, LatentDistances(nearest)), nearest),
        Player("random", Uniform(seed=0)),
        Player("no action", Idle()),
        Player("expert", Expert()),
    ]


@dataclass
class LatentDistances:
    """Makes the baseline's policies, each with a seed of its own."""

    tally: Tally
    made: int = 0

    def __call__(self, client: Client, world: str) -> LatentDistancePolicy:
        """The next one."""
        self.made += 1
        return LatentDistancePolicy(client, world, self.tally, self.made)


def first(problems: Problems, count: int) -> Problems:
    """The first problems."""
    return Problems(problems.starts[:count], problems.goals[:count], problems.doors[:count], problems.solved_at_start)


def row(player: Player, successes: NDArray[np.bool_]) -> str:
    """A line of the table: success with its interval, plans and refusals."""
    low, high = wilson(int(successes.sum()), len(successes))
    share = f"{100 * successes.mean():6.1f} %  [{100 * low:5.1f}, {100 * high:5.1f}]"
    plans = f"{player.tally.asked:6} plans, {player.tally.refused} refused" if player.tally.asked else ""
    return f"{player.name:16} {share}  {int(successes.sum()):3}/{len(successes):<3} {plans}"


def evaluate(protocol: Protocol, client: Client, episodes: int, baseline_episodes: int) -> dict[str, float]:
    """Play a protocol with every policy; print rows, return the figures."""
    problems = protocols.draw(protocol, episodes)
    figures: dict[str, float] = {}
    for player in players(client):
        own = problems if player.name == "wmserve" else first(problems, baseline_episodes)
        successes = protocols.play(protocol, own, player.policy, player.name)
        print(f"{protocol.name:20} {row(player, successes)}", flush=True)
        share = round(100 * float(successes.mean()), 2)
        if player.name == "wmserve":
            low, _ = wilson(int(successes.sum()), len(successes))
            figures = {
                protocol.name: share,
                f"{protocol.name}_low": round(100 * low, 2),
                f"{protocol.name}_plans": player.tally.asked,
                f"{protocol.name}_refused": player.tally.refused,
            }
        elif player.name == "latent distance":
            figures[f"{protocol.name}_latent_distance"] = share
    print(f"{'':20} {problems.solved_at_start} problems solved at the start were left out\n")
    return figures


def check_baselines(address: str) -> None:
    """Hold each baseline against the served policy; SystemExit for one that acts as that does."""
    with imitation.SeededClient(address) as client:
        model, *baselines = players(client)
        record = imitation.recorded(model.policy)
        for baseline in baselines:
            if imitation.acts_alike(record, baseline.policy):
                raise SystemExit(f"the baseline '{baseline.name}' acts as the served policy does: it compares nothing")


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
def served(server: str | None) -> Iterator[str]:
    """The address of a server: that one, or one that is started for the occasion."""
    if server is not None:
        yield server
        return
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "log") as started:
        started.wait_ready()
        yield started.grpc


@contextmanager
def connected(server: str | None) -> Iterator[Client]:
    """A client of the server at that address, or of one that is started for the occasion."""
    with served(server) as address, Client(address) as client:
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
    with served(options.server) as address, Client(address) as client:
        check_baselines(address)
        times = plan_times(client, TIMED_PLANS)
        for protocol in PROTOCOLS:
            figures |= evaluate(protocol, client, options.episodes, options.baseline_episodes)
    median = statistics.median(times)
    print(f"a plan takes {median:.1f} ms at the median of {len(times)}, {max(times):.1f} at most, for a single caller")
    counts = {"episodes": options.episodes, "baseline_episodes": options.baseline_episodes}
    print(json.dumps(figures | {"plan_ms_median": round(median, 2)} | counts))


if __name__ == "__main__":
    main()
