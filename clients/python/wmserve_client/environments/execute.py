"""``wmserve execute``: have a server plan, execute its plans in an environment, and keep what came of them."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm
from wmserve import trajectories

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.acting import Executed
from wmserve_client.environments.commands import done, offsets_of, opened, plans_to_goals
from wmserve_client.environments.executing import executed
from wmserve_client.environments.kept import place, remember
from wmserve_client.environments.opening import function
from wmserve_client.environments.options import add_common, positive
from wmserve_client.environments.problems import Drawn, Problems
from wmserve_client.environments.recorded import Acted, Files, Recorded
from wmserve_client.environments.stage import Stage
from wmserve_client.results import World

FEWEST = 300
"""Plans that a calibration takes at least."""
MOST_DIFFERENCE = 4.0
"""Grey levels by which frames may differ from recorded ones before that is worth a word."""


@dataclass
class Tally:
    """What this run came to."""

    plans: int = 0
    refused: int = 0
    reached: int = 0
    ended: int = 0
    difference: float = 0.0

    def add(self, one: Executed) -> None:
        """Count a plan."""
        self.plans += 1
        self.refused += one.plan.status != "ok"
        self.reached += one.reached
        self.ended += one.ended
        self.difference = max(self.difference, one.frame_difference or 0.0)


def main(argv: list[str] | None = None) -> int:
    """Execute; 0 when all plans are there, 1 when the server said no or nobody answered, 2 when it cannot be done."""

    def work(client: Client, options: argparse.Namespace) -> None:
        print(told(options, run(client, options)))

    return done("execute", work, parser().parse_args(argv), resumes=True)


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve execute",
        description="Have a server plan for many starts and goals, execute each plan to its end in an environment, "
        "whether it is refused or not, and write what came of it: what `wmserve calibrate --planned` reads.",
        epilog="Exit status: 0 all plans are there, 1 the server said no, 2 the command or the environment was wrong.",
    )
    add_common(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write to; a run that was stopped goes on")
    add("--count", type=positive, default=3000, help="plans; a calibration takes 300 at least (default: %(default)s)")
    add("--horizon", type=positive, help="model steps of a plan (default: the world's, which is what is calibrated)")
    add("--quiet", action="store_true", help="show no progress")
    return parser


def run(client: Client, options: argparse.Namespace) -> Tally:
    """Execute what is not there yet."""
    world = client.world(options.world)
    check(world, options.horizon)
    files, chosen = opened(options, world)
    first = chosen.stage()
    first.fit(world)
    problems = source(options, world, first, files)
    remember(options, world, type(problems).__name__.lower())
    tally = Tally()
    numbers = [number for number in range(options.count) if not place(options.out, number).exists()]
    show = tqdm(
        executed(client, world, chosen, problems, numbers, options.at_once, options.horizon),
        "executing plans",
        initial=options.count - len(numbers),
        total=options.count,
        unit="plan",
        mininterval=2,
        disable=options.quiet,
    )
    for number, one in show:
        trajectories.write(place(options.out, number), one.trajectory)
        tally.add(one)
    first.close()
    return tally


def check(world: World, horizon: int | None) -> None:
    """EnvironmentFault for a world whose plans cannot be kept so."""
    plans_to_goals(world, "executed plans are kept with theirs")
    if world.observation.proprioception or not world.observation.native_height:
        raise EnvironmentFault(f"world {world.name} takes proprioception, which files of trajectories do not hold")
    if horizon is not None and horizon < world.planner.horizon:
        raise EnvironmentFault(
            f"--horizon {horizon} is less than the {world.planner.horizon} model steps that a calibration looks at"
        )


def source(options: argparse.Namespace, world: World, stage: Stage, files: Files | None) -> Problems:
    """Where problems come from."""
    offsets = offsets_of(options.goal_offset, world)
    draw = function(options.problems) if options.problems else stage.draw if files is None else None
    if draw is not None:
        return Drawn(draw, world, options.seed)
    kind = options.source
    if kind == "auto":
        recorded = files is not None and (options.state or files.first.states is not None)
        kind = ("columns" if options.state else "states") if recorded and stage.settable else "resets"
    if kind == "resets":
        if not stage.resettable:
            raise EnvironmentFault(
                f"environment {stage.name} has no reset: give trajectories with states, or --problems"
            )
        return Acted(files, world, options.seed, offsets)
    if files is None:
        raise EnvironmentFault(f"--from {kind} needs --trajectories DIR")
    return Recorded(files, world, options.seed, offsets, kind, tuple(options.state or ()))


def told(options: argparse.Namespace, tally: Tally) -> str:
    """What was done, for people."""
    there = len(list(options.out.glob("*.npz")))
    lines = [f"{there} executed plans in {options.out}, {tally.plans} of them new"]
    if tally.plans:
        lines.append(
            f"of the new ones {tally.refused} would have been refused, {tally.reached} came to what the environment "
            f"calls the goal, {tally.ended} saw an episode's end"
        )
    if tally.difference > MOST_DIFFERENCE:
        lines.append(
            f"frames differ from the recorded ones by up to {tally.difference:.1f} grey levels on average: do states "
            "hold all that is seen?"
        )
    if there < FEWEST:
        lines.append(f"a calibration takes at least {FEWEST}, better thousands: --count")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
