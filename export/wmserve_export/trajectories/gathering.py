"""Statistics of the actions of a data set, before there is a world to convert it for."""

from collections.abc import Callable

from tqdm import tqdm

from wmserve_export.trajectories import selecting
from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.counting import UNREADABLE, Tally
from wmserve_export.trajectories.options import Options, part
from wmserve_export.trajectories.selecting import Selection
from wmserve_export.trajectories.source import Source
from wmserve_export.trajectories.statistics import Gathering
from wmserve_export.trajectories.timeline import Pace, timeline


def gather_statistics(
    source: Source, options: Options, widths: Callable[[int], int], show: bool
) -> tuple[Gathering, Selection, int]:
    """Of the actions of all episodes that are asked for; with what was selected and how many could not be read.

    `widths` says how many axes a row of so many numbers has.
    """
    action = selecting.actions(source, options.action)
    axes = widths(len(action.names))
    if options.frame_stride > 1 and options.combine is None:
        raise DataError("--frame-stride: say with --combine how the actions of several rows become one")
    pace = Pace(len(action.names) // axes, options.frame_stride, options.combine)
    found, failed = Gathering(axes), Tally()
    order = part(source, options)[: options.limit]
    for index in tqdm(order, "reading actions", unit="episode", mininterval=2, disable=not show):
        try:
            with source.open(index, None, action.keys) as recording:
                found.add(timeline(action.of(recording), pace, axes).actions)
            failed.lengths.append(1)
        except UNREADABLE as error:
            failed.fail(source.episodes[index], error)
    return found, action, sum(map(len, failed.reasons.values()))
