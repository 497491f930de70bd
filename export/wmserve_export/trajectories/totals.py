"""Puts the report of a run together from what was counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wmserve_export.trajectories import report
from wmserve_export.trajectories.alignment import Alignment
from wmserve_export.trajectories.bounds import MAX_ROWS
from wmserve_export.trajectories.counting import Tally
from wmserve_export.trajectories.job import Job
from wmserve_export.trajectories.report import Horizon, LeftOut, Report
from wmserve_export.trajectories.statistics import unlike


@dataclass(frozen=True)
class Run:
    """What is known before the first episode is read."""

    settings: Mapping[str, Any]
    digest: str
    """SHA-256 of the settings."""
    shift: int
    alignment: Alignment | None
    words: Sequence[str]
    """To be said of the alignment."""
    there: frozenset[str]
    """Trajectories in the folder, by the names of their files."""


def totals(job: Job, run: Run, tally: Tally, finished: bool) -> Report:
    """Everything that was counted."""
    world, count = job.world, len(tally.lengths)
    mine = {job.file_name(name) for name in tally.names}
    statistics = tally.long.found([axis.name for axis in world.action.axes]) if tally.long.count else ()
    made = Report(
        finished=finished,
        world=world.name,
        format=job.source.kind,
        settings=run.settings,
        digest=run.digest,
        selected=len(job.chosen.order),
        looked_at=count + sum(map(len, tally.reasons.values())),
        written=tally.written,
        kept=tally.kept,
        earlier=len(run.there - mine),
        too_short=sum(length < job.needed for length in tally.lengths),
        frames_needed=job.needed,
        horizons=tuple(
            Horizon(horizon, sum(length >= world.context_length + horizon for length in tally.lengths))
            for horizon in range(1, world.horizon_limit + 1)
        ),
        median_short=tally.median(0, job.needed),
        median_long=tally.median(job.needed, MAX_ROWS),
        short_unlike_long=unlike(tally.short, tally.long),
        frames=tally.frames,
        still=tally.still,
        out_of_bounds=tally.outside / max(tally.long.count, 1),
        left_out=tuple(LeftOut(reason, len(names), report.listed(names)) for reason, names in tally.reasons.items()),
        action_shift=run.shift,
        alignment=run.alignment,
        statistics=statistics,
        warnings=(),
        episodes=tuple(tally.names),
    )
    return report.with_warnings(made, world, run.words) if finished and count else made
