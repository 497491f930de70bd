"""``wmserve calibrate``: measure how far a world in a repository errs, so that its answers can say so."""

import argparse
import math
import sys
from pathlib import Path

from wmserve import trajectories as files_of
from wmserve.world import Calibration, World

from wmserve_export import repository, versions
from wmserve_export.calibration import executing, plans, trajectories
from wmserve_export.calibration.calibrate import FIT_SHARE, calibrate_world

COLLAPSED, UNUSABLE = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Calibrate; 0 when it is served, 1 when a finding keeps it from being served, 2 when it cannot be made."""
    asked = parser()
    options, more = asked.parse_known_args(argv)
    if more and options.env is None:
        asked.error(f"unrecognized arguments: {' '.join(more)}")
    if options.trajectories is None and (options.serve_anyway is None or options.env is not None):
        asked.error("--trajectories is needed, unless --serve-anyway or --no-serve-anyway is all that is to change")
    if options.env is not None and options.no_promote:
        asked.error("--env needs a server that answers with the new version: leave --no-promote out")
    try:
        if options.trajectories is not None:
            measured(options, more)
        if options.serve_anyway is not None:
            repository.serve_anyway(options.repository, options.world, options.serve_anyway, versions.placing(options))
        world = repository.read(options.repository, options.world)
    except (ValueError, OSError) as error:
        print(f"cannot calibrate: {error}", file=sys.stderr)
        return UNUSABLE
    print(versions.told(options.repository, options.world), file=sys.stderr)
    finding = None if world.calibration is None else world.calibration.collapsed
    if finding is not None:
        anyway = f"to serve it anyway: wmserve calibrate {world.name} --serve-anyway"
        what = f"it is not served; {anyway}" if world.withheld else "it is served anyway, as an operator has said"
        print(f"warning: world {world.name}: {finding}; {what}", file=sys.stderr)
    elif options.serve_anyway:
        print(f"world {world.name} has no finding that would keep it from being served: nothing was changed")
    return COLLAPSED if world.withheld else 0


def measured(options: argparse.Namespace, more: list[str]) -> None:
    """Calibrate as asked, and again on plans that an environment has executed, if one is named."""
    world = repository.read(options.repository, options.world)
    calibration = calibrate(options, world, None if options.env else options.planned)
    if options.env is not None and (calibration.collapsed is None or options.serve_anyway):
        print(summary(world, calibration), flush=True)
        if options.serve_anyway:
            repository.serve_anyway(options.repository, options.world, True, versions.placing(options))
        planned = options.planned or executing.folder(world)
        given = (options.repository, options.trajectories, options.env, planned)
        executing.execute(world, calibration.digest, *given, [*more, *["--quiet"] * options.quiet])
        calibration = calibrate(options, world, planned)
    print(summary(world, calibration))


def calibrate(options: argparse.Namespace, world: World, planned: Path | None) -> Calibration:
    """Calibrate on trajectories, and on plans that were executed."""
    found = trajectories.files(options.trajectories)
    return calibrate_world(
        options.repository,
        options.world,
        trajectories.read(found, world),
        len(found),
        None if planned is None else trajectories.Plans(planned, world),
        options.tolerance,
        not options.quiet,
        versions.placing(options),
    )


def summary(world: World, calibration: Calibration) -> str:
    """What was found, for people."""
    ninety = next(level for level in calibration.levels if level.level == 0.9)
    widest = max(ninety.joint_radius[step] / ninety.radius[step] for step in range(world.horizon_limit))
    planned = calibration.planned
    of_plans = "not calibrated for plans: no plan is refused" if planned is None else f"{planned.plans} executed plans"
    return (
        f"world {world.name}: calibrated on {calibration.trajectories} trajectories; {of_plans}, "
        f"tolerance {calibration.tolerance:.3g}\n"
        f"90 % of errors are within {ninety.radius[0]:.2f} times what it expects after one model step, "
        f"{ninety.radius[-1]:.2f} after {world.horizon_limit}; all steps at once: up to {widest:.2f} times as wide\n"
        f"{coarseness(calibration)}"
    )


def coarseness(calibration: Calibration) -> str:
    """How small p-values can be, and how many more would make them as small as refusals are by default."""
    needed = math.ceil(1 / (1 - plans.REFUSAL_LEVEL)) - 1
    held_out = calibration.trajectories
    more = math.ceil(max(0, needed - held_out) / (1 - FIT_SHARE))
    said = [of_so_many(held_out, "trajectories", more)]
    planned = calibration.planned
    if planned is not None:
        true = planned.counted(len(planned.levels[0].radius))
        said.append(of_so_many(true, "plans that came true", math.ceil(max(0, needed - true) * planned.plans / true)))
        if planned.executed is not None and planned.executed.margin > 1:
            said.append("so few plans refuse only what is far beyond all of them")
    return "; ".join(said)


def of_so_many(count: int, what: str, more: int) -> str:
    """How coarse p-values of so many are."""
    enough = "enough for refusals at 0.999" if not more else f"{more} more would show 0.001, as refusals at 0.999 need"
    return f"{count} {what} cannot show p < {1 / (count + 1):.2g} ({enough})"


def positive(text: str) -> float:
    """A number over 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be over 0 and finite, not {text}")
    return value


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve calibrate",
        description="Measure how far a world's predictions err, on trajectories that its training knew nothing of.",
        epilog="With --env it takes three steps: it calibrates on trajectories, has plans executed in that environment "
        "(`wmserve execute`, whose options may be given here, too: --server, --count, --from, ...), and calibrates "
        "again on both. "
        f"Trajectories: {' '.join((files_of.__doc__ or '').split())}",
    )
    add = parser.add_argument
    add("world", help="name of a world in the repository")
    add("--trajectories", type=Path, metavar="DIR", help="folder of .npz files, one a trajectory")
    add("--planned", type=Path, metavar="DIR", help="folder of plans that were executed, one a file with its goal")
    add("--env", metavar="ENV", help="have plans executed in this environment first; they go to --planned, else plans/")
    add("--repository", type=Path, default=Path("model_repository"), help="where Triton reads (default: %(default)s)")
    add(
        "--tolerance",
        type=positive,
        help="largest useful radius (default: the usual distance covered in one model step)",
    )
    add(
        "--serve-anyway",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve the world in spite of what its calibration found, or no longer; without --trajectories that is "
        "all that changes. Exit status: 0 served, 1 kept from being served by a finding, 2 could not be calibrated",
    )
    versions.add_placing(parser)
    add("--quiet", action="store_true", help="show no progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
