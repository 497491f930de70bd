"""`wmserve`: ask a server from the command line, or start what other packages bring (serve, export, train).

    wmserve worlds [NAME]
    wmserve encode WORLD IMAGE
    wmserve rollout WORLD IMAGE --actions FILE
    wmserve plan WORLD IMAGE --goal IMAGE | --readout NAME=VALUE ...

Exit status: 0 answered, 1 the server said no or nobody answered, 2 the command was wrong.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from wmserve.exits import failed

from wmserve_client.client import DEFAULT_ADDRESS, Client
from wmserve_client.errors import WmserveError
from wmserve_client.requests import PlannerOptions
from wmserve_client.results import World
from wmserve_client.show import show_encoded, show_plan, show_rollout, show_world, show_worlds, to_json

COMMANDS = "wmserve.commands"
EXTRAS = {
    "serve": "server",
    "tools": "server",
    "export": "export",
    "promote": "export",
    "rollback": "export",
    "train": "export,reference",
    "trajectories": "export,data",
    "execute": "environments",
    "evaluate": "environments",
}
COUNTS = ("horizon", "candidate_count", "iterations", "elite_count", "hold_steps", "seed")


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    brought = {entry.name: entry for entry in entry_points(group=COMMANDS)}
    if arguments and arguments[0] in brought:
        return run_brought(brought[arguments[0]], arguments[1:])
    options = parser(sorted(brought)).parse_args(arguments)
    try:
        with Client(options.server, timeout_s=options.timeout) as client:
            answer, show = options.ask(client, options)
    except WmserveError as error:
        return fail(str(error), 1)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", 2)
    except ValueError as error:
        return fail(str(error), 2)
    print(json.dumps(to_json(answer), indent=2) if options.json else show)
    return 0


def fail(message: str, status: int) -> int:
    """Say in one line what is wrong."""
    return failed(f"wmserve: {message}", status)


def run_brought(entry: EntryPoint, arguments: list[str]) -> int:
    """Run a command of another package; say what to install where its needs are missing."""
    try:
        command: Callable[[list[str]], int] = entry.load()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(entry.name, entry.name)
        return fail(f"{entry.name} needs {error.name}; run: pip install 'wmserve[{extra}]'", 2)
    return command(arguments)


def parser(brought: list[str]) -> argparse.ArgumentParser:
    """The commands that ask a server."""
    top = argparse.ArgumentParser(
        prog="wmserve",
        description="Ask a wmserve server.",
        epilog=f"Also: wmserve {' | '.join(brought)}; each has its own --help.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    worlds = add(commands, "worlds", "list the worlds that are served, or describe one", ask_worlds)
    worlds.add_argument("name", nargs="?", help="name of one world")
    encode = add(commands, "encode", "encode an observation; prints its handle and readouts", ask_encode)
    rollout = add(commands, "rollout", "predict what actions will do", ask_rollout)
    plan = add(commands, "plan", "search for actions that reach a goal", ask_plan)
    for command in (encode, rollout, plan):
        command.add_argument("world", help="name of the world")
        command.add_argument("image", help="PNG or JPEG file of what is seen now, or a latents_id")
    rollout.add_argument(
        "--actions", required=True, type=Path, help="JSON or .npy file with [S, N, A] or [N, A], environment units"
    )
    target = plan.add_mutually_exclusive_group(required=True)
    target.add_argument("--goal", help="PNG or JPEG file of what is wanted, or a latents_id")
    target.add_argument("--readout", action="append", metavar="NAME=VALUE", help="a wanted readout; may be repeated")
    plan.add_argument("--algorithm", choices=["cem", "icem", "mppi"])
    plan.add_argument("--deadline-ms", type=int, help="return the best plan found by then")
    plan.add_argument("--execute-steps", type=int, help="environment steps that you execute: only these are judged")
    for name in COUNTS:
        plan.add_argument(f"--{name.replace('_', '-')}", type=int)
    return top


def add(commands: Any, name: str, text: str, ask: Callable[..., Any]) -> argparse.ArgumentParser:
    """A command with what all have in common."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(ask=ask)
    server = os.environ.get("WMSERVE_SERVER", DEFAULT_ADDRESS)
    command.add_argument("--server", default=server, help="host:port of its gRPC endpoint (or WMSERVE_SERVER)")
    command.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for an answer")
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    return command


def ask_worlds(client: Client, options: argparse.Namespace) -> tuple[Any, str]:
    """List worlds, or describe one."""
    if options.name:
        world = client.world(options.name)
        return world_json(world), show_world(world)
    worlds = client.worlds()
    return [world_json(world) for world in worlds], show_worlds(worlds)


def world_json(world: World) -> Any:
    """A contract as JSON."""
    return MessageToDict(world, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def ask_encode(client: Client, options: argparse.Namespace) -> tuple[Any, str]:
    """Encode an image."""
    answer = client.encode(options.world, Path(options.image).read_bytes())
    return answer, show_encoded(answer, client.world(options.world))


def ask_rollout(client: Client, options: argparse.Namespace) -> tuple[Any, str]:
    """Roll actions out."""
    answer = client.rollout(options.world, source(options.image), read_actions(options.actions))
    return answer, show_rollout(answer, client.world(options.world))


def ask_plan(client: Client, options: argparse.Namespace) -> tuple[Any, str]:
    """Plan towards a goal."""
    goal = source(options.goal) if options.goal else dict(map(readout, options.readout))
    planner = PlannerOptions(algorithm=options.algorithm, **{name: getattr(options, name) for name in COUNTS})
    answer = client.plan(
        options.world,
        source(options.image),
        goal,
        planner=planner,
        deadline_ms=options.deadline_ms,
        execute_steps=options.execute_steps,
    )
    return answer, show_plan(answer, client.world(options.world))


def source(text: str) -> bytes | str:
    """An image file's bytes, or a handle."""
    return text if text.startswith("lat_") and not Path(text).exists() else Path(text).read_bytes()


def readout(text: str) -> tuple[str, float]:
    """`NAME=VALUE`."""
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--readout {text}: expected NAME=VALUE")
    return name, float(value)


def read_actions(path: Path) -> Any:
    """Actions from a JSON or a .npy file; no pickles."""
    return np.load(path, allow_pickle=False) if path.suffix == ".npy" else json.loads(path.read_text())


if __name__ == "__main__":
    sys.exit(main())
