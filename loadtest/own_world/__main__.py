"""A world of one's own, the whole way, on two environments: recorded, trained, exported, calibrated, played.

    python -m loadtest.own_world [--short] [--out build/own] [--environments two_room reacher]

Every step is a command, in a process of its own; docs/your-own-world.md tells the story. What was recorded and trained
in `--out` before is taken up again; all that comes after it is done anew. `--short` does a little of
each, to see that all of it runs: its figures mean nothing. The last line is JSON, success in percent:

    reference_gate_missed         exports of the weights under wrong settings that passed; of `reference_gate_tried`
    served_vs_peer, _low, _high   success by latent distance on hard problems, less that of the peer's solver with the
                                  same checkpoint and an equal search: the least of both environments
    beats_random                  environments in which the served policy is better than random actions, with an
                                  interval that excludes 0; of `environments`
    fitted_vs_latent, _low, _high success by the fitted goal metric on hard problems, less by latent distance: the least
    healthy_refused               part of fresh executed plans that came true and are refused: the most
    coverage_steps_low, _high     part of fresh errors within the radius at 0.9, by model steps: the least and the most
    coverage_plans_low            the same of fresh executed plans: the least
    collapse_missed, _false       collapsed encoders that are not found, and healthy ones that are called collapsed,
                                  these two among them
    update_failed                 calls that failed while versions of a world changed, of 10 000
    minutes                       of all of it
    commands, lines_of_code       that a user types and writes between a checkpoint and a calibrated world

Exit status: 0 when all was run, 1 when a command did not end as it should.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.own_world.commands import Commands, StoryFault
from loadtest.own_world.environments import ENVIRONMENTS, FULL, SHORT
from loadtest.own_world.story import Story, tell

USER_COMMANDS = ("export", "trajectories", "fit", "calibrate")
"""From a folder with a checkpoint to a calibrated world; serving and evaluating come after it."""
USER_LINES = 0
"""Of code; all of it is in arguments and in world.json."""
Told = Mapping[str, Mapping[str, Any]]


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a little of each step")
    parser.add_argument("--out", type=Path, default=Path("build/own"), help="folder to work in (default: %(default)s)")
    names = [own.name for own in ENVIRONMENTS]
    parser.add_argument("--environments", nargs="+", choices=names, default=names)
    options = parser.parse_args(argv)
    size, started = SHORT if options.short else FULL, time.perf_counter()
    told: dict[str, dict[str, Any]] = {}
    chosen = [own for own in ENVIRONMENTS if own.name in options.environments]
    folders = {own.name: options.out / own.name for own in chosen}
    stories = [Story(own, own.of(size), folders[own.name], Commands(folders[own.name] / "logs")) for own in chosen]
    try:
        for story in stories:
            print(f"\n== {story.own.environment}", flush=True)
            told[story.own.name] = tell(story)
        others = {} if options.short else collapse(stories) | updates(stories[0].commands)
    except StoryFault as fault:
        print(fault, file=sys.stderr)
        return 1
    table(told)
    print(json.dumps(together(told) | others | {"minutes": round((time.perf_counter() - started) / 60, 1)}))
    return 0


def together(told: Told) -> dict[str, Any]:
    """The worst of each figure over the environments."""
    found = list(told.values())
    return {
        "environments": len(found),
        **{name: sum(one[name] for one in found) for name in ("reference_gate_tried", "reference_gate_missed")},
        **least(found, "served_vs_peer"),
        "beats_random": sum(one["served_vs_random_low"] > 0 for one in found),
        **least(found, "fitted_vs_latent"),
        **{name: min(one[name] for one in found) for name in ("coverage_steps_low", "coverage_plans_low")},
        **{name: max(one[name] for one in found) for name in ("coverage_steps_high", "healthy_refused")},
        "commands": len(USER_COMMANDS),
        "lines_of_code": USER_LINES,
    }


def least(found: Sequence[Mapping[str, Any]], difference: str) -> dict[str, float]:
    """A difference and its interval, of the environment where it is least."""
    worst = min(found, key=lambda one: float(one[difference]))
    return {name: worst[name] for name in (difference, f"{difference}_low", f"{difference}_high")}


def updates(commands: Commands) -> dict[str, int]:
    """Calls that failed while versions of a world changed."""
    found = commands.python("loadtest.updates", "--calls", 10_000).report()
    return {"update_failed": found["update_failed"], "update_calls": found["calls"]}


def collapse(stories: Sequence[Story]) -> dict[str, int]:
    """Collapsed encoders that are missed, and healthy ones, the stories' own among them, that are called so."""
    also = [
        word for one in stories for word in ("--also", one.folder / "repository", one.name, one.trajectories("fresh"))
    ]
    figures = stories[0].commands.python("loadtest.trusting.collapsed", *also).figures()
    return {name: figures[name] for name in ("collapse_missed", "collapse_false", "collapse_false_of")}


def table(told: Told) -> None:
    """Every figure, a column for each environment."""
    rows = list(dict.fromkeys(name for one in told.values() for name in one))
    width = max(map(len, rows))
    print("\n" + " " * width + "".join(f"{name:>12}" for name in told))
    for row in rows:
        print(f"{row:{width}}" + "".join(f"{one[row]:>12}" for one in told.values()))
    print()


if __name__ == "__main__":
    sys.exit(main())
