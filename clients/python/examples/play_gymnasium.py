"""Plays Gymnasium environments by plans of a server.

python -m clients.python.examples.play_gymnasium [HOST:PORT] [EPISODES]     # of a running server, such as `make serve`
"""

import sys

import numpy as np
from wmserve_client import Client, PlanningPolicy
from wmserve_client.gymnasium import Agent

from clients.python.examples.two_room import WORLD, TwoRoom


def play(env: TwoRoom, agent: Agent, seed: int) -> int | None:
    """One episode: steps to the goal, None where it was not reached."""
    observation, _ = env.reset(seed=seed)
    agent.reset(goal=observation["goal"])
    steps, reached, out_of_time = 0, False, False
    while not (reached or out_of_time):
        observation, _, reached, out_of_time, _ = env.step(agent.act(observation))
        steps += 1
    return steps if reached else None


def main(address: str = "localhost:8081", episodes: str = "3") -> None:
    """Play some episodes and say how they ended."""
    env = TwoRoom()
    with Client(address) as client:
        # Velocity zero is a safe thing to do here: without one, a refused plan raises PlanRefusedError.
        policy = PlanningPolicy(client, WORLD, safe_action=np.zeros(2))
        agent = Agent(policy, env)
        for seed in range(int(episodes)):
            steps = play(env, agent, seed)
            print(f"episode {seed}:", "goal not reached" if steps is None else f"goal reached in {steps} steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
