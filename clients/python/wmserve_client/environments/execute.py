"""``wmserve execute``: have a server plan, execute its plans in an environment, and keep what came of them."""

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm
from wmserve import trajectories

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault, acting
from wmserve_client.environments.acting import Executed
from wmserve_client.environments.opening import Opening, function
from wmserve_client.environments.options import add_common, opening, positive
from wmserve_client.environments.problems import Acted, Drawn, Files, Offsets, Problems, Recorded
from wmserve_client.environments.serving import connected
from wmserve_client.environments.stage import Stage
from wmserve_client.errors import WmserveError
from wmserve_client.results import World

MANIFEST = "plans.json"
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
    options = parser().parse_args(argv)
    try:
        with connected(options.server, options.repository, options.world, options.calibration) as client:
            tally = run(client, options)
    except WmserveError as error:
        print(f"cannot execute: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"cannot execute: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    print(told(options, tally))
    return 0


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
    files = None if options.trajectories is None else Files(options.trajectories, options.seed, world)
    chosen = opening(options, None if files is None else files.first.observations.shape[1:3])
    first = chosen.stage()
    first.fit(world)
    problems = source(options, world, first, files)
    remember(options, world, type(problems).__name__.lower())
    tally = Tally()
    numbers = [number for number in range(options.count) if not place(options.out, number).exists()]
    done = executed(client, world, chosen, problems, numbers, options.at_once, options.horizon)
    show = tqdm(
        done,
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


def place(folder: Path, number: int) -> Path:
    """The file of a plan."""
    return folder / f"{number:05}.npz"


def check(world: World, horizon: int | None) -> None:
    """EnvironmentFault for a world whose plans cannot be kept so."""
    if "plan" not in world.verbs or not world.action.axes:
        raise EnvironmentFault(f"world {world.name} does not plan; it answers {', '.join(world.verbs)}")
    if not world.goal_metric.needs_goal:
        raise EnvironmentFault(f"world {world.name} plans without goals; executed plans are kept with theirs")
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


def offsets_of(steps: int | None, world: World) -> Offsets:
    """How far ahead goals are, model steps; EnvironmentFault for environment steps between two of them."""
    block = world.action.action_block
    if steps is not None and steps % block:
        raise EnvironmentFault(f"--goal-offset {steps} must be a multiple of the world's action_block, {block}")
    return Offsets(None if steps is None else steps // block, 2 * world.planner.horizon)


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


def executed(
    client: Client,
    world: World,
    chosen: Opening,
    problems: Problems,
    numbers: list[int],
    at_once: int,
    horizon: int | None = None,
) -> Iterator[tuple[int, Executed]]:
    """Execute the plans of problems, as they come; each thread has an environment of its own.

    Raises what `acting.execute` raises, and EnvironmentFault where the world is exported again meanwhile.
    """
    own, lock = threading.local(), threading.Lock()
    stages: list[Stage] = []

    def one(number: int) -> tuple[int, Executed]:
        if not hasattr(own, "stage"):
            with lock:  # libraries behind environments are rarely fond of being loaded twice at once
                own.stage = chosen.stage()
                stages.append(own.stage)
        done = acting.execute(client, world, own.stage, problems(number), horizon)
        if done.plan.digests["checkpoint"] != world.digests.checkpoint:
            raise EnvironmentFault(f"world {world.name} was exported again meanwhile; run the command again")
        return number, done

    left = iter(numbers)
    pool = ThreadPoolExecutor(at_once)
    try:
        # A few more than are at work: what is done waits for nobody, and frames do not pile up.
        waiting: set[Future[tuple[int, Executed]]] = {pool.submit(one, number) for number in islice(left, 2 * at_once)}
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            waiting |= {pool.submit(one, number) for number in islice(left, len(finished))}
    finally:
        pool.shutdown(cancel_futures=True)
        for stage in stages:
            stage.close()


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
