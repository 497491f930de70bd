"""By how many rows actions are shifted: as a user says, as an earlier run found, or as engines predict best."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from wmserve_export.export import one_thread
from wmserve_export.trajectories import alignment, report
from wmserve_export.trajectories.alignment import Alignment
from wmserve_export.trajectories.counting import UNREADABLE
from wmserve_export.trajectories.job import Job
from wmserve_export.trajectories.timeline import frame_rows, timeline


def shift_of(
    job: Job, place: Path, folder: Path, settings: Mapping[str, Any], show: bool
) -> tuple[int, Alignment | None, list[str]]:
    """The shift of the actions that is used, what was measured of it, and what is to be said.

    Args:
        job: What is converted.
        place: Repository of the world.
        folder: Of the trajectories; what an earlier run measured with the same settings is not measured again.
        settings: What decides what a file holds, but for the shift.
        show: Whether to show progress.
    """
    known = report.earlier_alignment(folder, settings)
    asked = job.options.action_shift
    if known is not None and asked in (None, known[0]) and any(folder.glob("*.npz")):
        shift, found = known
    else:
        found = measured(job, place, show) if job.world.observation.tubelet_size == 1 else None
        shift = asked if asked is not None else found.best if found is not None and found.clear else 0
    return shift, found, alignment.words_on(shift, asked, found)


def measured(job: Job, place: Path, show: bool) -> Alignment | None:
    """Errors by shift on some episodes."""
    engines = alignment.OneStep(place, job.world)
    sample = list(islice(job.chosen.order, 4 * alignment.EPISODES))
    found: list[list[tuple[dict[int, float], float]]] = []
    rng = np.random.default_rng(job.options.seed)
    most = min(alignment.EPISODES, len(sample))
    with one_thread(), tqdm(total=most, desc="looking how actions are aligned", disable=not show) as bar:
        for index in sample:
            try:
                found.append(list(windows(job, index, engines, rng)))
            except UNREADABLE:
                continue  # it is counted when it is to be written
            bar.update(bool(found[-1]))
            if sum(map(bool, found)) >= most:
                break
    return alignment.judge(found)


def windows(
    job: Job, index: int, engines: alignment.OneStep, rng: np.random.Generator
) -> Iterator[tuple[dict[int, float], float]]:
    """Errors by shift in windows of one episode."""
    name, frames = job.source.episodes[index], job.world.context_length
    with job.source.open(index, job.chosen.camera, job.chosen.action.keys) as recording:
        line = timeline(job.chosen.action.of(recording), job.chosen.pace, job.axes)
        for start, actions in alignment.windows(line, frames, job.block, rng):
            seen = job.frames(recording, frame_rows(line, start, frames, job.block), name)
            yield engines.errors(alignment.Window(seen, actions))
