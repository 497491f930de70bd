"""Writes trajectories of a world from a data set, one episode after the other; a run that was stopped goes on."""

import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm
from wmserve.world import World

from wmserve_export.trajectories import report, writing
from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.counting import UNREADABLE, Tally
from wmserve_export.trajectories.job import Job
from wmserve_export.trajectories.options import Options
from wmserve_export.trajectories.report import Report
from wmserve_export.trajectories.shifts import shift_of
from wmserve_export.trajectories.source import Source
from wmserve_export.trajectories.statistics import Gathering
from wmserve_export.trajectories.timeline import frame_rows, taken, timeline, usable
from wmserve_export.trajectories.totals import Run, totals


class Conversion:
    """Of one data set for one world into one folder."""

    def __init__(
        self, source: Source, world: World, place: Path, folder: Path, options: Options, dataset: str, show: bool
    ) -> None:
        self._job = Job.of(source, world, options)
        self._place, self._folder, self._dataset, self._show = place, folder, dataset, show

    def run(self) -> Report:
        """Write what is not there yet; DataError where nothing can be, or the folder holds something else."""
        self._folder.mkdir(parents=True, exist_ok=True)
        writing.clear_halves(self._folder)
        job, run = self._job, self._begun()
        tally = Tally(long=Gathering(job.axes), short=Gathering(job.axes))
        totals(job, run, tally, finished=False).save(self._folder)
        order, hidden = job.chosen.order, not self._show
        for index in tqdm(order, "writing trajectories", unit="episode", mininterval=2, disable=hidden):
            if job.options.limit is not None and tally.written + tally.kept >= job.options.limit:
                break
            name = job.source.episodes[index]
            try:
                self._one(index, name, run, tally)
            except UNREADABLE as error:
                tally.fail(name, error)
        done = totals(job, run, tally, finished=True)
        done.save(self._folder)
        return done

    def _begun(self) -> Run:
        """The shift, and what is there."""
        known = self._job.settings(self._dataset)
        shift, found, words = shift_of(self._job, self._place, self._folder, known, self._show)
        settings = {**known, report.SHIFT: shift}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return Run(settings, digest, shift, found, words, self._own_files(digest))

    def _own_files(self, digest: str) -> frozenset[str]:
        """Trajectories in the folder; DataError where some are not of these settings."""
        made = {file.name: writing.settings_of(file) for file in sorted(self._folder.glob("*.npz"))}
        foreign = [
            name
            for name, settings in made.items()
            if settings not in (digest, None if writing.OURS.match(name) else digest)
        ]
        if foreign:
            raise DataError(
                f"{self._folder} has {len(foreign)} trajectories made otherwise, such as {foreign[0]}; choose another "
                f"folder (settings are in its {report.REPORT_FILE})"
            )
        return frozenset(made)

    def _one(self, index: int, name: str, run: Run, tally: Tally) -> None:
        """Write one episode, unless it is there or too short."""
        job, block = self._job, self._job.block
        with job.source.open(index, job.chosen.camera, job.chosen.keys) as recording:
            line = timeline(job.chosen.action.of(recording), job.chosen.pace, job.axes)
            first, steps = usable(line, run.shift, block, name)
            tally.lengths.append(steps + 1 if steps else 0)
            if steps + 1 < job.needed:
                tally.short.add(taken(line, run.shift, first, steps, block))
                return
            first, steps = job.cut(name, line, first, steps)
            actions = taken(line, run.shift, first, steps, block)
            file = self._folder / job.file_name(name)
            if file.exists() and writing.intact(file, name, run.digest, actions, steps + 1):
                tally.kept += 1
            else:
                rows = frame_rows(line, first, steps, block)
                observations = job.frames(recording, rows, name)
                arrays = {"observations": observations, "actions": actions, **job.readouts(recording, rows, name)}
                writing.write(file, arrays, name, run.digest)
                tally.written += 1
                tally.still += bool(np.array_equal(observations[0], observations[-1]))
        tally.long.add(actions)
        tally.frames += steps + 1
        tally.outside += job.outside(actions)
        tally.names.append(name)
