"""``wmserve trajectories``: write what ``wmserve calibrate`` and ``wmserve fit`` read, from what others recorded.

wmserve trajectories recorded.h5 --world my_world --out logged/
wmserve trajectories my_dataset/ --world my_world --camera observation.images.top --out logged/
wmserve trajectories recorded.h5 --statistics world.json --action-block 5      before a world is exported
wmserve trajectories my_dataset/ --keys                                        what there is in it
"""

import argparse
import sys
from collections.abc import Callable

from wmserve_export import repository
from wmserve_export.calibration.trajectories import CalibrationError
from wmserve_export.trajectories import formats, selecting, statistics
from wmserve_export.trajectories.arguments import parser
from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.convert import Conversion
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.gathering import gather_statistics
from wmserve_export.trajectories.options import Options, part
from wmserve_export.trajectories.source import Source

INCOMPLETE, UNUSABLE, STOPPED = 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Convert; 0 done, 1 done but some episodes could not be read, 2 nothing could be, 130 stopped."""
    options = parser().parse_args(argv)
    try:
        source = formats.open_source(
            options.dataset,
            options.format,
            Reading(options.rate, options.clock, options.action[0] if options.action else None),
        )
        return command(options)(source, options)
    except (DataError, CalibrationError, OSError) as error:
        print(f"cannot read trajectories: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return STOPPED


def command(options: argparse.Namespace) -> Callable[[Source, argparse.Namespace], int]:
    """What is asked for; DataError where that is not said."""
    if options.keys:
        return show_keys
    if options.list_episodes:
        return show_episodes
    if options.statistics is not None:
        return write_statistics
    if options.world is None or options.out is None:
        raise DataError("say --world NAME and --out DIR, or --statistics FILE before a world is exported, or --keys")
    return write_trajectories


def chosen(options: argparse.Namespace) -> Options:
    """As the conversion takes them."""
    return Options(
        camera=options.camera,
        action=options.action,
        readouts=options.readout or (),
        states=options.states or (),
        frame_stride=options.frame_stride,
        combine=options.combine,
        action_shift=None if options.action_shift == "auto" else int(options.action_shift),
        limit=options.limit,
        longest=options.longest,
        resize=options.resize,
        episodes=options.episodes,
        split=None if options.split is None else selecting.split(options.split),
        part=options.part,
        seed=options.seed,
    )


def write_trajectories(source: Source, options: argparse.Namespace) -> int:
    """Files and their report."""
    world = repository.read(options.repository, options.world)
    dataset = options.dataset.resolve().name
    conversion = Conversion(
        source, world, options.repository, options.out, chosen(options), dataset, show=not options.quiet
    )
    report = conversion.run()
    for warning in report.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(report.summary(options.out))
    if report.written + report.kept == 0:
        reasons = [one.reason for one in report.left_out]
        raise DataError(f"nothing was written: {reasons[0] if reasons else 'all episodes are too short'}")
    return INCOMPLETE if report.unreadable else 0


def write_statistics(source: Source, options: argparse.Namespace) -> int:
    """Mean, standard deviation and range of each axis, into a world.json."""
    axes = statistics.axes_of(options.statistics)

    def width(numbers: int) -> int:
        block = options.action_block or 1
        return axes if axes and block > 1 and numbers == axes * block else numbers

    found, action, unread = gather_statistics(source, chosen(options), width, show=not options.quiet)
    rows = found.found(action.names[: found.width])
    there = statistics.merge(options.statistics, rows, options.action_block)
    for row in rows:
        print(f"{row.name}: mean {row.mean:.6g}, std {row.std:.6g}, from {row.low:.6g} to {row.high:.6g}")
        if row.outliers:
            print(
                f"note: {row.name}: 98 % lie between {row.low_1:.6g} and {row.high_99:.6g}, few far out; a search may "
                "need narrower bounds",
                file=sys.stderr,
            )
    what = "merged into" if there else "written to"
    print(f"statistics of {found.count} actions of {source.kind} data {what} {options.statistics}: action.axes")
    if unread:
        print(f"note: {unread} episodes could not be read", file=sys.stderr)
    return INCOMPLETE if unread else 0


def show_keys(source: Source, options: argparse.Namespace) -> int:
    """What there is to choose from."""
    del options
    print(f"format: {source.kind}; {len(source.episodes)} episodes, such as {', '.join(source.episodes[:1]) or 'none'}")
    if source.rate is not None:
        print(f"rows in a second: {source.rate:g}")
    print(f"cameras: {', '.join(source.cameras) or 'none'}")
    for key, column in source.columns.items():
        print(f"column: {key}[{column.width}] {' '.join(column.names)}".rstrip())
    return 0


def show_episodes(source: Source, options: argparse.Namespace) -> int:
    """Names of the episodes that are asked for: those that training may see, say."""
    for index in sorted(part(source, chosen(options))):
        print(source.episodes[index])
    return 0


if __name__ == "__main__":
    sys.exit(main())
