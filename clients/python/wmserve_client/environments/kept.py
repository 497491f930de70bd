"""The folder that executed plans are kept in: a file for each, and one that says what they are plans of."""

import argparse
import json
from pathlib import Path

from wmserve_client.environments import EnvironmentFault
from wmserve_client.results import World

MANIFEST = "plans.json"


def place(folder: Path, number: int) -> Path:
    """The file of a plan."""
    return folder / f"{number:05}.npz"


def remember(options: argparse.Namespace, world: World, kind: str) -> None:
    """Write what these plans are of; EnvironmentFault where the folder holds plans of something else."""
    options.out.mkdir(parents=True, exist_ok=True)
    trail = {
        "world": world.name,
        "checkpoint": world.digests.checkpoint,
        "engines": dict(sorted(world.digests.engines.items())),
        "environment": options.env,
        "problems": options.problems or kind,
        "trajectories": str(options.trajectories),
        "goal_offset": options.goal_offset,
        "horizon": options.horizon or world.planner.horizon,
        "seed": options.seed,
    }
    file = options.out / MANIFEST
    if file.exists():
        before = json.loads(file.read_text())
        other = [name for name, value in trail.items() if before.get(name) != value]
        if other:
            raise EnvironmentFault(
                f"{options.out} holds plans with another {', '.join(other)}: name another folder, or delete that one"
            )
    elif any(options.out.glob("*.npz")):
        raise EnvironmentFault(f"{options.out} holds files of something else: name another folder")
    file.write_text(json.dumps(trail, indent=2) + "\n")
