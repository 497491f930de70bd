"""``wmserve evaluate``: success of the served policy, and of others on the same episodes."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault, peer
from wmserve_client.environments.commands import done, offsets_of, opened, plans_to_goals
from wmserve_client.environments.opening import function
from wmserve_client.environments.options import add_common, positive
from wmserve_client.environments.playing import draw, play
from wmserve_client.environments.policies import Expert, Player, Random, Served
from wmserve_client.environments.problems import Drawn, Own, Problems
from wmserve_client.environments.recorded import Files, Recorded
from wmserve_client.environments.reporting import EXPERT, PEER, RANDOM, SERVED, report
from wmserve_client.environments.stage import Stage
from wmserve_client.requests import PlannerOptions
from wmserve_client.results import World


def main(argv: list[str] | None = None) -> int:
    """Evaluate; 0 when all was played, 1 when the server said no or nobody answered, 2 when it cannot be done."""
    return done("evaluate", run, parser().parse_args(argv))


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve evaluate",
        description="Play episodes of an environment with the served policy, with the peer's solver on the same "
        "checkpoint, at random and as the environment's expert: success with 95 % intervals, paired since all play the "
        "same episodes, and what the server refused. The last line is JSON, in percent.",
        epilog="Episodes begin and aim where trajectories with `states` did, --goal-offset environment steps apart; "
        "or where --problems says; else at a reset, with the goal that the environment shows or --goal-image. Those "
        "that holding still solves at once are left out, and counted. Success is --success, else the environment's "
        "info (`is_success`, `success`), else its `terminated`, at any step. Exit status: 0 all was played, 1 the "
        "server said no, 2 the command or the environment was wrong.",
    )
    add_common(parser)
    add = parser.add_argument
    add("--episodes", type=positive, default=100, help="default: %(default)s")
    add("--budget", type=positive, help="environment steps of an episode (default: twice the goal offset, else 150)")
    add("--goal-image", type=Path, metavar="FILE", help="PNG or JPEG of the one goal of all episodes")
    add(
        "--policies",
        nargs="+",
        choices=[SERVED, PEER, RANDOM, EXPERT],
        help="who plays (default: all that there are; wmserve is always among them)",
    )
    add("--expert", metavar="MODULE:FUNCTION", help="(environment, info) -> the action [A] of one who knows the way")
    add("--quiet", action="store_true", help="show no progress")
    search = parser.add_argument_group("search, of the server and the peer alike (default: the world's)")
    search.add_argument("--algorithm", choices=["cem", "icem", "mppi"], help="of the server")
    for name in ("candidates", "iterations", "elites", "horizon", "receding-horizon"):
        search.add_argument(f"--{name}", type=positive, metavar="N")
    rival = parser.add_argument_group("peer")
    rival.add_argument(
        "--peer-checkpoint",
        type=Path,
        metavar="FOLDER",
        help="stable-worldmodel's folder that the world was exported of",
    )
    rival.add_argument(
        "--peer-pixels",
        metavar="MODULE:FUNCTION",
        help="prepares a frame [3, h, w] uint8 for its model (default: ImageNet's statistics, the encoder's size)",
    )
    return parser


def run(client: Client, options: argparse.Namespace) -> None:
    """Play, and print."""
    world = client.world(options.world)
    plans_to_goals(world, "evaluate its return in your own loop")
    if world.observation.proprioception:
        raise EnvironmentFault(f"world {world.name} takes proprioception, which environments do not show here")
    files, chosen = opened(options, world)
    stage = chosen.stage()
    try:
        stage.fit(world)
        problems = source(options, world, stage, files)
        players = who_plays(client, options, world, stage)
        episodes, left_out = draw(problems, options.episodes, world, stage)
    finally:
        stage.close()
    budget = options.budget or (2 * options.goal_offset if options.goal_offset else 150)
    rows = []
    for name, make in players.items():
        at_once = 1 if name == PEER else options.at_once  # the peer's solver takes the whole machine, and prints
        rows.append(play(name, make, episodes, chosen, world, budget, at_once, options.quiet))
    report(rows, options, budget, left_out)


def source(options: argparse.Namespace, world: World, stage: Stage, files: Files | None) -> Problems:
    """Where episodes come from."""
    offsets = offsets_of(options.goal_offset, world)
    draw_one = function(options.problems) if options.problems else stage.draw if files is None else None
    if (draw_one is not None or files is not None) and not stage.judges:
        raise EnvironmentFault(f"environment {stage.name} cannot be told a goal: give --success MODULE:FUNCTION")
    if draw_one is not None:
        return Drawn(draw_one, world, options.seed)
    if files is not None:
        kind: Any = ("columns" if options.state else "states") if options.source == "auto" else options.source
        if kind == "resets":
            raise EnvironmentFault("from resets, the environment judges its own goals: leave out --trajectories")
        names = tuple(options.state or ())
        return Recorded(files, world, options.seed, offsets, kind, names)
    picture = None
    if options.goal_image is not None:
        from PIL import Image

        picture = np.asarray(Image.open(options.goal_image).convert("RGB"))
    return Own(world, options.seed, picture)


def who_plays(
    client: Client, options: argparse.Namespace, world: World, stage: Stage
) -> dict[str, Callable[[], Player]]:
    """What makes each player, the served one first."""
    planner = PlannerOptions(
        algorithm=options.algorithm,
        horizon=options.horizon,
        candidate_count=options.candidates,
        iterations=options.iterations,
        elite_count=options.elites,
    )
    wanted = options.policies or [PEER, RANDOM, EXPERT]
    players: dict[str, Callable[[], Player]] = {
        SERVED: lambda: Served(client, world, planner, options.receding_horizon)
    }
    if PEER in wanted and options.peer_checkpoint is not None:
        model = peer.load(options.peer_checkpoint)
        pixels, search = (
            peer.prepare(model, options.peer_pixels),
            peer.Search.of(world, planner, options.receding_horizon),
        )
        players[PEER] = lambda: peer.Peer(model, world, search, pixels)
    elif options.policies and PEER in wanted:
        raise EnvironmentFault("the peer needs --peer-checkpoint FOLDER")
    if RANDOM in wanted:
        players[RANDOM] = lambda: Random(world)
    if EXPERT in wanted and (options.policies or stage.expert() is not None):
        players[EXPERT] = Expert
    return players


if __name__ == "__main__":
    sys.exit(main())
