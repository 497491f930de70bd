"""``wmserve calibrate``: measure how far a world in a repository errs, so that its answers can say so."""

import argparse
import math
import sys
from pathlib import Path

from wmserve import trajectories as files_of
from wmserve.world import Calibration, World

from wmserve_export import repository
from wmserve_export.calibration import executing, trajectories
from wmserve_export.calibration.calibrate import calibrate_world

COLLAPSED, UNUSABLE = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Calibrate; 0 when it is in place, 1 when it says that the encoder has collapsed, 2 when it cannot be made."""
    asked = parser()
    options, more = asked.parse_known_args(argv)
    if more and options.env is None:
        asked.error(f"unrecognized arguments: {' '.join(more)}")
    try:
        world = repository.read(options.repository, options.world)
        calibration = calibrate(options, world, None if options.env else options.planned)
        if options.env is not None and calibration.collapsed is None:
            print(summary(world, calibration), flush=True)
            planned = options.planned or executing.folder(world)
            given = (options.repository, options.trajectories, options.env, planned)
            executing.execute(world, calibration.digest, *given, [*more, *["--quiet"] * options.quiet])
            calibration = calibrate(options, world, planned)
    except (ValueError, OSError) as error:
        print(f"cannot calibrate: {error}", file=sys.stderr)
        return UNUSABLE
    print(summary(world, calibration))
    if calibration.collapsed is not None:
        print(f"it will not be served: its encoder has collapsed, {calibration.collapsed}", file=sys.stderr)
        return COLLAPSED
    return 0


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
        show=not options.quiet,
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
        f"{ninety.radius[-1]:.2f} after {world.horizon_limit}; all steps at once: up to {widest:.2f} times as wide"
    )


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
    add("--trajectories", type=Path, required=True, metavar="DIR", help="folder of .npz files, one a trajectory")
    add("--planned", type=Path, metavar="DIR", help="folder of plans that were executed, one a file with its goal")
    add("--env", metavar="ENV", help="have plans executed in this environment first; they go to --planned, else plans/")
    add("--repository", type=Path, default=Path("model_repository"), help="where Triton reads (default: %(default)s)")
    add(
        "--tolerance",
        type=positive,
        help="largest useful radius (default: the usual distance covered in one model step)",
    )
    add("--quiet", action="store_true", help="show no progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
