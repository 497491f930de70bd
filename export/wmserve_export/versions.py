"""``wmserve promote`` and ``wmserve rollback``: say which version of a world answers.

    wmserve promote two_room@2                     version 2 answers, and what answered is the previous version
    wmserve promote two_room@3 --canary 0.1        version 3 answers one session in ten
    wmserve promote two_room@3 --shadow 0.5        version 3 gets half of the requests too, and answers nobody
    wmserve rollback two_room                      the previous version answers again

Both change one file in the model repository and return. Servers take a few seconds to see it; until a version is loaded
and tried out, the one before goes on answering.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError
from wmserve.addresses import address, parse_address
from wmserve.exits import failed
from wmserve.versions import Route, Share

from wmserve_export import routing
from wmserve_export.placing import Placing, staging

UNUSABLE = 2


def promote(argv: list[str] | None = None) -> int:
    """Give a version its part; 0 when it has it, 2 when it cannot have it."""
    options = promote_parser().parse_args(argv)
    named = parse_address(options.version)
    if named is None or named[1] is None:
        return refused(f"VERSION must be NAME@NUMBER, such as two_room@2, not {options.version}")
    name, version = named[0], named[1]
    shares = {"shadow": options.shadow, "canary": options.canary}

    def changed(route: Route) -> Route:
        routing.read(options.repository, name, version)  # is it there?
        chosen = {part: share for part, share in shares.items() if share is not None}
        if not chosen:
            return routing.switched(route, version)
        parts = {part: Share(version=version, share=share) if share else None for part, share in chosen.items()}
        return Route.model_validate({**dict(route), **parts})

    return change(options.repository, name, changed)


def rollback(argv: list[str] | None = None) -> int:
    """Make the previous version live again; 0 when it is, 2 when there is none."""
    options = rollback_parser().parse_args(argv)

    def changed(route: Route) -> Route:
        if route.previous is None:
            raise ValueError(f"world {route.world} has no previous version; {told(options.repository, route.world)}")
        routing.read(options.repository, route.world, route.previous)
        return routing.switched(route, route.previous)

    return change(options.repository, options.world, changed)


def change(repository: Path, name: str, changed: Callable[[Route], Route]) -> int:
    """Put another route in the place of a world's, and print which versions have a part now."""
    if not repository.is_dir():
        return refused(f"there is no folder {repository}; name the model repository with --repository")
    try:
        with routing.locked(repository), staging(repository) as gone:
            known = routing.route_of(repository, name)
            route = changed(known)
            newest = max(routing.folders_of(repository, name))
            routing.write_route(repository, routing.retire(repository, route, gone, newest))
    except ValidationError as error:
        return refused(error.errors()[0]["msg"].removeprefix("Value error, "))
    except (ValueError, OSError) as error:
        return refused(str(error))
    print(told(repository, name))
    return 0


def told(repository: Path, name: str) -> str:
    """Which versions of a world there are, and what part each has, in one line."""
    route, there = routing.route_of(repository, name), routing.read_versions(repository, name)
    parts = {route.live: "live"}
    if route.previous is not None:
        parts[route.previous] = "previous"
    for part, one in (("shadow", route.shadow), ("canary", route.canary)):
        if one is not None:
            parts[one.version] = f"{part} of {one.share:.0%}"
    said = [f"{address(name, number)} {parts.get(number, 'waits')}" for number in there if number not in route.retired]
    return ", ".join(said)


def refused(message: str) -> int:
    """Say in one line what does not fit."""
    return failed(f"cannot change versions: {message}", UNUSABLE)


def promote_parser() -> argparse.ArgumentParser:
    """Arguments of ``wmserve promote``."""
    parser = argparse.ArgumentParser(
        prog="wmserve promote",
        description="Make a version of a world the one that answers, or give it a share of the traffic.",
        epilog=f"Exit status: 0 done, {UNUSABLE} there is no such version or it cannot have that part.",
    )
    parser.add_argument("version", metavar="NAME@VERSION", help="such as two_room@2")
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--canary", type=share, metavar="SHARE", help="answer this share of the sessions, 0 to 1; 0 ends it"
    )
    part.add_argument(
        "--shadow",
        type=share,
        metavar="SHARE",
        help="get this share of the requests too, without answering, 0 to 1; 0 ends it",
    )
    add_repository(parser)
    return parser


def rollback_parser() -> argparse.ArgumentParser:
    """Arguments of ``wmserve rollback``."""
    parser = argparse.ArgumentParser(
        prog="wmserve rollback",
        description="Make the version that answered before answer again.",
        epilog=f"Exit status: 0 done, {UNUSABLE} there is no such world or no previous version.",
    )
    parser.add_argument("world", metavar="NAME", help="name of a world in the repository")
    add_repository(parser)
    return parser


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Where the versions are."""
    place = Path("model_repository")
    parser.add_argument("--repository", type=Path, default=place, help="where Triton reads (default: %(default)s)")


def share(text: str) -> float:
    """A number of 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be 0 to 1, not {text}")
    return value


def add_placing(parser: argparse.ArgumentParser) -> None:
    """Arguments of commands that write a version: what becomes of it."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--no-promote",
        action="store_true",
        help="write a version that answers only who names it, NAME@VERSION; see wmserve promote",
    )
    place.add_argument(
        "--replace",
        action="store_true",
        help="take the place of the live version, which is gone then; only where no server reads the repository",
    )


def placing(options: argparse.Namespace) -> Placing:
    """What was chosen of :func:`add_placing`."""
    return Placing(promote=not options.no_promote, replace=options.replace)
