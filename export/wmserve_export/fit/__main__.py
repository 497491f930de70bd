"""``wmserve fit``: learn a goal metric and readouts for a world in a repository, from trajectories.

    wmserve fit my_world --trajectories logged/                                   a goal metric; named columns
    wmserve fit my_world --trajectories logged/ --readout agent_x:px --readout agent_y:px
    wmserve fit my_world --trajectories logged/ --dry-run                         what it would be worth

Encoder and predictor stay as they are, to the bit. The world has other engines afterwards, and so no calibration.
"""

import argparse
import json
import sys
from pathlib import Path

from wmserve.trajectories import TrajectoryError, files

from wmserve_export import versions
from wmserve_export.fit import wanted
from wmserve_export.fit.fitting import KINDS, FitOptions, MetricReport, Report, fit_world
from wmserve_export.fit.surgery import FitError
from wmserve_export.gates import GateError

REFUSED, UNUSABLE = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Fit; 0 when the world has its new heads, 1 when a gate refused them, 2 when there was nothing to fit."""
    options = parser().parse_args(argv)
    chosen = FitOptions(
        readouts=tuple(options.readout or ()),
        no_readouts=options.no_readouts,
        metric=options.metric,
        no_metric=options.no_metric,
        seed=options.seed,
        dry_run=options.dry_run,
    )
    try:
        if chosen.no_readouts and chosen.readouts:
            raise FitError("--readout and --no-readouts exclude each other")
        report = fit_world(
            options.repository,
            options.world,
            files(options.trajectories),
            chosen,
            not options.quiet,
            versions.placing(options),
        )
        if options.report is not None:
            options.report.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    except GateError as error:
        print(f"refused, nothing was written: {error}", file=sys.stderr)
        return REFUSED
    except (FitError, TrajectoryError, ValueError, OSError) as error:
        print(f"cannot fit: {error}", file=sys.stderr)
        return UNUSABLE
    print(summary(report, options.repository))
    print(versions.told(options.repository, options.world), file=sys.stderr)
    return 0


def summary(report: Report, repository: Path) -> str:
    """What was found, for people."""
    counts = report.trajectories
    lines = [
        f"world {report.world}: learned from {counts['fit']} trajectories, chosen by {counts['choose']}, "
        f"measured on {counts['held_out']} others"
    ]
    if report.metric is not None:
        lines += of_metric(report.metric)
    for one in report.readouts.found if report.readouts else ():
        lines.append(
            f"readout {one.name}: off by {one.error:.3g} {one.unit} (root mean square), R2 {one.explained:.3f}"
        )
    lines += [f"note: {note}" for note in report.notes]
    if not report.written:
        return "\n".join([*lines, "nothing was written: --dry-run"])
    place = "" if repository == Path("model_repository") else f" --repository {repository}"
    again = f"wmserve calibrate {report.world} --trajectories DIR{place}"
    return "\n".join([*lines, f"encoder and predictor are as they were. It has no calibration now; next: {again}"])


def of_metric(metric: MetricReport) -> list[str]:
    """The goal metric, before and after."""
    was, now = metric.worth_before, metric.worth
    if metric.kind == "kept":
        return [f"goal metric: {metric.before} stays, none that was fitted is better on trajectories to choose by"]
    rows = [
        ("rank correlation with model steps", was.correlation, now.correlation),
        ("share of steps that come nearer", was.monotone, now.monotone),
    ]
    if was.ranking is not None and now.ranking is not None:
        rows.append(("candidates ranked behind the actions taken", was.ranking, now.ranking))
    return [f"goal metric: {metric.kind}, in place of {metric.before}"] + [
        f"  {label}: {before:.3f} -> {after:.3f}" for label, before, after in rows
    ]


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve fit",
        description="Learn a goal metric and readouts for an exported world, from trajectories: .npz files as "
        "`wmserve trajectories` writes them. Encoder and predictor are not touched.",
        epilog="Exit status: 0 fitted, 1 a gate refused the new heads, 2 the world or the trajectories do not fit.",
    )
    add = parser.add_argument
    add("world", help="name of a world in the repository")
    add("--trajectories", type=Path, required=True, metavar="DIR", help="folder of .npz files, one a trajectory")
    add("--repository", type=Path, default=Path("model_repository"), help="where Triton reads (default: %(default)s)")
    add(
        "--readout",
        type=wanted.parse,
        action="append",
        metavar="NAME[:UNIT[:LOW:HIGH]]",
        help="column to make a readout of, once for each, such as agent_x:px:0:224; without names in the files, name "
        "all columns in their order (default: all columns that have names)",
    )
    add("--no-readouts", action="store_true", help="fit no readouts")
    add("--metric", choices=KINDS, help="goal metric to fit (default: what is best on trajectories kept to choose by)")
    add("--no-metric", action="store_true", help="fit no goal metric")
    add("--seed", type=int, default=0, help="of the split and of what is learned (default: %(default)s)")
    add("--dry-run", action="store_true", help="fit, measure and try the gates, but write nothing")
    add("--report", type=Path, metavar="FILE", help="write what was found as JSON, too")
    versions.add_placing(parser)
    add("--quiet", action="store_true", help="show no progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
