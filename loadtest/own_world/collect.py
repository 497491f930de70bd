"""Records episodes of an environment with stable-worldmodel's own `World.collect` and policies.

    python -m loadtest.own_world.collect two_room --out build/own/two_room/data.lance --episodes 1500

Nothing of this project has a part in it: what is written is the peer's own recorded dataset.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("LOGURU_LEVEL", "WARNING")

import torch
from wmserve.torchvision import declare_operators

IMAGE = 64
"""Height and width of recorded frames, pixels."""
ENVIRONMENTS_AT_ONCE = 8
LONGEST = 100
"""Environment steps of an episode."""


@dataclass(frozen=True)
class Source:
    """An environment, and the policies that play it: each with its share of the episodes."""

    environment: str
    policies: Callable[[int], tuple[tuple[float, Any], ...]]


def two_room_policies(seed: int) -> tuple[tuple[float, Any], ...]:
    """The environment's own expert with little and much noise, and uniform actions."""
    from stable_worldmodel.envs.two_room import ExpertPolicy
    from stable_worldmodel.policy import RandomPolicy

    return (
        (0.5, ExpertPolicy(action_noise=0.5, seed=seed)),
        (0.35, ExpertPolicy(action_noise=1.5, seed=seed + 1)),
        (0.15, RandomPolicy(seed=seed + 2)),
    )


def reacher_policies(seed: int) -> tuple[tuple[float, Any], ...]:
    """Torques drawn anew every few steps, of up to half and of up to full torque."""
    from loadtest.own_world.reacher import Swinging

    return ((0.5, Swinging(most=0.5, seed=seed)), (0.5, Swinging(most=1.0, seed=seed + 1)))


SOURCES = {
    "two_room": Source("swm/TwoRoom-v1", two_room_policies),
    "reacher": Source("loadtest.own_world.reacher:own/Reacher-v0", reacher_policies),
}


def collect(name: str, out: Path, episodes: int, seed: int, longest: int = LONGEST) -> None:
    """Record episodes into `out`: Lance where it ends in .lance, HDF5 where it ends in .h5."""
    import stable_worldmodel as swm

    source = SOURCES[name]
    world = swm.World(
        source.environment,
        num_envs=min(ENVIRONMENTS_AT_ONCE, episodes),
        image_shape=(IMAGE, IMAGE),
        max_episode_steps=longest,
    )
    form = "hdf5" if out.suffix == ".h5" else "lance"
    for index, (share, policy) in enumerate(source.policies(seed)):
        world.set_policy(policy)
        world.collect(out, episodes=max(1, round(share * episodes)), seed=seed + 100_000 * index, format=form)
    world.close()


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=SOURCES)
    parser.add_argument("--out", type=Path, required=True, help="dataset to write or to add to: NAME.lance or NAME.h5")
    parser.add_argument("--episodes", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=int, default=LONGEST, help="environment steps of an episode")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    declare_operators()
    warnings.filterwarnings("ignore", category=UserWarning)
    collect(arguments.environment, arguments.out, arguments.episodes, arguments.seed, arguments.longest)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
