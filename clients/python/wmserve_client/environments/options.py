"""Arguments that `wmserve execute` and `wmserve evaluate` have in common."""

import argparse
import os
from pathlib import Path

from wmserve_client.environments import opening as opening_module
from wmserve_client.environments.opening import Opening

ENVIRONMENTS = " ".join((opening_module.__doc__ or "").split("\n\n", 1)[1].split())


def positive(text: str) -> int:
    """A whole number over 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def add_common(parser: argparse.ArgumentParser) -> None:
    """Say which world, which environment, which problems and which server."""
    add = parser.add_argument
    add("world", help="name of the world")
    add("--env", required=True, metavar="ENV", help=f"the environment: {ENVIRONMENTS}")
    add("--trajectories", type=Path, metavar="DIR", help="held-out trajectories to draw starts and goals from")
    add(
        "--from",
        dest="source",
        choices=["auto", "states", "columns", "readouts", "resets"],
        default="auto",
        help="begin in states of trajectories (their `states`, their columns, their readouts), or from resets, with "
        "goals that the trajectories' actions, else random ones, reach from there (default: states where there are "
        "some and the environment can be set to them, else resets)",
    )
    add("--state", nargs="+", metavar="NAME", help="columns of the trajectories that make up a state, in this order")
    add(
        "--problems",
        metavar="MODULE:FUNCTION",
        help="draw starts and goals by a function of your own: numpy's generator -> (start state, goal state)",
    )
    add(
        "--goal-offset",
        type=positive,
        metavar="N",
        help="environment steps from start to goal, a multiple of the world's action_block",
    )
    add("--seed", type=int, default=0, help="of the first problem; each has one of its own (default: %(default)s)")
    add("--at-once", type=positive, default=4, metavar="N", help="problems played at once (default: %(default)s)")
    server = parser.add_argument_group("server")
    server.add_argument(
        "--server",
        default=os.environ.get("WMSERVE_SERVER"),
        metavar="HOST:PORT",
        help="a running server's gRPC endpoint",
    )
    server.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="without --server: start one of this repository, for as long as it takes (default: %(default)s)",
    )
    server.add_argument(
        "--calibration",
        metavar="DIGEST",
        help="wait until the world is served with this calibration, its contract's digest",
    )
    hooks = parser.add_argument_group("where the environment does not do it itself")
    hooks.add_argument(
        "--camera", metavar="KEY", help="key of the observations that frames are under, or `observation`"
    )
    hooks.add_argument(
        "--frame-size",
        type=positive,
        nargs=2,
        metavar=("H", "W"),
        help="resize frames to this (default: the size of the trajectories' frames, else as they are)",
    )
    hooks.add_argument("--set-state", metavar="MODULE:FUNCTION", help="(environment, state [K]) puts it into a state")
    hooks.add_argument(
        "--success", metavar="MODULE:FUNCTION", help="(environment, info, goal's state) -> whether the goal is reached"
    )
    hooks.add_argument(
        "--readouts", metavar="MODULE:FUNCTION", help="(environment, info) -> what the world's readouts should say, [R]"
    )


def opening(options: argparse.Namespace, frame_shape: tuple[int, ...] | None) -> Opening:
    """How to open the environment; `frame_shape` is that of recorded frames."""
    shape = options.frame_size or frame_shape
    return Opening(
        name=options.env,
        camera=options.camera,
        set_state=options.set_state,
        success=options.success,
        readouts=options.readouts,
        expert=getattr(options, "expert", None),
        frame_shape=None if shape is None else (shape[0], shape[1]),
    )
