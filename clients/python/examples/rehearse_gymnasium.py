"""Rehearses in a served world, as a Gymnasium environment: tries random actions there, and says how far to believe it.

python -m clients.python.examples.rehearse_gymnasium [HOST:PORT] [TRIES]     # of a running server, such as `make serve`
"""

import math
import sys
from pathlib import Path

from wmserve_client import Client
from wmserve_client.gymnasium import DreamEnv, Readings

START = Path("docs/start.png")


def nearness(readings: Readings) -> float:
    """Of the agent to the place to go to, negative pixels."""
    return -math.dist((readings["agent_x"], readings["agent_y"]), (60.0, 160.0))


def main(address: str = "localhost:8081", tries: str = "10") -> None:
    """Try some action sequences and keep the one that ends nearest."""
    best = (-math.inf, "nothing was tried")
    with Client(address) as client:
        env = DreamEnv(client, "two_room", [START.read_bytes()], nearness, lambda found: nearness(found) > -16)
        env.action_space.seed(0)
        for _ in range(int(tries)):
            env.reset()
            done = False
            while not done:
                _, reward, reached, truncated, info = env.step(env.action_space.sample())
                done = reached or truncated
            best = max(best, (reward, f"within {info['readout_radius'][:2].round()} px, after {info['steps']} steps"))
    print(f"nearest: {-best[0]:.0f} px, {best[1]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
